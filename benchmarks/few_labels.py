"""3 % of the labels, after the speech table of Hinton, Vinyals and Dean 2015 (section 4, table 5).

    TUTELAGE_DATA=... python benchmarks/few_labels.py

Published frame accuracy of a speech model: all labels 58.9 %; 3 % of them 44.5 %, with early
stopping; 3 % with the soft targets of a model trained on all 57.0 %. Here: MNIST, with the large
network as the model trained on all.
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

SEEDS, FRACTION, TEMPERATURE = 5, 0.03, 20
SOFT = f"3 % with soft targets, T = {TEMPERATURE}, no labels"


def main() -> None:
    """Run the table."""
    train, test = images("train"), images("test")
    pool, val = held_out(train)

    with timed("the teacher"):
        teacher = Remembered(big_net(), val)

    @cache
    def sample(_seed: int) -> TensorDataset:
        rows = torch.randperm(len(pool))[: int(FRACTION * len(train))]
        return teacher.remember(TensorDataset(*(each[rows] for each in pool.tensors)))

    with timed("3 % of the labels"):
        study = tl.study(
            teacher,
            small_net,
            train=sample,
            val=val,
            test=test,
            arms={
                SOFT: tl.SoftTargets(TEMPERATURE),
                "all labels (50,000)": tl.Arm(objective=tl.HardLabels(), train=pool),
            },
            controls={
                "3 % of the labels": tl.HardLabels(),
                "3 %, labels smoothed by 0.1": tl.HardLabels(smoothing=0.1),
            },
            primary=SOFT,
            sweep={"learning_rate": [3e-4, 1e-3, 2e-3]},
            seeds=SEEDS,
            training=tl.Training(steps=3000, optimizer=adam(1e-3), **COMMON),
            report=tl.ReportOptions(title="MNIST with 3 % of the labels"),
            out=RUNS / "few-labels",
        )
    errors_table(study)


if __name__ == "__main__":
    main()
