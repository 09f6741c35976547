"""What models return for a data set, with its labels and domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tutelage.nested import picked


@dataclass(frozen=True)
class Outputs:
    """Model outputs for a data set, with labels and domains; all on the CPU.

    Args:
        student: Outputs of the evaluated model, `[examples, …]`; None where nothing requires them.
        teacher: The teacher's outputs; None without a teacher, or if it knows only some classes.
        labels: Of all examples, a tensor or a list of targets; None where the data has none.
        domains: The domain of each example; None where the data has none.
        predictions: In place of `student`: one dict per example, as detectors return.
    """

    student: Tensor | None
    teacher: Tensor | None = None
    labels: Any = None
    domains: Sequence[str] | None = None
    predictions: Sequence[Any] | None = None

    def __getitem__(self, rows: Sequence[int]) -> Outputs:
        """Return the outputs for some examples."""
        positions = torch.as_tensor(rows, dtype=torch.int64)
        student, teacher, labels, predictions = (
            None if each is None else picked(each, positions)
            for each in (self.student, self.teacher, self.labels, self.predictions)
        )
        return Outputs(student, teacher, labels, None, predictions)

    def by_domain(self) -> dict[str, Outputs]:
        """Return the outputs of each domain; empty where the data has no domains."""
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.domains or ()):
            rows.setdefault(name, []).append(row)
        return {name: self[own] for name, own in rows.items()}
