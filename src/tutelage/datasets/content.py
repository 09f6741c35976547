"""What a file or a folder holds, before it is known which of it are inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tutelage.datasets.frame import Frame
from tutelage.datasets.pictures import Pictures

Inputs = Tensor | list[str] | Pictures
"""Inputs of examples: rows of numbers, texts, or images."""


@dataclass(frozen=True)
class Content:
    """What a file or a folder holds.

    Args:
        frame: The columns of a table; for other files those of labels and domains.
        inputs: None where they are columns of the table.
        labels: The columns of the labels, unless the options name others.
        domain: Likewise, of the domains.
        classes: The names of the classes of a column, in the order of their ids, where they are
            known.
        warnings: What was left out.
    """

    frame: Frame
    inputs: Inputs | None = None
    labels: tuple[str, ...] = ()
    domain: str | None = None
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame) if self.inputs is None else len(self.inputs)


def taken(inputs: Inputs, rows: NDArray[np.int64]) -> Inputs:
    """Return some of the inputs."""
    if isinstance(inputs, Tensor):
        return inputs[rows]
    return [inputs[row] for row in rows] if isinstance(inputs, list) else inputs.taken(rows)


def keys_of(inputs: Inputs, others: Sequence[Inputs] = ()) -> list[Any]:
    """Return what is equal for equal inputs, also for those of `others`."""
    if isinstance(inputs, list):
        return list(inputs)
    if isinstance(inputs, Tensor):
        flat = np.ascontiguousarray(inputs.reshape(len(inputs), -1).numpy())
        return [row.tobytes() for row in flat + 0]  # −0 is 0
    return inputs.keys([each for each in others if isinstance(each, Pictures)])
