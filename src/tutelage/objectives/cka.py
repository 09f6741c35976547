"""Tell the examples of a batch apart as the teacher does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage.losses import cka
from tutelage.objectives._layers import LayerObjective
from tutelage.signals import Batch


class CKA(LayerObjective):
    """1 − linear CKA, how little the two sides' features are aligned over a batch.

    Formula and source: `tutelage.losses.cka`. It is one number for a batch (of one
    process), which every example of it has; a usual weight is 1. It needs no projector.

    Args:
        layer_map: As in `LayerObjective`.

    Shape:
        Features or outputs `[batch, …]`, which are flattened; any two widths. Padded tokens
        (`attention_mask` of the inputs) do not count.

    Raises:
        ArgumentError: The map is empty, or names no places.
    """

    def __init__(self, layer_map: Mapping[str, str] | None = None) -> None:
        super().__init__(layer_map)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the batch's value for each example, `[batch]`."""
        return cka(student, teacher, batch.token_mask())
