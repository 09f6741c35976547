"""Common to the segmentation benchmark: street scenes (CamVid at 160 × 120), and U-Nets.

The folder that TUTELAGE_DATA names holds image/camvid.parquet: 367, 101 and 233 images for
training, validation and test, whose pixels belong to 11 classes; void pixels have none.
"""

from __future__ import annotations

import io
import os
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

NAMES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car",
         "pedestrian", "bicyclist")  # fmt: skip
VOID = 11


@cache
def scenes(split: str) -> TensorDataset:
    """Return images `[images, 3, 120, 160]` of mean 0 and their pixels' classes."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with image/camvid.parquet")
    table = pq.read_table(Path(folder) / "image" / "camvid.parquet")
    rows = [each for each in table.to_pylist() if each["split"] == split]
    pixels = np.stack([_decoded(each["image"]) for each in rows])
    labels = torch.from_numpy(np.stack([_decoded(each["mask"]) for each in rows])).long()
    images = torch.from_numpy(pixels).float().div(127.5).sub(1).movedim(-1, 1).contiguous()
    return TensorDataset(images, labels.where(labels != VOID, -100))


def mirrored(data: TensorDataset) -> TensorDataset:
    """Return images and labels, and their mirror images."""
    return TensorDataset(*(torch.cat([each, each.flip(-1)]) for each in data.tensors))


def _decoded(content: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(content)))


class Block(nn.Sequential):
    """Two convolutions with batch normalization."""

    def __init__(self, inputs: int, outputs: int) -> None:
        layers: list[nn.Module] = []
        for before in (inputs, outputs):
            layers += [nn.Conv2d(before, outputs, 3, padding=1, bias=False),
                       nn.BatchNorm2d(outputs), nn.ReLU()]  # fmt: skip
        super().__init__(*layers)


class UNet(nn.Module):
    """A U-Net of four resolutions.

    Args:
        width: Channels at the highest resolution; twice as many at each lower one.
        stride: 1, or 2 to work at half the resolution of the images, and to answer at that.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        widths = [width * 2**level for level in range(4)]
        self.down = nn.ModuleList(
            Block(before, after) for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            Block(3 * width * 2**level, width * 2**level) for level in (2, 1, 0)
        )
        self.head = nn.Conv2d(width, len(NAMES), 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits `[batch, 11, height / stride, width / stride]`."""
        kept = []
        x = nn.functional.avg_pool2d(x, self.stride) if self.stride > 1 else x
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for block, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            larger = nn.functional.interpolate(x, skip.shape[2:], mode="nearest")
            x = block(torch.cat([larger, skip], dim=1))
        return self.head(x)
