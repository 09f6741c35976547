"""Recipes for the short encoders, compared on 1,000 held-out pairs of STS-B train.

    TUTELAGE_DATA=... python benchmarks/sentence_tuning.py [--seeds N] [NAME ...]

The learning rate and the text of `longer` in sentence_encoder.py were chosen here. STS-B dev is not
used.
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
    named,
    show,
    study,
    text,
)
from sentences import buckets


def rate(value: float) -> dict[str, Any]:
    """Return the arguments of an arm with a learning rate."""
    return {"learning_rate": value}


def recipes(layers: tuple[int, ...]) -> dict[str, tl.Arm]:
    """Return the recipes for a student of some layers."""
    words = {"student": partial(kept, layers, words=True)}
    both = {"objective": OUTPUT + FEATURES * tl.FeatureMatch(map_to(layers))}
    nine = {"epochs": LONGER}
    running = nine | {"train": partial(buckets, more_text(), BATCH, EPOCH)}
    found: dict[str, dict[str, Any]] = {
        "base": {},
        "learning rate 5e-4": rate(5e-4),
        "learning rate 2e-3": rate(2e-3),
        "batches of 32": {"train": partial(buckets, text().train, BATCH // 2, 2 * EPOCH)},
        "layers in addition": both,
        "layers in addition, nine passes at 2e-3": both | rate(2e-3) | nine,
        "pairwise distances in addition": {"objective": OUTPUT + 0.1 * tl.RKD(angle=0)},
        "word embeddings trained": words,
        "word embeddings trained, at 3e-4": words | rate(3e-4),
        "word embeddings trained, at 2e-3": words | rate(2e-3),
        "nine passes": nine,
        "nine passes at 2e-3": nine | rate(2e-3),
        "nine passes at 4e-3": nine | rate(4e-3),
        "as long as nine passes at 2e-3, running text in addition": running | rate(2e-3),
        "the same, word embeddings trained": running | words | rate(2e-3),
    }
    usual = {"student": partial(kept, layers), "objective": OUTPUT}
    return {f"{named(layers)}: {name}": tl.Arm(**usual | how) for name, how in found.items()}


LAYERS = ((5,), (0,), (2, 5), (1, 5), (3, 5), (4, 5))


def main() -> None:
    """Train the named arms, or all, and print their quality relative to the teacher."""
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
