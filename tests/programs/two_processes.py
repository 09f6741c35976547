"""Runs that one process or several carry out, for comparison.

Arguments: where to write what they learn, and the kinds of runs. A kind `kept` has a folder beside
that file; given twice, the second finds it finished.
"""

import os
import runpy
import sys
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tutelage as tl


class Stream(IterableDataset):
    """Examples without a length."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter([(x, y) for x, y in zip(*self.examples.tensors, strict=True)])


def training_data(kind):
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(97, 6, generator=generator)
    labels = torch.randint(0, 5, (97,), generator=generator)
    labels[torch.arange(97) % 5 > 1] = -100  # unevenly over the processes
    examples = TensorDataset(inputs, labels)
    return {
        "tensors": examples,
        "mixed": examples,
        "unused": examples,
        "selective": examples,
        "compiled": examples,
        "kept": examples,
        "norms": TensorDataset(inputs[:96], labels[:96]),
        "set": [(x, y) for x, y in zip(inputs, labels, strict=True)],
        "loader": DataLoader(examples, 16, shuffle=True),  # shuffled by the global generator
        "stream": Stream(examples),
    }[kind]


def mixed(batch):
    """A mixture that is no matter of chance, so that it is the same for any processes."""
    other = batch.labels.where(batch.labels == -100, (batch.labels + 1) % 5)
    share = batch.inputs[:, 0].sigmoid()
    mixture = tl.Mixture(other.where(batch.index % 3 > 0, -100), share)
    return replace(batch, inputs=0.5 * batch.inputs, mixture=mixture)


def selective_by_class():
    path = Path(__file__).parents[2] / "examples" / "selective.py"

    class ByClass(runpy.run_path(str(path))["Selective"]):
        def groups(self, batch):
            return [str(each) for each in batch.labels.tolist()]

    return ByClass(4)


class WithoutLast(nn.Sequential):
    """Does not use its last layer, as encoders that are pooled otherwise their own pooling."""

    def forward(self, inputs):
        for layer in list(self)[:-1]:
            inputs = layer(inputs)
        return inputs


def run(kind, out):
    torch.manual_seed(7)
    teacher, student = nn.Linear(6, 5), nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5))
    patience = None
    if kind == "norms":  # batch statistics differ between processes, decisions must not
        student, patience = nn.Sequential(nn.BatchNorm1d(6, momentum=0.5), nn.Linear(6, 5)), 2
    if kind == "unused":
        student = WithoutLast(*student, nn.Linear(5, 5))
    soft = tl.SoftTargets(4)
    if kind == "selective":  # groups close and open by the validation figures of the main process
        soft = selective_by_class()
    if kind == "compiled":
        soft.compile()
    done = tl.distill(
        teacher,
        student,
        train=training_data(kind),
        val=TensorDataset(torch.randn(31, 6), torch.randint(0, 5, (31,))),
        objective=0.5 * tl.HardLabels() + soft,
        epochs=30 if patience else 3,
        batch_size=16,  # 97 = 6 · 16 + 1: the last batch has fewer examples than processes
        seed=3,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        transform=mixed if kind == "mixed" else None,
        monitor=tl.Monitor("loss", patience=patience),
        out=out if kind == "kept" else None,
        engine=tl.Engine(
            device="cpu",
            accumulation=2,
            clip_norm=1.0,
            checkpoint_seconds=0 if kind == "kept" else 30,
        ),
    )
    return {"weights": student.state_dict(), "history": done.history}


def main(results, *kinds):
    found = []
    for kind in kinds:
        with warnings.catch_warnings():
            # The compiler uses what torch advises against.
            warnings.simplefilter("default" if kind == "compiled" else "error")
            found.append((kind, run(kind, Path(results).with_suffix(""))))
    if os.environ.get("RANK", "0") == "0":
        torch.save(found, results)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(*sys.argv[1:])
