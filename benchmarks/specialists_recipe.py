"""One student of two specialists by examples/specialists.yaml, on scikit-learn's digits.

    python benchmarks/specialists_recipe.py

Digits are photographs, or sketches: turned over their diagonal and inverted. Each specialist is
trained on its own folder by the same recipe, as docs/jobs.md says; a study compares students
of them with controls. Takes about one minute of one core.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

import tutelage as tl
from tutelage.results.record import ArmRecord

RECIPE = Path(__file__).parents[1] / "examples" / "specialists.yaml"
KINDS = ("photo", "sketch")
TRAINING = 1200  # of 1,797 images; the others are the test
NETWORK = """
from torch import nn


def network(width=32):
    layers = [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10)]
    return nn.Sequential(*layers)


def large():
    return network(512)
"""
SETTINGS = ["data.train=images/train", "data.test=images/test", "data.image_size=32"]
SETTINGS += ["training.batch_size=32", "training.optimizer.AdamW.lr=3e-3"]


def main() -> None:
    """Train specialists and students, and print their accuracies."""
    logging.disable(logging.WARNING)
    with TemporaryDirectory() as folder:
        os.chdir(folder)
        write_images()
        Path("net.py").write_text(NETWORK)
        teachers = [f"teacher.{kind}=net.py:large@{specialist(kind)}" for kind in KINDS]
        students = [*SETTINGS, *teachers, "student=net.py:network"]
        study = tl.Recipe.from_file(RECIPE, students).study()
        record = study.results
        print("| | accuracy, % | photo | sketch |\n|---|---|---|---|")
        for arm in (*record.arms, *filter(None, [record.teacher])):
            print("|", " | ".join([arm.name, *map("{:.1f}".format, accuracies(arm))]), "|")
        print(study.verdict)
        os.chdir("/")


def write_images() -> None:
    """Write digits as folders of parts, kinds and classes."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    for number, at in enumerate(order):
        kind, part = KINDS[number % 2], "train" if number < TRAINING else "test"
        pixels = (15 * images[at]).astype(np.uint8).reshape(8, 8)
        pixels = pixels if kind == "photo" else 255 - pixels.T
        place = Path("images", part, kind, str(labels[at]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((32, 32)).save(place / f"{number}.png")


def specialist(kind: str) -> str:
    """Train a network on one kind of images, and return the file of its weights."""
    alone = ["teacher=", "objective=HardLabels", "training.transform=", "data.domain="]
    alone += [f"data.train=images/train/{kind}", "data.test=", f"out=runs/{kind}"]
    tl.Recipe.from_file(RECIPE, [*SETTINGS, *alone, "student=net.py:large"]).run()
    return f"runs/{kind}/student.safetensors"


def accuracies(arm: ArmRecord) -> list[float]:
    """Return the mean accuracies over seeds in per cent: of all test images, and of each kind."""
    kinds = [fmean(each.domains[kind]["accuracy"] for each in arm.trials) for kind in KINDS]
    return [100 * each for each in (arm.metrics["accuracy"], *kinds)]


if __name__ == "__main__":
    main()
