"""Small stores, made without a teacher."""

import numpy as np
import pytest
import torch

from tutelage.signals import Signals
from tutelage.store import (
    Data,
    Field,
    Manifest,
    Settings,
    StoreWriter,
    TargetStore,
    Views,
    close_store,
)


def settings(**changes):
    values = {
        "output": True,
        "features": (),
        "top_k": None,
        "dtype": "float32",
        "batch_size": 4,
        "precision": "fp32",
        "compile": False,
    }
    return Settings(**values | changes)


def manifest(fields, examples=50, views=1, block_rows=8, shard_blocks=3):
    return Manifest(
        made_with={"tutelage": "0"},
        teacher="Linear 1",
        data=Data(fingerprint="abc", examples=examples),
        views=Views(count=views),
        settings=settings(),
        fields=tuple(fields),
        block_rows=block_rows,
        shard_blocks=shard_blocks,
    )


def dense(name="output", dtype="float32", shape=(5,)):
    return Field(name=name, form="dense", dtype=dtype, shape=shape)


def output_of(rows, fields):
    """A teacher's outputs for rows: numbers that contain the row and the column."""
    signals = {}
    for number, field in enumerate(fields):
        size = int(np.prod(field.shape))
        values = torch.tensor(rows)[:, None] + torch.arange(size) / 100 + number
        signals[field.name] = values.reshape(len(rows), *field.shape).float()
    return Signals(signals.pop("output", None), signals)


def fill(folder, made, blocks=None, process=0):
    """Write blocks, each in two pieces."""
    folder.mkdir(exist_ok=True)
    if not (folder / "manifest.json").exists():
        made.write(folder)
    with StoreWriter(folder, made, process) as writer:
        for block in writer.pending() if blocks is None else blocks:
            rows = list(range(made.layout.block(block).start, made.layout.block(block).stop))
            pieces = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
            writer.write(block, (output_of(piece, made.fields) for piece in pieces if piece))


def make(folder, fields=None, **options):
    made = manifest(fields or [dense()], **options)
    fill(folder, made)
    close_store(folder, made)
    return TargetStore.open(folder)


def content(folder):
    """All files of a store by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture
def store(tmp_path):
    return make(tmp_path / "store")
