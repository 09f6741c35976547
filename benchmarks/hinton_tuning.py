"""How the recipe of the taught net in hinton.py was chosen: on held-out training images.

    TUTELAGE_DATA=... python benchmarks/hinton_tuning.py [--seeds N] [--epochs N] [NAME ...]

The teacher here has learnt from the first 50,000 training images and the students learn from its
answers on the same; errors are counted on the other 10,000, which neither has seen. The test images
are not read.
"""

from __future__ import annotations

import argparse

import tutelage as tl
from mnist import (
    BATCH,
    COMMON,
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

ARMS = {
    f"{name}, T = {temperature}": tl.Arm(
        objective=tl.SoftTargets(temperature), optimizer=optimizer, batch_size=size
    )
    for name, optimizer, size in (
        ("Adam 2e-3", adam(2e-3), BATCH),
        ("AdamW 4e-3, decay 0.5", adamw(4e-3, 0.5), BATCH),
        ("AdamW 2e-3, decay 0.5, batch 128", adamw(2e-3, 0.5), BATCH // 2),
        ("SGD 0.2", sgd(0.2), BATCH),
    )
    for temperature in (4, 8, 20)
}


def main() -> None:
    """Train every arm, or those that are named, and print the errors on the held-out images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    train, rest = held_out(images("train"))
    with timed("the teacher"):
        teacher = Remembered(big_net(train, "mnist-teacher-50k"), train)
    names = given.names or list(ARMS)
    with timed("the recipes"):
        study = tl.study(
            teacher,
            small_net,
            train=train,
            test=rest,
            arms={name: ARMS[name] for name in names},
            controls={},
            seeds=given.seeds,
            epochs=given.epochs,
            optimizer=adam(1e-3),
            keep_best=False,
            title="MNIST: the recipe of the taught net",
            out=RUNS / f"hinton-tuning-{given.epochs}-{given.seeds}",
            **COMMON,
        )
    errors_table(study)


if __name__ == "__main__":
    main()
