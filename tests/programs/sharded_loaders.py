"""An epoch over a loader in which each of several processes reads a part of its own.

Arguments: where to write, and kinds of loaders. Each process writes for each kind the examples that
it learned from, by number, and the student.
"""

import math
import os
import sys
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset, Subset, TensorDataset

import tutelage as tl

EXAMPLES = 25
INPUTS = torch.arange(EXAMPLES).float()[:, None].expand(EXAMPLES, 3) / EXAMPLES
LABELS = torch.zeros(EXAMPLES, dtype=torch.int64)  # which tell nothing about who has which
DATA = TensorDataset(INPUTS, LABELS)


class Stream(IterableDataset):
    """Every second example: 13 for the first process and 12 for the second."""

    def __init__(self, rank):
        self.rank = rank

    def __iter__(self):
        return iter([(INPUTS[at], LABELS[at]) for at in range(self.rank, EXAMPLES, 2)])


class Batches:
    """No DataLoader: an iterable of batches."""

    def __init__(self, rank, of):
        self.loader = DataLoader(Subset(DATA, range(rank, EXAMPLES, of)), 4)

    def __iter__(self):
        return iter(self.loader)


def loader(kind, rank):
    if kind == "sampler":
        return DataLoader(DATA, 4, sampler=DistributedSampler(DATA, 2, rank, shuffle=True))
    if kind == "stream":
        return DataLoader(Stream(rank), 4)
    if kind == "subset":
        return DataLoader(Subset(DATA, range(rank, EXAMPLES, 2)), 4, shuffle=True)
    if kind == "iterable":
        return Batches(rank, 2)
    if kind == "whole":
        return Batches(0, 1)
    accelerator = Accelerator(cpu=True)
    return accelerator.prepare(DataLoader(DATA, 4, shuffle=True))


def run(kind, rank):
    seen = []

    def noted(batch):
        if math.isfinite(batch.replicas):
            seen.extend((batch.inputs[:, 0] * EXAMPLES).round().int().tolist())
        return batch

    torch.manual_seed(rank)
    student = nn.Linear(3, 2)
    with torch.no_grad():
        student.weight.zero_()
    tl.fit(
        student,
        train=loader(kind, rank),
        objective=tl.HardLabels(),
        epochs=1,
        transform=noted,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        engine=tl.Engine(device="cpu", progress=False),
    )
    return seen, student.state_dict()


def main(out, *kinds):
    rank = int(os.environ["RANK"])
    torch.distributed.init_process_group("gloo")
    torch.save({kind: run(kind, rank) for kind in kinds}, Path(out) / f"{rank}.pt")


if __name__ == "__main__":
    main(*sys.argv[1:])
