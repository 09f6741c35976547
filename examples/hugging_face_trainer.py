"""`Distiller` in the Hugging Face Trainer.

    python examples/hugging_face_trainer.py

The models are small BERTs of random weights, so that nothing is downloaded; take yours with
`AutoModelForSequenceClassification.from_pretrained`.
"""

import tempfile
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainingArguments,
)

import tutelage as tl


class DistillationTrainer(Trainer):
    """The Trainer of a student, which it saves and evaluates; the loss is that of a distiller.

    If the objective has projectors, call `trainer.distiller.build(batch)` before training.
    """

    def __init__(
        self, student: nn.Module, teacher: nn.Module, objective: tl.Objective, **settings: Any
    ) -> None:
        super().__init__(student, **settings)
        # Below, losses are divided by the number of labels of a step, as of accumulated batches.
        self.model_accepts_loss_kwargs = True
        self.distiller = tl.Distiller(student, teacher, objective)

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Optimise the student, and parameters of the objective such as projectors."""
        optimizer = super().create_optimizer(model)
        if own := list(self.distiller.objective.parameters()):
            optimizer.add_param_group({"params": own})
        return optimizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the distiller's loss instead of the model's."""
        self.distiller.student = model  # which the Trainer may have wrapped
        self.distiller.train(model.training)
        counts = None
        if num_items_in_batch is not None:  # labels in all batches of a step; one for each example
            counts = torch.as_tensor(num_items_in_batch).repeat(
                len(self.distiller.objective.terms())
            )
        progress = min(self.state.global_step / max(self.state.max_steps, 1), 1.0)
        losses = self.distiller(tl.Batch.of(inputs, progress), counts)
        loss = losses.total
        if counts is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # whose gradients are averaged
        return (loss, {"logits": losses.student.output}) if return_outputs else loss


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


def agreement(evaluated: Any) -> dict[str, float]:
    """Return how often the student predicts the label, here the teacher's class."""
    return {"agreement": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


def main() -> dict[str, float]:
    """Distil four layers into one, on random sequences; return what the Trainer evaluates."""
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (256, 12))
    mask = torch.ones_like(tokens)
    teacher, student = bert(layers=4).eval(), bert(layers=1)
    nn.init.normal_(teacher.classifier.weight, std=1.0)  # for confident predictions
    with torch.no_grad():  # and different ones
        teacher.classifier.bias -= teacher(tokens, mask).logits.mean(dim=0)
        labels = teacher(tokens, mask).logits.argmax(dim=1)
    examples: Any = [
        {"input_ids": ids, "attention_mask": own, "labels": label}
        for ids, own, label in zip(tokens, mask, labels, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            num_train_epochs=15,
            per_device_train_batch_size=16,
            gradient_accumulation_steps=2,
            learning_rate=5e-3,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        trainer = DistillationTrainer(
            student,
            teacher,
            tl.SoftTargets(2),
            args=arguments,
            train_dataset=examples,
            eval_dataset=examples,
            compute_metrics=agreement,
        )
        before = trainer.evaluate()
        trainer.train()
        after = trainer.evaluate()
        trainer.save_model(folder)  # the student and its config, for from_pretrained
        loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        with torch.no_grad():
            same = torch.equal(loaded(tokens, mask).logits, student.eval()(tokens, mask).logits)
    result = {
        "before": before["eval_loss"],
        "after": after["eval_loss"],
        "agreement before": before["eval_agreement"],
        "agreement": after["eval_agreement"],
        "loaded": float(same),
    }
    print({name: round(each, 4) for name, each in result.items()})
    return result


if __name__ == "__main__":
    main()
