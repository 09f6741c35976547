"""Data and student of file_types.yaml: content types from the bytes of files, without labels.

The teacher is the ONNX model of Google's magika. FILES names folders, separated by a colon (on
Windows a semicolon), whose files are read, at most SUFFIX of each suffix in each folder.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from tutelage.errors import DataError

HALF, BLOCK, PADDING = 1024, 4096, 256
DEPTH = 3
"""Files below the same folder of this depth go into one part of the data."""
SUFFIX = int(os.environ.get("SUFFIX", "60"))
"""How many files of a suffix are read, since most files of a computer are of a few types."""


def features(path: Path) -> NDArray[np.int16]:
    """Return what magika's model reads: the first and last 1,024 bytes, without outer blanks."""
    with path.open("rb") as file:
        head = file.read(BLOCK).lstrip()[:HALF]
        file.seek(max(0, path.stat().st_size - BLOCK))
        tail = file.read(BLOCK).rstrip()[-HALF:]
    found = np.full(2 * HALF, PADDING, dtype=np.int16)
    found[: len(head)] = np.frombuffer(head, np.uint8)
    found[2 * HALF - len(tail) :] = np.frombuffer(tail, np.uint8)
    return found


def part_of(folder: str) -> str:
    """Return the part of the data by a hash of the folder: 70 % train, 10 % val, 20 % test."""
    at = hashlib.blake2b(folder.encode(errors="replace"), digest_size=4).digest()
    share = int.from_bytes(at, "big") / 2**32
    return "train" if share < 0.7 else "val" if share < 0.8 else "test"


def paths(root: Path) -> Iterator[tuple[str, Path]]:
    """Return files in an order that mixes folders, each with the folder that it belongs to."""
    files = (Path(folder) / name for folder, _, names in os.walk(root) for name in names)
    order = sorted(files, key=lambda each: hashlib.blake2b(os.fsencode(each)).digest())
    counts: dict[str, int] = {}
    for path in order:
        suffix = path.suffix.lower()
        regular = path.is_file() and not path.is_symlink() and os.access(path, os.R_OK)
        if regular and path.stat().st_size >= 8 and counts.get(suffix, 0) < SUFFIX:
            counts[suffix] = counts.get(suffix, 0) + 1
            yield "/".join(path.relative_to(root).parent.parts[:DEPTH]), path


def files() -> dict[str, TensorDataset]:
    """Return inputs by part; equal ones are kept once, so that no part contains one of another."""
    roots = os.environ.get("FILES", "").split(os.pathsep)
    parts: dict[str, list[NDArray[np.int16]]] = {"train": [], "val": [], "test": []}
    seen = set()
    for root in filter(None, roots):
        for folder, path in paths(Path(root)):
            found = features(path)
            if found.tobytes() not in seen:
                seen.add(found.tobytes())
                parts[part_of(folder)].append(found)
    if not all(parts.values()):
        raise DataError(
            f"FILES must name folders with files in many folders, got {roots} with "
            f"{len(seen)} files; set it, such as FILES=/usr/share"
        )
    return {name: TensorDataset(torch.from_numpy(np.stack(each))) for name, each in parts.items()}


class Network(nn.Module):
    """Bytes as vectors, four of which are a step of a convolution; the maximum over all steps."""

    def __init__(self, width: int = 16, channels: int = 128, classes: int = 214) -> None:
        super().__init__()
        self.bytes = nn.Embedding(PADDING + 1, width)
        self.layers = nn.Sequential(
            nn.Conv1d(4 * width, channels, kernel_size=5, stride=2), nn.ReLU()
        )
        self.last = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, classes))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits of magika's types."""
        found = self.bytes(inputs.int()).reshape(len(inputs), HALF // 2, -1)
        return self.last(self.layers(found.transpose(1, 2)).amax(2))
