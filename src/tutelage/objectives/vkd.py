"""Learn what the teacher's layers say, through a rotation that keeps the student's geometry."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tutelage.layers.orthogonal import orthogonal_projector
from tutelage.layers.projector import project
from tutelage.losses import vkd
from tutelage.losses._tensors import at_least_float32
from tutelage.objectives.feature_match import FeatureMatch
from tutelage.signals import Batch


class VkD(FeatureMatch):
    """Huber error of rotated features of the student to the teacher's standardised ones.

    The projector is a matrix with orthonormal columns (rows where the student is the wider), and
    stays so: as it keeps all distances, it cannot learn in the student's place. Like the
    projectors of `FeatureMatch`, it is made from one dry run, trained with the student and thrown
    away with the objective. Formula and source: `tutelage.losses.vkd`,
    `tutelage.layers.orthogonal`. A usual weight is 1.

    Args:
        layer_map: As in `LayerObjective`.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`; numbers
        of tokens and heights and widths may differ. Padded tokens (`attention_mask` of the
        inputs) do not count.

    Raises:
        ArgumentError: The map is empty, or names no places.
    """

    def __init__(self, layer_map: Mapping[str, str] | None = None) -> None:
        super().__init__(layer_map, orthogonal_projector)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the errors, `[batch]`."""
        module = nn.Identity() if self.projectors is None else self.projectors[pair]
        ours = project(module, at_least_float32(student), teacher)
        return vkd(ours, teacher, batch.token_mask())
