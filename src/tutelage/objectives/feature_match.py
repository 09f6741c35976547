"""Learn what the teacher's layers say, through a projector where the widths differ."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tutelage.layers.projector import MakeProjector, project, projector
from tutelage.losses import feature_distance
from tutelage.objectives._layers import LayerObjective
from tutelage.signals import Batch, Signals


class FeatureMatch(LayerObjective):
    """Mean squared difference between projected features of the student and the teacher's.

    The projectors are made from the shapes of one dry run, trained with the student and thrown
    away with the objective; the student that is returned has none of them.
    Formula and source: `tutelage.losses.feature_distance`. A usual weight is 100.

    Args:
        layer_map: As in `LayerObjective`.
        projector: From both features to a module from the student's width to the teacher's; a
            linear layer or a 1×1 convolution, and nothing where the widths are equal.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`; numbers
        of tokens and heights and widths may differ. Padded tokens (`attention_mask` of the
        inputs) do not count.

    Raises:
        ArgumentError: The map is empty, or names no places.
    """

    def __init__(
        self, layer_map: Mapping[str, str] | None = None, projector: MakeProjector = projector
    ) -> None:
        super().__init__(layer_map)
        self.make_projector = projector
        self.projectors: nn.ModuleList | None = None

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the projectors have been made."""
        return self.projectors is not None

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make the projectors for features of these shapes."""
        both = self.pairs(student, teacher)
        self.projectors = nn.ModuleList(self.make_projector(*pair) for pair in both)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the distances, `[batch]`."""
        module = nn.Identity() if self.projectors is None else self.projectors[pair]
        return feature_distance(project(module, student, teacher), teacher, batch.token_mask())
