"""3 % of the labels, after the speech table of Hinton, Vinyals and Dean 2015 (section 4, table 5).

    TUTELAGE_DATA=... python benchmarks/few_labels.py

Published, for a speech model, frame accuracy: from all labels 58.9 %; from 3 % of them 44.5 %, with
early stopping; from 3 % with the soft targets of a model that saw all 57.0 %. Here: MNIST, and the
big net as the model that saw all.
"""

from __future__ import annotations

from functools import cache

import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import (
    COMMON,
    RUNS,
    adam,
    big_net,
    errors_table,
    held_out,
    images,
    small_net,
)
from remembered import Remembered, timed

SEEDS, SHARE, TEMPERATURE = 5, 0.03, 20


def main() -> None:
    """Run the table."""
    train, test = images("train"), images("test")
    pool, val = held_out(train)

    with timed("the teacher"):
        teacher = Remembered(big_net(), val)

    @cache
    def draw(_seed: int) -> TensorDataset:
        rows = torch.randperm(len(pool))[: int(SHARE * len(train))]
        return teacher.remember(TensorDataset(*(each[rows] for each in pool.tensors)))

    with timed("3 % of the labels"):
        study = tl.study(
            teacher,
            small_net,
            train=draw,
            val=val,
            test=test,
            arms={
                "3 % with soft targets": tl.SoftTargets(TEMPERATURE),
                "all labels": tl.Arm(objective=tl.HardLabels(), train=pool),
            },
            controls={
                "3 % of the labels": tl.HardLabels(),
                "3 %, smoothed": tl.HardLabels(smoothing=0.1),
            },
            primary="3 % with soft targets",
            sweep={"learning_rate": [3e-4, 1e-3, 2e-3]},
            seeds=SEEDS,
            training=tl.Training(steps=3000, optimizer=adam(1e-3), **COMMON),
            report=tl.ReportOptions(title="MNIST with 3 % of the labels"),
            out=RUNS / "few-labels",
        )
    errors_table(study)


if __name__ == "__main__":
    main()
