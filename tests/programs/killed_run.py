"""A run to be killed: a convolutional student with dropout, on data that is augmented at random.

Arguments: the run's folder, the kind of data, and the write to die in (0: none).
"""

import itertools
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl
from tutelage import files


class Augmented(Dataset):
    """Images with noise from the global generator: where it stands decides what comes out."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, place):
        return self.images[place] + 0.1 * torch.randn(1, 8, 8), self.labels[place]


def training_data(kind):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(120, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 5, (120,), generator=generator)
    augmented = Augmented(images, labels)
    if kind in {"tensors", "mixed", "compiled"}:
        return TensorDataset(images, labels)
    if kind == "set":
        return augmented
    if kind == "loader":  # shuffled by the global generator
        return DataLoader(augmented, 16, shuffle=True)
    own = torch.Generator().manual_seed(9)
    return DataLoader(augmented, 16, shuffle=True, generator=own, num_workers=2)


def die_in_write(number):
    """Kill this process in the middle of the n-th file written, after half of its bytes."""
    count = 0

    def flush_or_die(path, flush=files.flush_path):
        nonlocal count
        if path.is_file() and path.name.startswith("."):
            count += 1
            if count == number:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
                os.kill(os.getpid(), signal.SIGKILL)
        flush(path)

    files.flush_path = flush_or_die


def die_in_step(number):
    """Kill this process after the n-th step of its optimisers, before that is kept; 0: never."""
    steps = itertools.count(1)

    def hook(*_):
        if next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(hook)


def slow_step(*_):
    """Make the run last long enough to be killed in the middle."""
    time.sleep(0.015)


def main(out, kind, write):
    if write:
        die_in_write(write)
    soft = tl.SoftTargets(tl.schedules.Linear(8, 1))
    if kind == "compiled":
        warnings.simplefilter("default")  # the compiler uses what torch advises against
        soft.compile()
    torch.manual_seed(7)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(64, 5))
    student = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 5)
    )

    def optimizer(parameters):
        made = torch.optim.AdamW(parameters, lr=0.01)
        made.register_step_post_hook(slow_step)
        return made

    tl.distill(
        teacher,
        student,
        train=training_data(kind),
        val=TensorDataset(torch.randn(40, 1, 8, 8), torch.randint(0, 5, (40,))),
        objective=0.5 * tl.HardLabels() + soft,
        epochs=4,
        batch_size=16,
        seed=3,
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        monitor="loss",
        out=out,
        transform=tl.data.Chain([tl.data.Noise(0.1), tl.data.CutMix()])
        if kind == "mixed"
        else None,
        engine=tl.Engine(checkpoint_seconds=0, accumulation=2 if kind == "set" else 1),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
