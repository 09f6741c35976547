"""Segmentation of street scenes: a small U-Net taught by a wide one, against labels alone.

    TUTELAGE_DATA=... python benchmarks/segmentation.py

CamVid at 160 × 120 (see street_scenes.py); the mean intersection over union (IoU) on the 233 test
images. The teacher works at half the resolution, the
student at a quarter; their logits are resized to that of the labels. The learning rate of every row is chosen on the
validation images. Results are kept in the folder that TUTELAGE_RUNS names (by default "runs"), so
that an interrupted benchmark resumes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset

import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from street_scenes import NAMES, UNet, mirrored, scenes
from tutelage.evaluation.segmentation import mean_iou

BATCH, SEEDS, EPOCHS = 16, 3, 40
RATES = (3e-3, 1e-2)
ENGINE = tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120)
COMMON: dict[str, Any] = {"batch_size": BATCH, "scheduler": warm_cosine, "engine": ENGINE}
METRICS = {"mean IoU": mean_iou}
MONITOR = tl.Monitor("mean IoU", higher_is_better=True)


def teacher() -> nn.Module:
    """Return the teacher, trained on all labelled images and their mirror images."""
    torch.manual_seed(0)
    return tl.fit(
        UNet(32, stride=2).to(memory_format=torch.channels_last),
        train=mirrored(scenes("train")),
        val=scenes("val"),
        epochs=EPOCHS,
        optimizer=adamw(3e-3, 0.02),
        metrics=METRICS,
        monitor=MONITOR,
        out=RUNS / "street-scenes-teacher",
        **COMMON,
    ).student


def student() -> nn.Module:
    """Return the student."""
    return UNet(12, stride=4).to(memory_format=torch.channels_last)


if __name__ == "__main__":
    with timed("teacher"):
        model = teacher()
