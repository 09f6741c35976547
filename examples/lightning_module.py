"""`Distiller` in a LightningModule.

python examples/lightning_module.py
"""

from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import tutelage as tl


class DistillationModule(lightning.LightningModule):
    """Trains a student; the teacher is not in checkpoints."""

    def __init__(self, student: nn.Module, teacher: nn.Module, objective: tl.Objective) -> None:
        super().__init__()
        self.distiller = tl.Distiller(student, teacher, objective)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        progress = self.current_epoch / (self.trainer.max_epochs or 1)
        losses = self.distiller(tl.Batch.of(batch, progress))
        self.log_dict({f"train/{name}": value for name, value in losses.parts.items()})
        return losses.total

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Optimise the student and the objective's own parameters."""
        return torch.optim.Adam(self.distiller.parameters(), lr=0.01)


def main() -> dict[str, float]:
    """Distil a classifier of digits; return the student's accuracy and its agreement with it."""
    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(classes)
    train, test = random_split(TensorDataset(images, labels), [1400, 397])
    teacher = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    tl.fit(teacher, train=train, epochs=20)

    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    trainer = lightning.Trainer(
        max_epochs=20,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    objective = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(temperature=4)
    module = DistillationModule(student, teacher, objective)
    trainer.fit(module, DataLoader(train, batch_size=64, shuffle=True))

    inputs, truth = test[:]
    targets, outputs = teacher(inputs), student(inputs)
    found = {
        "teacher": tl.evaluation.accuracy(targets, truth),
        "student": tl.evaluation.accuracy(outputs, truth),
        "agreement": tl.evaluation.agreement(outputs, targets),
        "teacher_in_state": "teacher" in str([*module.state_dict()]),
    }
    print({name: round(value, 3) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
