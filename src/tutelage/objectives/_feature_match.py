"""Feature regression through a projector (FitNets)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ArgumentError
from tutelage.layers.projector import MakeProjector, projector
from tutelage.objectives._layers import (
    LayerObjective,
    at_the_teachers_size,
    mean_per_example,
    position_mask,
    same_features,
    without_padding,
)
from tutelage.signals import Batch, Signals

_EXPECTED = "`projector` must be a function from both features to a module between their widths"


def feature_match(student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
    """‖f_s − f_t‖² / n over the n elements of an example's feature.

    FitNets take half the sum; the mean does not depend on the width.

    Args:
        student: Feature of the student, `[batch, d]`, `[batch, tokens, d]` or
            `[batch, channels, height, width]`.
        teacher: That of the teacher, of the same shape.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`).

    Returns:
        `[batch]`, zero or more.

    >>> import torch
    >>> feature_match(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]]))
    tensor([2.])
    """
    same_features(student, teacher)
    ours, theirs = (without_padding(feature, mask) for feature in (student, teacher))
    squares = F.mse_loss(ours, theirs, reduction="none")
    return mean_per_example(squares, mask)


class FeatureMatch(LayerObjective):
    """FitNets' hints: squared difference between projected student features and the teacher's.

    Romero, Ballas, Kahou, Chassang, Gatta and Bengio 2015, "FitNets: Hints for Thin Deep Nets",
    https://arxiv.org/abs/1412.6550. Formula: `tutelage.objectives.feature_match`. A usual weight
    is 100. The projectors are built from the shapes of one dry run and trained with the student,
    but are not part of it.

    Args:
        layer_map: As in `LayerObjective`.
        projector: From both features to a module from the student's width to the teacher's; by
            default a linear layer or a 1×1 convolution, or the identity for equal widths.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`.

    Raises:
        ArgumentError: The map is empty or has invalid layer paths, or `projector` is not a
            function.
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
        self.projectors = nn.ModuleList()
        self.built = False

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make the projectors for features of these shapes.

        Raises:
            ArgumentError: `projector` makes something else.
        """
        made = [self.make_projector(*pair) for pair in self.pairs(student, teacher)]
        if not all(isinstance(each, nn.Module) for each in made):
            raise ArgumentError(f"{_EXPECTED}, got {self.make_projector!r}, which returns {made}")
        self.projectors = nn.ModuleList(made)
        self.built = True

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the distances, `[batch]`."""
        mask = position_mask(batch, teacher)
        ours, mask = at_the_teachers_size(student, teacher, mask, self.projectors[pair])
        return feature_match(ours, teacher, mask)
