"""Recipes for the short encoders, compared on 1,000 held-out pairs of STS-B train.

    TUTELAGE_DATA=... python benchmarks/sentence_tuning.py [--seeds N] [NAME ...]

The rate and the text of `longer` in sentence_encoder.py were chosen here. STS-B dev, on which that
reports, chooses nothing.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

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
    more_text,
    show,
    study,
    text,
)
from sentences import buckets


def rate(value: float) -> dict[str, Any]:
    """Return the setting of a learning rate."""
    return {"learning_rate": value}


def recipes(layers: tuple[int, ...]) -> dict[str, tl.Arm]:
    """Return what is tried for a student of some layers."""
    words = {"student": partial(kept, layers, words=True)}
    both = {"objective": OUTPUT + FEATURES * tl.FeatureMatch(map_to(layers))}
    nine = {"epochs": LONGER}
    running = nine | {"train": partial(buckets, more_text(), BATCH, EPOCH)}
    found: dict[str, dict[str, Any]] = {
        "base": {},
        "rate 5e-4": rate(5e-4),
        "rate 2e-3": rate(2e-3),
        "batch 32": {"train": partial(buckets, text().train, BATCH // 2, 2 * EPOCH)},
        "layers too": both,
        "layers too, rate 2e-3, 9 passes": both | rate(2e-3) | nine,
        "distances too": {"objective": OUTPUT + 0.1 * tl.RKD(angle=0)},
        "words": words,
        "words, rate 3e-4": words | rate(3e-4),
        "words, rate 2e-3": words | rate(2e-3),
        "9 passes": nine,
        "rate 2e-3, 9 passes": nine | rate(2e-3),
        "rate 4e-3, 9 passes": nine | rate(4e-3),
        "rate 2e-3, as long as 9 passes, more text": running | rate(2e-3),
        "words, rate 2e-3, as long as 9 passes, more text": running | words | rate(2e-3),
    }
    usual = {"student": partial(kept, layers), "objective": OUTPUT}
    return {f"{layers} {name}": tl.Arm(**usual | how) for name, how in found.items()}


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
            found = study(f"tuning {name}", {name: arms[name]}, LONG, given.seeds, True)
            show(found, on_held_out=True)


if __name__ == "__main__":
    main()
