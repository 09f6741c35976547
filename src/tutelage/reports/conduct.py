"""How a study was carried out: what its arms tried, and what its data sets have in common."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tried:
    """One setting of a sweep.

    Args:
        setting: In words.
        value: The deciding metric on validation data, the mean over the tuning seeds; None where
            training diverged.
        is_beyond: Whether it lies beyond the edge of what was to be tried at first.
    """

    setting: str
    value: float | None
    is_beyond: bool = False


@dataclass(frozen=True)
class Edge:
    """A chosen number at the edge of those that were tried: the best may lie beyond.

    Args:
        name: Of the setting.
        chosen: Its value.
        values: All that were tried, in order.
    """

    name: str
    chosen: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """What it took to choose an arm's setting.

    Args:
        steps: Optimizer steps of all trials; None where those of one are not known.
        seconds: Training time of all trials.
        further: How many settings beyond its grid it was allowed to try.
    """

    steps: int | None
    seconds: float
    further: int = 0


@dataclass(frozen=True)
class Overlap:
    """What two data sets of a study have in common, compared by the inputs of their examples.

    Args:
        data: The smaller one: "train", "val" or "test", perhaps of an arm or a seed.
        other: The larger one.
        examples: How many of the smaller one are in the larger one too.
        of: How many of the smaller one were compared; 0 if they could not be.
        expected: How many of them duplicates within the larger one explain.
        indices: Some of them, as positions in the smaller one.
        is_leak: Whether they are more than duplicates and chance explain.
        unchecked: What was not compared, in words; empty if all was.
    """

    data: str
    other: str
    examples: int
    of: int
    expected: float = 0.0
    indices: tuple[int, ...] = ()
    is_leak: bool = False
    unchecked: str = ""
