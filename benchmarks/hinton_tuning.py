"""Recipes for the distilled network of hinton.py, compared on held-out training images.

    TUTELAGE_DATA=... python benchmarks/hinton_tuning.py [--seeds N] [--epochs N] [NAME ...]

The teacher here is trained on the first 50,000 training images, and distilled on the same images;
errors are counted on the other 10,000. The test images are not used.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import tutelage as tl
from mnist import (
    BATCH,
    COMMON,
    ENGINE,
    RUNS,
    adam,
    adamw,
    big_net,
    errors_table,
    held_out,
    images,
    sgd,
    small_net,
)
from remembered import Remembered, timed

RECIPES: dict[str, dict[str, Any]] = {
    "Adam 2e-3": {"optimizer": adam(2e-3)},
    "AdamW 4e-3, decay 0.5": {"optimizer": adamw(4e-3, 0.5)},
    "AdamW 4e-3, decay 1.0": {"optimizer": adamw(4e-3, 1.0)},
    "AdamW 4e-3, decay 0.1": {"optimizer": adamw(4e-3, 0.1)},
    "AdamW 4e-3, decay 0.5, float32": {
        "optimizer": adamw(4e-3, 0.5),
        "engine": replace(ENGINE, precision="fp32"),
    },
    "AdamW 4e-3, decay 0.5, mixup": {"optimizer": adamw(4e-3, 0.5), "transform": tl.data.Mixup()},
    "AdamW 4e-3, decay 0.1, mixup": {"optimizer": adamw(4e-3, 0.1), "transform": tl.data.Mixup()},
    "AdamW 2e-3, decay 0.5, batch 128": {"optimizer": adamw(2e-3, 0.5), "batch_size": BATCH // 2},
    "SGD 0.2": {"optimizer": sgd(0.2)},
}
ARMS = {
    f"{name}, T = {temperature}": tl.Arm(objective=tl.SoftTargets(temperature), **recipe)
    for name, recipe in RECIPES.items()
    for temperature in (4, 8, 20)
} | {
    f"with labels, AdamW 4e-3, decay {decay}, T = 20": tl.Arm(
        objective=tl.SoftTargets(20) + tl.HardLabels(), optimizer=adamw(4e-3, decay)
    )
    for decay in (0.1, 0.5, 1.0)
}


def main() -> None:
    """Train the named arms, or all, and print the errors on the held-out images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    train, rest = held_out(images("train"))
    with timed("the teacher"):
        teacher = Remembered(big_net(train, "mnist-teacher-50k"), train)
    for name in given.names or ARMS:
        with timed(name):
            study = tl.study(
                teacher,
                small_net,
                train=train,
                test=rest,
                arms={name: ARMS[name]},
                controls={},
                seeds=given.seeds,
                epochs=given.epochs,
                training=tl.Training(optimizer=adam(1e-3), keep_best=False, **COMMON),
                report=tl.ReportOptions(title="MNIST: the recipe of the distilled network"),
                out=RUNS / f"hinton-tuning-{given.epochs}-{given.seeds}" / name,
            )
        errors_table(study)


if __name__ == "__main__":
    main()
