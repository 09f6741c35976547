"""A run to be killed: a student of stored answers to views, loaded by persistent workers.

Arguments: the run's folder, that of the store, which is made if it is not there, and the step to
die in (0: none).
"""

import sys
from functools import partial
from pathlib import Path

import torch
from killed_run import die_in_step
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl


def augment(image):
    """Flip at random, and add noise."""
    flipped = image.flip(-1) if torch.rand(()) < 0.5 else image
    return flipped + 0.1 * torch.randn_like(image)


def views():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(120, 1, 6, 6, generator=generator)
    labels = torch.randint(0, 5, (120,), generator=generator)
    return tl.data.Views(TensorDataset(images, labels), augment, seed=4)


class Checked(tl.Objective):
    """Soft targets that must be those of the very pixels in the batch."""

    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))

    def __init__(self, teacher):
        super().__init__()
        self.ask = teacher.forward  # a method is no part of the objective's parameters

    def forward(self, student, teacher, batch):
        with torch.no_grad():
            torch.testing.assert_close(self.ask(batch.inputs), teacher.logits)
        return tl.objectives.soft_targets(student.logits, teacher.logits, 2.0)


def main(out, place, step):
    die_in_step(step)
    torch.manual_seed(7)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(36, 5))
    student = nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.Dropout(0.2), nn.Linear(8, 5))
    quiet = tl.Engine(device="cpu", progress=False, checkpoint_seconds=0)
    store = tl.label(teacher, views(), out=place, views=2, dtype="float32", engine=quiet)
    loader = DataLoader(
        tl.data.Indexed(views()), 16, shuffle=True, num_workers=1, persistent_workers=True
    )
    tl.distill(
        store,
        student,
        train=loader,
        objective=Checked(teacher),
        epochs=4,
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        out=out,
        engine=quiet,
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
