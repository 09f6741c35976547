"""The models of a study: how they are timed, and which of them are one architecture."""

from __future__ import annotations

from torch import Tensor, nn

from tutelage.identity import digest
from tutelage.reports.models import Timing

TEACHER = "teacher"
_BATCH, _SECONDS, _ROUNDS = 256, 0.5, 20


def timing(test: object, of_tokens: bool = False) -> Timing:
    """Return how the models of a study are timed; `of_tokens` is for language models."""
    size = 1 if of_tokens else _BATCH
    return Timing("test", test, size, _SECONDS, _ROUNDS, of_tokens)


def architecture(model: nn.Module) -> str:
    """Return a text that two models share if they have the same parts and shapes."""
    shapes = [(name, tuple(each.shape)) for name, each in model.state_dict().items()
              if isinstance(each, Tensor)]  # fmt: skip
    return digest(repr(model), repr(shapes))
