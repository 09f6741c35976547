"""Losses over a large vocabulary from hidden states: time and memory against matrix products.

    python benchmarks/heads.py [--rows 1024] [--classes 32768] [--width 512] [--default-malloc]

Student and teacher have hidden states [rows, width] and heads [classes, width], float32. Measured
are forward and backward of each objective with `HeadLogits`, of which logits exist for some rows at
a time, and with whole logits.

The floor is six matrix products of rows × width × classes, which any scheme needs that keeps no
logits: the logits of both sides in the forward pass, both again in the backward pass, and the
gradients of the student's hidden states and of its weight. (Whole logits need four. `AlignedKL`,
for a teacher with another tokenizer, is about spans of text, whose probabilities come first.) The
target is 1.15 of it, and 100 MB beside weights, hidden states and their gradients. Time is that of
the CPU, the median of rounds in which the sides alternate; memory is the largest resident size
during one pass in a process of its own, less that before it and the two gradients. The gradients
are checked to be equal first.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

import tutelage as tl
from overhead import KEEPING, keep_pages
from tutelage.aligned import AlignedTargets, Cells
from tutelage.objectives._valid import values_of
from tutelage.signals import Batch, Signals

OBJECTIVES = {
    "SoftTargets(2)": tl.SoftTargets(2),
    "HardLabels() + SoftTargets(2)": tl.HardLabels() + tl.SoftTargets(2),
    "ReverseKL()": tl.ReverseKL(),
    "JensenShannon()": tl.JensenShannon(),
    "AlignedKL()": tl.AlignedKL(),
    "HardLabels() + AlignedKL()": tl.HardLabels() + tl.AlignedKL(),
}


class Sides:
    """Hidden states and heads of both sides, and labels."""

    def __init__(self, rows: int, classes: int, width: int) -> None:
        torch.manual_seed(0)
        tables = [torch.randn(each, width) for each in (rows, classes, rows, classes)]
        self.student = tl.HeadLogits(tables[0], tables[1].mul_(width**-0.5))
        self.teacher = tl.HeadLogits(tables[2], tables[3].mul_(width**-0.5))
        self.student.hidden.requires_grad_()
        self.student.weight.requires_grad_()
        self.batch = Batch(torch.zeros(rows, 1), torch.randint(0, classes, (rows,)))
        self.spans = self._spans(rows, classes)

    def _spans(self, rows: int, classes: int) -> AlignedTargets:
        """Return what a teacher with another tokenizer says: spans of one, one and two tokens."""
        ends = torch.tensor([row for row in range(rows) if row % 4 != 2 or row == rows - 1])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1] + 1])
        spans = torch.repeat_interleave(torch.arange(len(ends)), ends - starts + 1)
        shared = torch.full((rows,), -1).index_put((starts,), starts)
        number = classes * 3 // 4
        ours, theirs = (torch.randperm(classes) % number for _ in range(2))
        return AlignedTargets(
            tokens=torch.randint(0, classes, (rows,)),
            spans=spans,
            shared=shared,
            ends=ends,
            whole=ends == starts,
            likelihood=-3.0 * (ends - starts + 1),
            logits=self.teacher,
            cells=Cells(ours, theirs, number),
        )

    def gradients(self, objective: tl.Objective, whole: bool) -> tuple[Tensor, ...]:
        """Return the gradients of hidden states and weight."""
        student, teacher = (
            each.logits() if whole else each for each in (self.student, self.teacher)
        )
        objectives = [term.objective for term in objective.terms()]
        if any(each.in_parts for each in objectives):
            teacher = replace(self.spans, logits=teacher)
        student, teacher = map(Signals, (student, teacher))
        values = values_of(
            objectives, student, teacher, self.batch, len(self.batch), lambda _, each: each.mean()
        )
        total = torch.stack([each.mean() for each in values]).sum()
        return torch.autograd.grad(total, [self.student.hidden, self.student.weight])

    @torch.no_grad()
    def floor(self) -> None:
        """Compute the six matrix products."""
        for _ in range(2):
            self.teacher.raw()
        self.student.raw()
        logits = self.student.raw()
        _ = logits @ self.student.weight
        _ = logits.mT @ self.student.hidden


def seconds(call: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def megabytes(sides: Sides, name: str, whole: bool) -> float:
    """Return by how much the resident size grows during a pass, less what it returns."""
    sides.floor()  # what libraries allocate at their first call
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the largest size
    before = _resident("VmRSS")
    found = sides.gradients(OBJECTIVES[name], whole)
    return _resident("VmHWM") - before - sum(each.nbytes for each in found) / 2**20


def _apart(settings: argparse.Namespace, name: str, whole: bool) -> float:
    """Return `megabytes` of a process of its own, whose allocator returns what is freed."""
    sizes = [f"--{each}={getattr(settings, each)}" for each in ("rows", "classes", "width")]
    kind = "whole" if whole else "chunks"
    call = [sys.executable, __file__, *sizes, "--default-malloc", "--memory", name, kind]
    kept = {key: value for key, value in os.environ.items() if key not in KEEPING}
    found = subprocess.run(call, check=True, capture_output=True, text=True, env=kept)
    return float(found.stdout)


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 2**10


def main() -> None:
    """Print a line for each objective."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=32768)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--default-malloc", action="store_true")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    sides = Sides(settings.rows, settings.classes, settings.width)
    if settings.memory is not None:
        name, kind = settings.memory
        print(megabytes(sides, name, kind == "whole"))
        return
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads; {settings.rows} rows, "
        f"{settings.classes} classes, width {settings.width}"
    )
    for name, objective in OBJECTIVES.items():

        def chunked(objective: tl.Objective = objective) -> tuple[Tensor, ...]:
            return sides.gradients(objective, whole=False)

        def whole(objective: tl.Objective = objective) -> tuple[Tensor, ...]:
            return sides.gradients(objective, whole=True)

        more, most = (_apart(settings, name, each) for each in (False, True))
        torch.testing.assert_close(chunked(), whole(), rtol=1e-4, atol=1e-5)
        rounds = [
            [seconds(each) for each in (sides.floor, chunked, whole)]
            for _ in range(settings.rounds)
        ]
        floor, ours, plain = (median(each) for each in zip(*rounds, strict=True))
        ratio = median(each[1] / each[0] for each in rounds)
        print(
            f"{name:32} floor {floor:6.2f} s  by chunks {ours:6.2f} s ({ratio:.2f} of the floor, "
            f"{more:.0f} MB)  whole {plain:6.2f} s ({most:.0f} MB)",
            flush=True,
        )


if __name__ == "__main__":
    if "--default-malloc" not in sys.argv:
        keep_pages()
    main()
