"""Validation of which each of two processes does a part.

Arguments: where to write, and kinds of data. Each process writes for each kind the metrics, and how
many examples it ran the student on; and how it refuses a metric that validation will not give.
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    IterableDataset,
    Subset,
    TensorDataset,
)

import tutelage as tl

EXAMPLES = 25
INPUTS = torch.randn(EXAMPLES, 3, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(INPUTS, torch.arange(EXAMPLES) % 3)


class Counting(nn.Linear):
    """Counts the examples that it is validated on."""

    seen = 0

    def forward(self, inputs):
        if not self.training:
            self.seen += len(inputs)
        return super().forward(inputs)


class Share(IterableDataset):
    """A stream of every second example, whose length nobody knows: 13 of them, or 12."""

    def __init__(self, rank):
        self.rank = rank

    def __iter__(self):
        return (DATA[at] for at in range(self.rank, EXAMPLES, 2))


def validation_data(kind, rank):
    if kind == "tensors":
        return DATA
    if kind == "set":
        return [DATA[at] for at in range(EXAMPLES)]
    if kind == "sampler":
        return DataLoader(DATA, 4, sampler=DistributedSampler(DATA, 2, rank, shuffle=False))
    if kind == "subset":
        return DataLoader(Subset(DATA, range(rank, EXAMPLES, 2)), 4)
    if kind == "stream":
        return DataLoader(Share(rank), 4)
    return DataLoader(DATA, 4)


def fit(val, **settings):
    torch.manual_seed(0)
    student = Counting(3, 3)
    run = tl.fit(
        student,
        train=DATA,
        val=val,
        epochs=2,
        batch_size=4,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        engine=tl.Engine(device="cpu", progress=False),
        **settings,
    )
    return [{k: v for k, v in each.items() if k != "seconds"} for each in run.history], student.seen


def refusal():
    """Return the error of a metric that is unknown, where only later batches have labels.

    Of the first batch with labels, the second process has a part without any.
    """
    labels = DATA.tensors[1].clone()
    labels[:8], labels[10:12] = -100, -100
    try:
        fit(TensorDataset(INPUTS, labels), monitor="f1")
    except tl.ArgumentError as error:
        return str(error)
    return ""


def main(out, *kinds):
    rank = os.environ.get("RANK", "0")
    metrics = {"examples": lambda _, labels: float(len(labels))}
    found = {kind: fit(validation_data(kind, int(rank)), metrics=metrics) for kind in kinds}
    torch.save((found, refusal()), Path(out) / f"{rank}.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
