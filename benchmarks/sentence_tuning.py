"""How the recipes of the short encoders were chosen: on 1,000 held-out pairs of STS-B train.

    TUTELAGE_DATA=... python benchmarks/sentence_tuning.py [--seeds N] [NAME ...]

STS-B dev, on which sentence_encoder.py reports, is not read.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
import transformers

import tutelage as tl
from remembered import timed
from sentence_encoder import (
    BATCH,
    EPOCH,
    FEATURES,
    LONG,
    LONGER,
    OUTPUT,
    kept,
    map_to,
    show,
    study,
    teacher,
    text,
)
from sentences import buckets


def adamw(rate: float) -> Any:
    """Return AdamW at a rate."""
    return partial(torch.optim.AdamW, lr=rate, fused=True)


def small_batches() -> Any:
    """Return loaders of batches of half the size, twice as many."""
    return partial(buckets, text().train, BATCH // 2, 2 * EPOCH)


def more_text() -> Any:
    """Return loaders of running text too."""
    return partial(buckets, text().train.joined(text().running), BATCH, EPOCH)


def layers_too(layers: tuple[int, ...]) -> tl.objectives.Objective:
    """Return the output and the layers at once."""
    return OUTPUT + FEATURES * tl.FeatureMatch(map_to(layers))


def recipes(layers: tuple[int, ...]) -> dict[str, tl.Arm]:
    """Return what is tried for a student of some layers."""
    student = partial(kept, layers)
    words = partial(kept, layers, words=True)
    unit = {"student": partial(kept, layers, unit=True), "teacher": teacher(unit=True)}
    both = layers_too(layers)
    close = OUTPUT + 0.1 * tl.RelationMatch(angle=0)
    found: dict[str, dict[str, Any]] = {
        "base": {},
        "layers too": {"objective": both},
        "distances too": {"objective": close},
        "unit": unit | {"objective": 384 * OUTPUT},
        "unit, rate 2e-3": unit | {"objective": 384 * OUTPUT, "optimizer": adamw(2e-3)},
        "unit, rate 2e-3, 9 passes": unit
        | {"objective": 384 * OUTPUT, "optimizer": adamw(2e-3), "epochs": LONGER},
        "rate 2e-3, 9 passes": {"optimizer": adamw(2e-3), "epochs": LONGER},
        "rate 4e-3, 9 passes": {"optimizer": adamw(4e-3), "epochs": LONGER},
        "rate 2e-3, as long as 9 passes, more text": {
            "optimizer": adamw(2e-3),
            "epochs": LONGER,
            "train": more_text(),
        },
        "rate 4e-3, as long as 9 passes, more text": {
            "optimizer": adamw(4e-3),
            "epochs": LONGER,
            "train": more_text(),
        },
        "words, rate 2e-3, as long as 9 passes, more text": {
            "student": words,
            "optimizer": adamw(2e-3),
            "epochs": LONGER,
            "train": more_text(),
        },
        "layers too, rate 2e-3, 9 passes": {
            "objective": both,
            "optimizer": adamw(2e-3),
            "epochs": LONGER,
        },
        "rate 2e-3": {"optimizer": adamw(2e-3)},
        "rate 5e-4": {"optimizer": adamw(5e-4)},
        "batch 32": {"train": small_batches()},
        "9 passes": {"epochs": LONGER},
        "words": {"student": words},
        "words, rate 2e-3": {"student": words, "optimizer": adamw(2e-3)},
        "words, rate 2e-3, 9 passes": {
            "student": words,
            "optimizer": adamw(2e-3),
            "epochs": LONGER,
        },
        "words, rate 3e-4": {"student": words, "optimizer": adamw(3e-4)},
        "words, rate 3e-4, 9 passes": {
            "student": words,
            "optimizer": adamw(3e-4),
            "epochs": LONGER,
        },
    }
    return {
        f"{layers} {name}": tl.Arm(**{"student": student, "objective": OUTPUT} | how)
        for name, how in found.items()
    }


LAYERS = ((5,), (0,), (2, 5), (1, 5), (3, 5), (4, 5))


def main() -> None:
    """Train every arm, or those that are named, and print how near they come to the teacher."""
    transformers.logging.set_verbosity_error()
    arms = {name: arm for layers in LAYERS for name, arm in recipes(layers).items()}
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    for name in given.names or arms:
        with timed(name):
            show(study(f"tuning {name}", {name: arms[name]}, LONG, given.seeds, on_held_out=True))


if __name__ == "__main__":
    main()
