"""Detection of blood cells: a small detector taught by a larger one, against its own loss alone.

    TUTELAGE_DATA=... python benchmarks/blood_cells.py

The folder that TUTELAGE_DATA names holds image/bccd.parquet: 205, 87 and 72 images of 240 × 180
pixels with boxes of red cells, white cells and platelets. Both detectors are FCOS (Tian, Shen, Chen
and He 2019, https://arxiv.org/abs/1904.01355) at two thirds of that size, with one map of an eighth
of it; the student's backbone has a quarter of the channels. All learn from the images and their
mirror images for the same number of steps; each student's learning rate is chosen among two on the
validation images. Results are kept in the folder that TUTELAGE_RUNS names (by default "runs"),
where an interrupted benchmark resumes.
"""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.fcos import FCOSHead

import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from tables import show
from tutelage.evaluation import MeanAveragePrecision

NAMES = ("background", "red cell", "white cell", "platelet")
CHANNELS, SEEDS, BATCH = 64, 3, 8
EPOCHS, DEPTH = 12, 3
METRICS = {"AP": MeanAveragePrecision(), "AP50": MeanAveragePrecision(at_50=True)}
MONITOR = tl.Monitor("AP", higher_is_better=True)
ENGINE = tl.Engine(progress=False, checkpoint_seconds=120)
COMMON: dict[str, Any] = {"batch_size": BATCH, "scheduler": warm_cosine, "engine": ENGINE}
Example = tuple[Tensor, dict[str, Tensor]]


@cache
def cells(split: str) -> list[Example]:
    """Return images `[3, 180, 240]` with values from 0 to 1, and their boxes."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with image/bccd.parquet")
    table = pq.read_table(Path(folder) / "image" / "bccd.parquet")
    return [_example(row) for row in table.to_pylist() if row["split"] == split]


def mirrored(examples: list[Example]) -> list[Example]:
    """Return images and boxes, and their mirror images: left to right, upside down, both."""
    found = list(examples)
    for axis in (-1, -2):
        found += [_flipped(each, axis) for each in found]
    return found


def detector(width: int) -> FCOS:
    """Return an untrained detector; `width` channels at first, then twice and four times that."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, 2 * width), (2 * width, 4 * width)):
        layers += [*_convolution(before, after, 2), *_convolution(after, after, 1)]
    layers += _convolution(4 * width, CHANNELS, 1)
    backbone: Any = nn.Sequential(*layers)
    backbone.out_channels = CHANNELS
    anchors = AnchorGenerator(sizes=((32,),), aspect_ratios=((1.0,),))
    head: Any = FCOSHead(CHANNELS, 1, len(NAMES), num_convs=DEPTH)
    # Distances to the sides go through a ReLU: from a bias of 0 some seeds never leave its flat
    # side, and find no box.
    _ = nn.init.constant_(head.regression_head.bbox_reg.bias, 1.0)
    return FCOS(
        backbone,
        len(NAMES),
        min_size=120,
        max_size=160,
        anchor_generator=anchors,
        head=head,
        topk_candidates=200,
        detections_per_img=60,
    )


def teacher() -> Any:
    """Return the teacher, trained on all images and their mirror images."""
    torch.manual_seed(0)
    return tl.fit(
        detector(32),
        train=mirrored(cells("train")),
        val=cells("val"),
        objective=tl.OwnLoss(),
        epochs=EPOCHS,
        optimizer=adamw(1e-3, 0.02),
        metrics=METRICS,
        monitor=MONITOR,
        out=RUNS / "blood-cells-teacher",
        **COMMON,
    ).student


def main() -> None:
    """Train and print the table."""
    with timed("teacher"):
        model = teacher()
    features = {"backbone": "backbone"}

    def with_the_teachers_head() -> FCOS:
        found = detector(8)
        found.head.load_state_dict(model.head.state_dict())
        return found

    with timed("study"):
        study = tl.study(
            model,
            lambda: detector(8),
            train=mirrored(cells("train")),
            val=cells("val"),
            test=cells("test"),
            controls={
                "own loss": tl.OwnLoss(),
                "own loss, the teacher's head": tl.Arm(
                    objective=tl.OwnLoss(), student=with_the_teachers_head
                ),
            },
            arms={
                "own loss and features": tl.OwnLoss() + tl.FeatureMatch(features),
                "own loss and CWD": tl.OwnLoss() + tl.CWD(features),
                "own loss and features, the teacher's head": tl.Arm(
                    objective=tl.OwnLoss() + tl.FeatureMatch(features),
                    student=with_the_teachers_head,
                ),
            },
            sweep={"learning_rate": [1e-3, 3e-3]},
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(optimizer=adamw(2e-3, 0.02), keep_best=False, **COMMON),
            metrics=METRICS,
            monitor=MONITOR,
            primary="own loss and features",
            report=tl.ReportOptions(title="Blood cells", class_names=NAMES),
            out=RUNS / "blood-cells",
        )
    show(study, "AP")


def _convolution(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.GroupNorm(4, after), nn.ReLU()]


def _example(row: dict[str, Any]) -> Example:
    pixels = np.array(Image.open(io.BytesIO(row["image"])).convert("RGB"))
    image = torch.from_numpy(pixels).float().div(255).movedim(-1, 0).contiguous()
    boxes = torch.tensor(row["boxes"], dtype=torch.float32).reshape(-1, 4)
    whole = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)  # one box has no extent
    return image, {"boxes": boxes[whole], "labels": torch.tensor(row["classes"])[whole] + 1}


def _flipped(example: Example, axis: int) -> Example:
    image, target = example
    size, low = image.shape[axis], 0 if axis == -1 else 1
    boxes = target["boxes"].clone()
    boxes[:, [low, low + 2]] = size - target["boxes"][:, [low + 2, low]]
    return image.flip(axis), {**target, "boxes": boxes}


if __name__ == "__main__":
    main()
