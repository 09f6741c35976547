"""Temperature and width: the best T for each student, after Hinton et al. 2015, section 3.

    TUTELAGE_DATA=... python benchmarks/temperature.py

Published without numbers: with 300 or more units in each hidden layer all temperatures above 8 gave
similar results; with 30 units, temperatures from 2.5 to 4 worked significantly better.
"""

from __future__ import annotations

import argparse
from functools import partial

import tutelage as tl
from mnist import (
    COMMON,
    RUNS,
    adam,
    big_net,
    errors_table,
    images,
    net,
)
from remembered import Remembered, timed

SEEDS, EPOCHS = 3, 20
TEMPERATURES, WIDTHS = (1, 2.5, 4, 8, 20), (30, 300, 800)


def main() -> None:
    """Run the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS)
    widths = parser.parse_args().widths
    train, test = images("train"), images("test")
    with timed("the teacher"):
        teacher = Remembered(big_net(), train)
    distilled = {
        f"{width} units, T = {temperature:g}": tl.Arm(
            objective=tl.SoftTargets(temperature),
            student=partial(net, width),
            against=f"{width} units, labels only",
            series=f"{width} units",
            at=temperature,
        )
        for width in widths
        for temperature in TEMPERATURES
    }
    labels = {
        f"{width} units, labels only": tl.Arm(
            objective=tl.HardLabels(), student=partial(net, width), optimizer=adam(1e-3)
        )
        for width in widths
    }
    with timed("temperature and width"):
        study = tl.study(
            teacher,
            partial(net, widths[-1]),
            train=train,
            test=test,
            arms=distilled,
            controls=labels,
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(optimizer=adam(2e-3), **COMMON, keep_best=False),
            report=tl.ReportOptions(axis="temperature", title="MNIST: temperature and width"),
            out=RUNS / "temperature",
        )
    errors_table(study)


if __name__ == "__main__":
    main()
