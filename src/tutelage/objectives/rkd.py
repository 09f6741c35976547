"""Keep the examples of a batch in the teacher's relations to each other."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from tutelage._checks import not_negative
from tutelage.errors import ArgumentError
from tutelage.losses import rkd
from tutelage.objectives._layers import LayerObjective
from tutelage.signals import Batch


class RKD(LayerObjective):
    """Huber errors of the distances and angles between the examples of a batch.

    Formula and source: `tutelage.losses.rkd`. It needs no projector. The relations are
    those within one batch of one process; time and memory grow with the third power of its size.

    Args:
        layer_map: As in `LayerObjective`.
        distance: Weight of the distances, zero or more.
        angle: Weight of the angles, zero or more; 0 saves their cost.

    Shape:
        Features or outputs `[batch, …]`, which are flattened; any two widths. Padded tokens
        (`attention_mask` of the inputs) do not count.

    Raises:
        ArgumentError: A weight is negative or not finite, or both are 0; the map is empty, or
            names no places.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str] | None = None,
        distance: float = 25.0,
        angle: float = 50.0,
    ) -> None:
        super().__init__(layer_map)
        self.distance = not_negative("distance", distance, "the authors' weight is 25")
        self.angle = not_negative("angle", angle, "the authors' weight is 50")
        if not self.distance and not self.angle:
            raise ArgumentError(
                "`distance` or `angle` must be positive, got 0 for both; the authors' weights are "
                "25 and 50"
            )

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the errors, `[batch]`."""
        return rkd(student, teacher, self.distance, self.angle, batch.token_mask())

    def extra_repr(self) -> str:
        """Show the map and the weights."""
        return self.with_map(f"distance={self.distance:g}, angle={self.angle:g}")
