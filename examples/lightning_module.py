"""`Distiller` in a LightningModule.

python examples/lightning_module.py
"""

from typing import Any

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl


class DistillationModule(lightning.LightningModule):
    """Trains a student; Lightning does the rest. The teacher is in no checkpoint."""

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
        """Optimise the student, and whatever the objective learns beside it."""
        return torch.optim.Adam(self.distiller.parameters(), lr=0.01)


def main() -> dict[str, float]:
    """Distil a teacher of random weights: the student comes to agree with it."""
    torch.manual_seed(0)
    images = torch.tensor(load_digits(return_X_y=True)[0], dtype=torch.float32) / 4
    teacher, student = nn.Linear(64, 10), nn.Linear(64, 10)
    trainer = lightning.Trainer(
        max_epochs=10,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = DistillationModule(student, teacher, tl.SoftTargets(2))
    trainer.fit(module, DataLoader(TensorDataset(images), batch_size=64, shuffle=True))

    agreement = tl.evaluation.agreement(student(images), teacher(images))
    print(f"agreement with the teacher {agreement:.3f}")
    return {"agreement": agreement, "teacher_in_state": "teacher" in str([*module.state_dict()])}


if __name__ == "__main__":
    main()
