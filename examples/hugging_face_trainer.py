"""`Distiller` in the Hugging Face Trainer.

    python examples/hugging_face_trainer.py

The models are small BERTs of random weights, so that nothing is downloaded; take yours with
`AutoModelForSequenceClassification.from_pretrained`.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import tutelage as tl


class DistillationTrainer(Trainer):
    """The Trainer with the distiller as its model: it optimises, saves and shards the student."""

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the distiller's loss instead of the model's."""
        losses = model(tl.Batch.of(inputs))
        return (losses.total, losses.student) if return_outputs else losses.total


def bert(layers: int) -> BertForSequenceClassification:
    """Return a small classifier of token sequences."""
    config = BertConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
    )
    config.num_labels = 3
    return BertForSequenceClassification(config)


def main() -> dict[str, float]:
    """Distil four layers into one, on random sequences; return the loss before and after."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (256, 12))
    examples: Any = [{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in tokens]
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    teacher, student = bert(layers=4), bert(layers=1)
    nn.init.normal_(teacher.classifier.weight, std=1.0)  # for confident predictions
    distiller = tl.Distiller(student, teacher, tl.SoftTargets(2))

    def loss() -> float:
        with torch.no_grad():
            return distiller.eval()(tl.Batch.of(batch)).total.item()

    before = loss()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=5,
            per_device_train_batch_size=32,
            learning_rate=5e-3,
            report_to=[],
            save_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        trainer = DistillationTrainer(distiller, arguments, train_dataset=examples)
        trainer.train()
    result = {"before": before, "after": loss()}
    print("divergence from the teacher:", {name: round(each, 4) for name, each in result.items()})
    return result


if __name__ == "__main__":
    main()
