"""Look where the teacher looks."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage.layers.projector import resize
from tutelage.losses import attention_transfer
from tutelage.losses._tensors import at_least_float32
from tutelage.objectives._layers import LayerObjective
from tutelage.signals import Batch


class AttentionTransfer(LayerObjective):
    """Squared difference of the two sides' maps of how strongly each position is activated.

    Formula and source: `tutelage.losses.attention_transfer`. A usual weight is 1000: the difference
    is a mean over the positions, and the squares of a map's numbers sum to 1.

    Args:
        layer_map: As in `LayerObjective`; None where the outputs have positions.

    Shape:
        Features `[batch, channels, height, width]` or `[batch, tokens, d]`; widths may differ, and
        where the positions do, the student's feature is brought to the teacher's. Padded tokens
        (`attention_mask` of the inputs) do not count.

    Raises:
        ArgumentError: The map is empty, or names no places.
    """

    def __init__(self, layer_map: Mapping[str, str] | None = None) -> None:
        super().__init__(layer_map)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the differences, `[batch]`."""
        if student.ndim == teacher.ndim:  # the loss refuses others
            student = resize(at_least_float32(student), teacher)
        return attention_transfer(student, teacher, batch.token_mask())
