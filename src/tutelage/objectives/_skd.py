"""Pairwise similarities between the pixels of an image (SKD)."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from tutelage._checks import integer
from tutelage.errors import ModelError
from tutelage.objectives._layers import LayerObjective, by_position, position_mask
from tutelage.objectives._tensors import full_precision, unit
from tutelage.signals import Batch

_TOKENS, _MAPS = 3, 4


def skd(student: Tensor, teacher: Tensor, grid: int = 8, mask: Tensor | None = None) -> Tensor:
    """Mean over pairs of nodes (i, j) of (a^s_ij − a^t_ij)², with a_ij the cosine of i and j.

    A map is average-pooled to a grid of nodes, of at most `grid` rows and columns and no more than
    the smaller of the two maps has; so neither widths nor sizes need be equal. Tokens are nodes as
    they are. The mean includes i = j, as in the paper; a node of zeros has cosine 0.

    The paper pools by averages, as here; the authors' code takes maxima, by default of a map's
    quarters, and does not differentiate the norms.

    Args:
        student: Feature of the student, `[batch, channels, height, width]` or
            `[batch, tokens, d]`.
        teacher: That of the teacher, of any width; maps of any size, or as many tokens.
        grid: Rows and columns of nodes of a map, at least 1. Memory grows with its fourth power.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`). A node is the mean of its valid pixels, and is left out
            unless both sides have some.

    Returns:
        `[batch]`, from 0 to 4; 0 where no node is valid.

    Raises:
        ModelError: The features are of different kinds, or of other tokens.

    >>> import torch
    >>> student = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # two tokens that are orthogonal
    >>> skd(student, torch.ones(1, 2, 3))  # and two that are equal
    tensor([0.5000])
    """
    kinds = {student.ndim, teacher.ndim}
    same_examples = student.ndim and teacher.ndim and len(student) == len(teacher)
    same_tokens = kinds == {_TOKENS} and student.shape[:2] == teacher.shape[:2]
    if not same_examples or not (same_tokens or kinds == {_MAPS}):
        raise ModelError(
            "similarities are compared between features [batch, channels, height, width], or "
            "[batch, tokens, d] of the same tokens, for the same examples, got "
            f"{list(student.shape)} (student) and {list(teacher.shape)} (teacher); choose layers "
            "of one kind"
        )
    size = [min(grid, *both) for both in zip(student.shape[2:], teacher.shape[2:], strict=True)]
    with full_precision(student):
        (ours, valid), (theirs, also) = (_nodes(f, size, mask) for f in (student, teacher))
        squares = (ours.mT @ ours - theirs.mT @ theirs).square()
    if valid is None or also is None:
        return squares.mean(dim=(1, 2))
    valid = valid & also
    pairs = valid.unsqueeze(1) & valid.unsqueeze(2)
    number = valid.sum(dim=1).clamp(min=1) ** 2
    return squares.masked_fill(~pairs, 0).sum(dim=(1, 2)) / number


class SKD(LayerObjective):
    """Structured knowledge distillation, its pair-wise term: similarities within an image.

    Liu, Chen, Liu, Qin, Luo and Wang 2019, "Structured Knowledge Distillation for Semantic
    Segmentation", https://arxiv.org/abs/1903.04197. Formula: `tutelage.objectives.skd`. Of the
    paper's three terms this is the pair-wise one. The pixel-wise one is `SoftTargets` on the
    pixels' logits; the holistic one, by a discriminator, is not offered. No projector is needed.

    Args:
        layer_map: As in `LayerObjective`; it must be given.
        grid: Rows and columns of the nodes to which maps are average-pooled, at least 1; a map
            that is smaller is not enlarged. Memory grows with its fourth power.

    Shape:
        Features `[batch, channels, height, width]` of any two sizes and widths; or
        `[batch, tokens, d]`, where the student's are resized to the teacher's number
        (`layers.resolution.resize`).

    Raises:
        ArgumentError: The map is empty or has invalid layer paths, or `grid` is no positive
            integer.

    >>> SKD({"backbone.layer4": "backbone.layer4"}, grid=16)
    SKD({'backbone.layer4': 'backbone.layer4'}, grid=16)
    """

    formula = staticmethod(skd)

    def __init__(self, layer_map: Mapping[str, str], grid: int = 8) -> None:
        super().__init__(layer_map)
        self.grid = integer("grid", grid, 1, "8 gives at most 64 nodes for each map")

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared differences of the similarities, `[batch]`."""
        if student.ndim == teacher.ndim == _MAPS:  # which pooling to nodes brings to one size
            return skd(student, teacher, self.grid, position_mask(batch, teacher))
        return super().compare(pair, student, teacher, batch)


def _nodes(feature: Tensor, size: list[int], mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return nodes of length 1, `[batch, channels, nodes]`, and which of them are valid."""
    values, valid = by_position(feature, mask)
    if feature.ndim == _MAPS:
        pixels = feature.shape[2:]
        # The direction of a sum is that of the mean: the number of valid pixels does not matter.
        values = F.interpolate(values.unflatten(2, pixels), size, mode="area").flatten(2)
        if valid is not None:
            covered = F.interpolate(
                valid.float().unflatten(1, pixels).unsqueeze(1), size, mode="area"
            )
            valid = covered.flatten(1) > 0
    return unit(values), valid
