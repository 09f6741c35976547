"""The base of objectives on layers: pairs of features, at one size, at their valid positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.paths import LayerPath
from tutelage.layers.resolution import (
    MakeProjector,
    fitting,
    over_channels,
    project,
    reached,
    resize_mask,
    sizes,
)
from tutelage.objectives._formula import Formula
from tutelage.objectives._tensors import at_least_float32, mean_of_rows
from tutelage.positions import rows_of
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Fields, Wants

_TOKENS, _MAPS = 3, 4  # dimensions of a feature


class LayerObjective(Formula):
    """The mean of a comparison over pairs of layers, one of the student and one of the teacher.

    A subclass has a `formula` of (student, teacher, settings…, mask), all of features, or writes
    `compare`.

    Args:
        layer_map: Which layer of the student learns from which of the teacher, such as
            `{"layer2": "layer4"}`; None for the outputs of both, where these are embeddings.
        projector: Callable: both features → module from the student's width to the teacher's; None
            for none. The modules are built from the shapes of one dry run and trained with the
            student, but are not part of it.

    Shape:
        Features `[batch, d]`, `[batch, tokens, d]` or `[batch, channels, height, width]`. Padded
        tokens (`attention_mask` of the inputs) and void positions of maps (`row_mask` of the batch)
        are ignored. Where positions are compared, the student's feature is resized to the teacher's
        number of them (`layers.resolution.resize`).

    Raises:
        ArgumentError: The map is empty or has invalid layer paths.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str] | None = None,
        projector: MakeProjector | None = None,
    ) -> None:
        super().__init__()
        self.layer_map = None if layer_map is None else checked_map(layer_map)
        self.output_kind = "values" if layer_map is None else None
        if self.layer_map is None:
            self.wants = Wants(student=OUTPUT, teacher=OUTPUT)
        else:
            ours, theirs = frozenset(self.layer_map), frozenset(self.layer_map.values())
            self.wants = Wants(student=Fields(features=ours), teacher=Fields(features=theirs))

        self.make_projector = projector
        self.projectors = nn.ModuleList()
        self.built = projector is None

    def build(self, student: Signals, teacher: Signals) -> None:
        """Make the projectors for features of these shapes."""
        if self.make_projector is not None:
            pairs = self.pairs(student, teacher)
            self.projectors = nn.ModuleList(
                self.make_projector(at_least_float32(ours), theirs) for ours, theirs in pairs
            )
        self.built = True

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return `[batch]`: how far the student's feature, `[batch, …]`, is from the teacher's.

        Here it is the formula of the student's feature at the teacher's width and size; or, where
        examples are related, of both as they are, with 0 at invalid positions.

        Args:
            pair: The position in the map, for parts that belong to one pair.
            student: The student's feature.
            teacher: The teacher's.
            batch: The examples.
        """
        settings = self.settings(batch.progress)
        if self.relates_examples:
            ours, theirs = (
                without_padding(feature, position_mask(batch, feature))
                for feature in (student, teacher)
            )
            return self.formula(ours, theirs, **settings)
        module = self.projectors[pair] if self.projectors else nn.Identity()
        ours, mask = at_the_teachers_size(student, teacher, position_mask(batch, teacher), module)
        return self.formula(ours, teacher, mask=mask, **settings)

    def pairs(self, student: Signals, teacher: Signals) -> list[tuple[Tensor, Tensor]]:
        """Return the features that are compared."""
        if self.layer_map is None:
            return [(student.logits, teacher.logits)]
        pairs = self.layer_map.items()
        return [(student.feature(ours), teacher.feature(theirs)) for ours, theirs in pairs]

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the mean over the pairs, `[batch]`."""
        if not self.built:
            raise ArgumentError(
                f"{self} has projectors that depend on the shapes of features, got none yet; call "
                "build(student, teacher) with the signals of one batch first"
            )
        pairs = self.pairs(student, teacher)
        batch = _with_tokens(batch, student, teacher, pairs)
        paths = self.layer_map or {"": ""}
        values = [
            self.compare(pair, ours, theirs, _seen_at(batch, path))
            for pair, (path, (ours, theirs)) in enumerate(zip(paths, pairs, strict=True))
        ]
        return values[0] if len(values) == 1 else torch.stack(values).mean(dim=0)


def _with_tokens(
    batch: Batch, student: Signals, teacher: Signals, pairs: Sequence[tuple[Tensor, Tensor]]
) -> Batch:
    """Return the batch with the mask of tokens that the models have made from texts themselves."""
    ours, theirs = student.tokens, teacher.tokens
    shapes = [list(each.shape) for each in (ours, theirs) if each is not None]
    of_tokens = any(each.ndim == _TOKENS for pair in pairs for each in pair)
    if of_tokens and len(shapes) == 2 and shapes[0] != shapes[1]:  # noqa: PLR2004 - both sides
        raise ModelError(
            "layers of tokens can be compared where student and teacher have the same tokens, got "
            f"{shapes[0]} (student) and {shapes[1]} (teacher); compare outputs, or layers after "
            "pooling"
        )
    tokens = theirs if ours is None else ours
    return batch if tokens is None else replace(batch, tokens=tokens)


def _seen_at(batch: Batch, path: str) -> Batch:
    """Return the batch whose token mask is that of a layer: in a decoder, of its own tokens."""
    inputs = batch.inputs
    if not isinstance(inputs, Mapping) or "decoder_input_ids" not in inputs:
        return batch
    if not path or "decoder" not in LayerPath.parse(path).path.split("."):
        return batch
    mask, rows = batch.output_token_mask(), rows_of(batch, _TOKENS)
    if mask is None and rows is not None:
        mask = rows.mask
    return replace(batch, inputs={**inputs, "attention_mask": mask}, tokens=None)


def checked_map(layer_map: Mapping[str, str]) -> dict[str, str]:
    """Return the map of layers; refuse an empty one, and invalid layer paths."""
    if not isinstance(layer_map, Mapping) or not layer_map:
        raise ArgumentError(
            "`layer_map` must map layers of the student to layers of the teacher, got "
            f"{layer_map!r}; write {{'layer2': 'layer4'}}"
        )
    for each in (*layer_map, *layer_map.values()):
        LayerPath.parse(each)
    return dict(layer_map)


def same_examples(student: Tensor, teacher: Tensor) -> None:
    """Refuse features that are not `[batch, …]` of the same number of examples: one broadcasts."""
    if min(student.ndim, teacher.ndim) < 2 or len(student) != len(teacher):  # noqa: PLR2004
        raise ModelError(
            "the features of student and teacher must be [batch, …] of the same examples, got "
            f"{list(student.shape)} (student) and {list(teacher.shape)} (teacher); choose layers "
            "whose first dimension is the batch"
        )


def same_features(student: Tensor, teacher: Tensor) -> None:
    """Refuse features of different shapes."""
    if student.shape != teacher.shape:
        raise ModelError(
            f"the features of student and teacher must have one shape, got {list(student.shape)} "
            f"(student) and {list(teacher.shape)} (teacher); use a projector, or other layers"
        )


def position_mask(batch: Batch, feature: Tensor) -> Tensor | None:
    """Return the batch's mask for a feature of this kind: of tokens, or of rows of a map."""
    if feature.ndim == _TOKENS:
        return batch.token_mask()
    return batch.row_mask if feature.ndim == _MAPS else None


def without_padding(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return a feature in float32 at least, with 0 at invalid positions."""
    feature, mask = at_least_float32(feature), fitting(mask, feature)
    return feature if mask is None else feature.masked_fill(~over_channels(mask, feature), 0)


def by_position(feature: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return a feature as `[batch, channels, positions]`, and which positions are valid.

    It is `without_padding`. A feature without positions has one.

    Args:
        feature: `[batch, channels, height, width]`, `[batch, tokens, d]` or another `[batch, …]`.
        mask: As in `fitting`.

    Returns:
        The feature, and `[batch, positions]` of bool; None where the mask does not fit.
    """
    mask, values = fitting(mask, feature), without_padding(feature, mask)
    if feature.ndim == _TOKENS:
        values = values.mT
    else:
        values = values.flatten(2) if feature.ndim == _MAPS else values.flatten(1).unsqueeze(2)
    return values, None if mask is None else mask.flatten(1)


def at_the_teachers_size(
    student: Tensor, teacher: Tensor, mask: Tensor | None, module: nn.Module
) -> tuple[Tensor, Tensor | None]:
    """Return the student's feature at the teacher's size, and the mask of what both sides have.

    Of a mask that fits the tokens of one side only, the other side's is made by resizing.

    Args:
        student: `[batch, tokens, d]` or `[batch, channels, height, width]`; a feature without
            positions is projected only.
        teacher: Of the same kind.
        mask: As in `fitting`.
        module: The projector to the teacher's width.
    """
    weight = next(module.parameters(), None)
    student = at_least_float32(student) if weight is None else student.to(weight.dtype)
    if student.ndim != teacher.ndim:  # a custom projector may turn one kind into the other
        return project(module, student, teacher), mask
    ours, theirs = fitting(mask, student), fitting(mask, teacher)
    if theirs is None and ours is None:
        return project(module, student, teacher), None
    if theirs is None:
        theirs = resize_mask(cast("Tensor", ours), sizes(teacher))
    elif ours is None:
        ours = resize_mask(theirs, sizes(student))
    ours = cast("Tensor", ours)
    return project(module, student, teacher, ours), theirs & reached(ours, teacher)


def pooled(feature: Tensor, mask: Tensor | None) -> Tensor:
    """Return one vector per example, `[batch, d]`: the mean over valid pixels or tokens."""
    values, valid = by_position(feature, mask)
    return values.mean(dim=2) if valid is None else values.sum(dim=2) / _number(valid).unsqueeze(1)


def mean_of_positions(values: Tensor, valid: Tensor | None, channels: int = 1) -> Tensor:
    """Return the mean of each example's values, `[batch]`, over valid positions; None for all.

    Args:
        values: `[batch, …]`, of positions and channels.
        valid: Which positions are valid, of bool, in the shape of the values without channels.
        channels: The dimension of the channels.
    """
    if valid is None:
        return mean_of_rows(values.flatten(1))
    sums = values.sum(dim=channels).masked_fill(~valid, 0).flatten(1).sum(dim=1)
    return sums / (_number(valid.flatten(1)) * values.shape[channels])


def _number(valid: Tensor) -> Tensor:
    """Return the number of valid positions, `[batch]`; 1 where there are none."""
    return valid.sum(dim=1).clamp(min=1)
