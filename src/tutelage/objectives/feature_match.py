"""Learn what the teacher's layers say, through a projector where the widths differ."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tutelage.errors import ArgumentError
from tutelage.layers.projector import MakeProjector, project, projector
from tutelage.losses import feature_match
from tutelage.objectives._layers import LayerObjective
from tutelage.signals import Batch, Signals

_EXPECTED = "`projector` must be a function from both features to a module between their widths"


class FeatureMatch(LayerObjective):
    """Mean squared difference between projected features of the student and the teacher's.

    The projectors are made from the shapes of one dry run, trained with the student and thrown
    away with the objective; the student that is returned has none of them.
    Formula and source: `tutelage.losses.feature_match`. A usual weight is 100.

    Args:
        layer_map: As in `LayerObjective`.
        projector: From both features to a module from the student's width to the teacher's; a
            linear layer or a 1×1 convolution, and nothing where the widths are equal.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`; numbers
        of tokens and heights and widths may differ. Padded tokens (`attention_mask` of the
        inputs) do not count.

    Raises:
        ArgumentError: The map is empty, or names no places, or `projector` is no function.
    """

    def __init__(
        self, layer_map: Mapping[str, str] | None = None, projector: MakeProjector = projector
    ) -> None:
        super().__init__(layer_map)
        if not callable(projector) or isinstance(projector, nn.Module):
            raise ArgumentError(
                f"{_EXPECTED}, got {projector!r}; for instance lambda student, teacher: "
                "torch.nn.Linear(student.shape[-1], teacher.shape[-1])"
            )
        self.make_projector = projector
        self.projectors: nn.ModuleList | None = None

    @property
    def built(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] - computed
        """Whether the projectors have been made."""
        return self.projectors is not None

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make the projectors for features of these shapes.

        Raises:
            ArgumentError: `projector` makes something else.
        """
        made = [self.make_projector(*pair) for pair in self.pairs(student, teacher)]
        if not all(isinstance(each, nn.Module) for each in made):
            raise ArgumentError(f"{_EXPECTED}, got {self.make_projector!r}, which returns {made}")
        self.projectors = nn.ModuleList(made)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the distances, `[batch]`."""
        module = nn.Identity() if self.projectors is None else self.projectors[pair]
        return feature_match(project(module, student, teacher), teacher, batch.token_mask())
