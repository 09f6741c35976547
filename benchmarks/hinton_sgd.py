"""The large network of Hinton, Vinyals and Dean 2015 by its published recipe, in fewer epochs.

    TUTELAGE_DATA=... python benchmarks/hinton_sgd.py [--epochs N] [--rate R]

The paper (https://arxiv.org/abs/1503.02531, section 3) refers to https://arxiv.org/abs/1207.0580,
appendix A: SGD in minibatches of 100 for 3,000 epochs, the change of the weights at step t
Δw_t = p_t Δw_{t-1} − (1 − p_t) ε_t ∇L, momentum p_t rising from 0.5 to 0.99 over 500 epochs, rate
ε_t = 10 · 0.998^epoch, weights begun from N(0, 0.01²), dropout of 1/5 on inputs and 1/2 on hidden
units, incoming weights of each hidden unit limited to a squared length of 15. Here the same course
is run in N epochs, 3,000 / N times as fast, and from a rate of 1, since with 10 these ReLUs do not
learn. One network, seed 0; its student and the one trained on labels are those of
`hinton_published.py`, three of each.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from hinton_published import LABELS, SOFT, STUDENT_EPOCHS, large_net
from mnist import COMMON, ENGINE, RUNS, adamw, errors_table, images, jittered, small_net
from remembered import Remembered, timed

PUBLISHED_EPOCHS, RISING_EPOCHS, DECAY = 3000, 500, 0.998
FIRST_MOMENTUM, LAST_MOMENTUM, RATE = 0.5, 0.99, 1.0
DEVIATION, SQUARED_LENGTH, MINIBATCH = 0.01, 15.0, 100


class LimitedSGD(torch.optim.SGD):
    """SGD after whose steps the rows of matrices are no longer than the published limit."""

    def step(self, closure: Any = None) -> Any:
        """Take a step, and shorten the rows that are too long."""
        loss = super().step(closure)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.ndim > 1:
                    weight.data.renorm_(2, 0, SQUARED_LENGTH**0.5)
        return loss


class Course(LambdaLR):
    """The published course of rate and momentum over so many steps."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int) -> None:
        self.steps = steps
        super().__init__(optimizer, self._rate)
        self._set_momentum()

    def step(self, epoch: int | None = None) -> None:
        """Set rate and momentum of the next step."""
        super().step(epoch)
        self._set_momentum()

    def _rate(self, step: int) -> float:
        return DECAY ** (PUBLISHED_EPOCHS * step / self.steps)

    def _set_momentum(self) -> None:
        part = min(1.0, PUBLISHED_EPOCHS * self.last_epoch / self.steps / RISING_EPOCHS)
        momentum = FIRST_MOMENTUM + part * (LAST_MOMENTUM - FIRST_MOMENTUM)
        for group in self.optimizer.param_groups:
            group["momentum"] = group["dampening"] = momentum


def sgd(parameters: Iterable[nn.Parameter], rate: float) -> torch.optim.Optimizer:
    """Return the published optimizer; `Course` sets its momentum."""
    return LimitedSGD(parameters, lr=rate, momentum=FIRST_MOMENTUM, dampening=FIRST_MOMENTUM)


def teacher(epochs: int, rate: float) -> tl.Run:
    """Train the large network by the published recipe."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Dropout(0.2), *large_net())
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=DEVIATION)
            nn.init.zeros_(module.bias)
    shifted = jittered(images("train"))
    loader = DataLoader(shifted.dataset, MINIBATCH, shuffle=True, collate_fn=shifted.collate_fn,
                        generator=torch.Generator().manual_seed(0))  # fmt: skip
    return tl.fit(
        model,
        train=loader,
        epochs=epochs,
        seed=0,
        optimizer=partial(sgd, rate=rate),
        scheduler=Course,
        engine=ENGINE,
        out=RUNS / f"hinton-sgd-teacher-{epochs}-{rate:g}",
    )


def main() -> None:
    """Train the large network and three students; print their errors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--rate", type=float, default=RATE)
    given = parser.parse_args()
    with timed("teacher"):
        run = teacher(given.epochs, given.rate)
        print("training loss by epoch:", [round(each["train/loss"], 3) for each in run.history])
    large, train, test = run.student, images("train"), images("test")
    assert isinstance(train, TensorDataset)
    with timed("students"):
        study = tl.study(
            Remembered(large, train),
            small_net,
            train=train,
            test=test,
            arms={
                "small, distilled": tl.Arm(
                    objective=SOFT + 4 * LABELS, optimizer=adamw(8e-3, 0.1), batch_size=512
                )
            },
            controls={"small, labels only": tl.Arm(objective=LABELS)},
            seeds=3,
            epochs=STUDENT_EPOCHS,
            training=tl.Training(optimizer=adamw(4e-3, 0.5), keep_best=False, **COMMON),
            report=tl.ReportOptions(title="MNIST: a teacher by the published recipe"),
            out=RUNS / f"hinton-sgd-{given.epochs}-{given.rate:g}",
        )
        errors_table(study)


if __name__ == "__main__":
    main()
