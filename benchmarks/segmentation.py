"""Segmentation of street scenes: a small U-Net taught by a wide one, against labels alone.

    TUTELAGE_DATA=... python benchmarks/segmentation.py

CamVid at 160 × 120 (see street_scenes.py); the mean intersection over union (IoU) on the 233 test
images. The teacher works at half the resolution, the student at a quarter; their logits are resized
to that of the labels. All rows have the same learning rate and number of steps; nothing is tuned.
Results are kept in the folder that TUTELAGE_RUNS names (by default "runs"), so that an interrupted
benchmark resumes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from street_scenes import NAMES, UNet, mirrored, scenes
from tables import show
from tutelage.evaluation import MeanIoU

BATCH, SEEDS, EPOCHS, TEACHER_EPOCHS = 16, 3, 16, 12
ENGINE = tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120)
METRICS = {"mean IoU": MeanIoU()}
MONITOR = tl.Monitor("mean IoU", higher_is_better=True)
COMMON: dict[str, Any] = {"batch_size": BATCH, "scheduler": warm_cosine, "engine": ENGINE}


def teacher() -> nn.Module:
    """Return the teacher, trained on all labelled images and their mirror images."""
    torch.manual_seed(0)
    return tl.fit(
        _channels_last(UNet(24, stride=2)),
        train=mirrored(scenes("train")),
        val=scenes("val"),
        epochs=TEACHER_EPOCHS,
        optimizer=adamw(3e-3, 0.02),
        metrics=METRICS,
        monitor=MONITOR,
        out=RUNS / "street-scenes-teacher",
        **COMMON,
    ).student


def stored(model: nn.Module, data: object, fields: tl.Objective, name: str) -> tl.TargetStore:
    """Return what an objective needs of the teacher for the data, from disk."""
    return tl.label(model, data, fields=fields, out=RUNS / f"street-scenes-{name}", batch_size=16)


def student() -> nn.Module:
    """Return the student."""
    return _channels_last(UNet(12, stride=4))


def half_labelled(rest: bool) -> object:
    """Return the first half of the training images, and the others without labels if wanted."""
    images, labels = scenes("train").tensors
    half = len(images) // 2
    labelled = TensorDataset(images[:half], labels[:half])
    if not rest:
        return labelled
    return ConcatDataset([labelled, tl.data.unlabelled(images[half:], ids=labels.shape[1:])])


def main() -> None:
    """Train and print the table."""
    with timed("teacher"):
        model = teacher()
    soft, half = tl.HardLabels() + tl.SoftTargets(1), "half of the labels"
    channels = soft + 3 * tl.CWD({"up.2": "up.2"})
    mixed = half_labelled(rest=True)
    with timed("targets"):
        targets = stored(model, scenes("train"), channels, "targets")
        targets_of_mixed = stored(model, mixed, soft, "targets-of-mixed")
    with timed("study"):
        study = tl.study(
            model,
            student,
            train=scenes("train"),
            val=scenes("val"),
            test=scenes("test"),
            controls={
                "labels": tl.HardLabels(),
                "smoothed labels": tl.HardLabels(smoothing=0.1),
                half: tl.Arm(objective=tl.HardLabels(), train=half_labelled(rest=False)),
            },
            arms={
                "labels and soft targets": tl.Arm(objective=soft, teacher=targets),
                "labels, soft targets and CWD": tl.Arm(objective=channels, teacher=targets),
                "half of the labels, soft targets on all images": tl.Arm(
                    objective=soft, teacher=targets_of_mixed, train=mixed, against=half
                ),
            },
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(optimizer=adamw(1e-2, 0.02), keep_best=False, **COMMON),
            metrics=METRICS,
            monitor=MONITOR,
            primary="labels and soft targets",
            report=tl.ReportOptions(title="Street scenes", class_names=NAMES),
            out=RUNS / "street-scenes",
        )
    show(study, "mean IoU")


def _channels_last(model: nn.Module) -> nn.Module:
    for each in model.parameters():
        if each.ndim == 4:
            each.data = each.data.contiguous(memory_format=torch.channels_last)
    return model


if __name__ == "__main__":
    main()
