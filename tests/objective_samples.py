"""A sample of each objective, from its own test file, for the tests that all of them must pass.

A file `tests/objectives/test_*.py` has a list `SAMPLES` of what stands here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from tutelage.objectives import Objective

CLASSES = torch.tensor([0, 3, -100, 1, 2, -100])
VALUES = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
VALUES[1, 2], VALUES[4] = torch.nan, torch.nan

TRUTH = torch.arange(64) % 10
"""Labels of `logits()`."""

VECTORS, TOKENS, MAPS = (6, 4), (6, 5, 4), (6, 4, 3, 2)
LAYER_MAPS = {1: {"mix": "mix"}, 2: {"mix": "mix", "embed": "attention.value"}}


@dataclass(frozen=True)
class Sample:
    """An objective on outputs, `[6, 4]`.

    Args:
        objective: The objective.
        loss: Its values from student output, teacher output and labels.
        shown: Its repr.
        labels: Those that it reads.
        zero_at_equality: Whether a student that equals its teacher has nothing to learn.
    """

    objective: Objective
    loss: Callable[..., torch.Tensor]
    shown: str
    labels: torch.Tensor | None = None
    zero_at_equality: bool = True


@dataclass(frozen=True)
class LayerSample:
    """An objective on layers.

    Args:
        make: Makes it for one pair of layers, or two.
        loss: Of the objective, both features and the mask: its values for one pair.
        shown: Its repr for one pair.
    """

    make: Callable[..., Objective]
    loss: Callable[..., torch.Tensor]
    shown: str


@dataclass(frozen=True)
class Formula:
    """A formula of features.

    Args:
        loss: Of both features and, if it takes tokens, a mask.
        shapes: What it takes.
        over_the_batch: Whether an example's value depends on the others.
        zero_at_equality: Whether it is 0 and flat where the features are equal.
    """

    loss: Callable[..., torch.Tensor]
    shapes: tuple[tuple[int, ...], ...]
    over_the_batch: bool = False
    zero_at_equality: bool = True


def logits(rows=64, classes=10):
    """Return logits of a student, which takes a gradient, and of a teacher, in float64."""
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * 3
    return both[0].requires_grad_(), both[1]


def gradient(loss, student):
    """Return the gradient of the sum of an objective's values."""
    return torch.autograd.grad(loss.sum(), student)[0]


def found(kind: type) -> dict[str, Any]:
    """Return all samples of a kind by the file and their number in it."""
    samples = {}
    for path in sorted(Path(__file__).with_name("objectives").glob("test_*.py")):
        if "\nSAMPLES = [" in path.read_text(encoding="utf-8"):
            ours = import_module(f"objectives.{path.stem}").SAMPLES
            mine = [each for each in ours if isinstance(each, kind)]
            name = path.stem.removeprefix("test_")
            samples |= {f"{name}-{place}": each for place, each in enumerate(mine)}
    return samples
