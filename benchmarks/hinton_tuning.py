"""Recipes for the distilled network of hinton.py, compared on held-out training images.

    TUTELAGE_DATA=... python benchmarks/hinton_tuning.py [--seeds N] [--epochs N] [NAME ...]

The teacher here is trained on the first 50,000 training images, and distilled on the same images;
errors are counted on the other 10,000. The test images are not used. The names that begin with
"why" ask what keeps the student from its teacher's errors: beside its errors stands how far its
logits are from the teacher's on the images it was trained on and on the others. What is left on the
former is a matter of optimization, the rest of generalization.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

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


def small_weights() -> nn.Sequential:
    """Return the student with normal first weights of deviation 0.01, as in Hinton et al. 2012."""
    model = small_net()
    for name, each in model.named_parameters():
        _ = nn.init.zeros_(each) if name.endswith("bias") else nn.init.normal_(each, std=0.01)
    return model


SOFT, LABELS = tl.SoftTargets(20), tl.HardLabels()
WHY: dict[str, dict[str, Any]] = {
    "soft targets, AdamW 4e-3, decay 0.5": {"objective": SOFT, "optimizer": adamw(4e-3, 0.5)},
    "soft targets, AdamW 4e-3, decay 0.1": {"objective": SOFT, "optimizer": adamw(4e-3, 0.1)},
    "soft targets, AdamW 8e-3, decay 0.1": {"objective": SOFT, "optimizer": adamw(8e-3, 0.1)},
    "soft targets + labels, AdamW 4e-3, decay 0.1": {
        "objective": SOFT + LABELS, "optimizer": adamw(4e-3, 0.1),
    },
    "soft targets + 4 labels, AdamW 8e-3, decay 0.1": {
        "objective": SOFT + 4 * LABELS, "optimizer": adamw(8e-3, 0.1),
    },
    "soft targets + 4 labels, AdamW 8e-3, decay 0.1, 60 epochs": {
        "objective": SOFT + 4 * LABELS, "optimizer": adamw(8e-3, 0.1), "epochs": 60,
    },
    "soft targets + 4 labels, AdamW 1.6e-2, decay 0.1": {
        "objective": SOFT + 4 * LABELS, "optimizer": adamw(1.6e-2, 0.1),
    },
    "soft targets, AdamW 4e-3, decay 0.5, batch 256, 40 epochs": {
        "objective": SOFT, "optimizer": adamw(4e-3, 0.5), "batch_size": 256, "epochs": 40,
    },
    "soft targets, AdamW 3e-3, decay 0.1, batch 256, 150 epochs": {
        "objective": SOFT, "optimizer": adamw(3e-3, 0.1), "batch_size": 256, "epochs": 150,
    },
    "soft targets + labels, AdamW 2e-3, no decay": {
        "objective": SOFT + LABELS, "optimizer": adamw(2e-3, 0.0),
    },
    "soft targets, AdamW 4e-3, decay 0.5, small first weights": {
        "objective": SOFT, "optimizer": adamw(4e-3, 0.5), "student": small_weights,
    },
    "soft targets + labels, SGD 0.05, small first weights": {
        "objective": SOFT + LABELS, "optimizer": sgd(0.05), "student": small_weights,
    },
    "soft targets + labels, SGD 0.1, clipped, small first weights": {
        "objective": SOFT + LABELS, "optimizer": sgd(0.1), "student": small_weights,
        "engine": replace(ENGINE, clip_norm=1.0),
    },
    "soft targets without T² + labels, SGD 0.2, small first weights": {
        "objective": 1 / 400 * SOFT + LABELS, "optimizer": sgd(0.2), "student": small_weights,
    },
    "labels, Adam 1e-3": {"objective": LABELS, "optimizer": adam(1e-3)},
    "labels, AdamW 4e-3, decay 0.5": {"objective": LABELS, "optimizer": adamw(4e-3, 0.5)},
    "labels, AdamW 4e-3, decay 0.1": {"objective": LABELS, "optimizer": adamw(4e-3, 0.1)},
    "labels, SGD 0.2, small first weights": {
        "objective": LABELS, "optimizer": sgd(0.2), "student": small_weights,
    },
}  # fmt: skip
ARMS |= {
    f"why: {name}": tl.Arm(**{"batch_size": 512, "epochs": 30, **settings})
    for name, settings in WHY.items()
}


def distance(student: nn.Module, teacher: nn.Module, data: TensorDataset) -> float:
    """Return the distance of centred logits, relative to the length of the teacher's."""
    logits = [tl.evaluation.predict(each, data, batch_size=2000) for each in (student, teacher)]
    ours, theirs = (each - each.mean(dim=1, keepdim=True) for each in logits)
    return float(torch.dist(ours, theirs) / theirs.norm())


def main() -> None:
    """Train the named arms, or all, and print the errors on the held-out images."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=60)
    given = parser.parse_args()
    train, rest = held_out(images("train"))
    with timed("the teacher"):
        large = big_net(train, "mnist-teacher-50k")
        teacher = Remembered(large, train)
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
        apart = (f"{distance(study.student(name), large, data):.3f}" for data in (train, rest))
        print("relative distance of logits on the training and held-out images:", *apart)


if __name__ == "__main__":
    main()
