"""The base of objectives on layers: pairs of layers, compared one by one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.paths import LayerPath
from tutelage.objectives._objective import Objective
from tutelage.positions import rows_of
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Fields, Wants

_TOKENS = 3  # dimensions of a feature [batch, tokens, d]


class LayerObjective(Objective):
    """The mean of a comparison over pairs of layers, one of the student and one of the teacher.

    A subclass writes `compare`.

    Args:
        layer_map: Which layer of the student learns from which of the teacher, such as
            `{"layer2": "layer4"}`; None for the outputs of both, where these are embeddings.

    Raises:
        ArgumentError: The map is empty or has invalid layer paths.
    """

    def __init__(self, layer_map: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.layer_map = None if layer_map is None else checked_map(layer_map)
        self.output_kind = "values" if layer_map is None else None
        if self.layer_map is None:
            self.wants = Wants(student=OUTPUT, teacher=OUTPUT)
        else:
            ours, theirs = frozenset(self.layer_map), frozenset(self.layer_map.values())
            self.wants = Wants(student=Fields(features=ours), teacher=Fields(features=theirs))

    @abstractmethod
    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return `[batch]`: how far the student's feature, `[batch, …]`, is from the teacher's.

        `pair` is the position in the map, for parts that belong to one pair.
        """

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
    sizes = [list(each.shape) for each in (ours, theirs) if each is not None]
    of_tokens = any(each.ndim == _TOKENS for pair in pairs for each in pair)
    if of_tokens and len(sizes) == 2 and sizes[0] != sizes[1]:  # noqa: PLR2004 - both sides
        raise ModelError(
            "layers of tokens can be compared where student and teacher have the same tokens, got "
            f"{sizes[0]} (student) and {sizes[1]} (teacher); compare outputs, or layers after "
            "pooling"
        )
    tokens = theirs if ours is None else ours
    return batch if tokens is None else replace(batch, tokens=tokens)


def _seen_at(batch: Batch, path: str) -> Batch:
    """Return the batch as a layer sees it: in a decoder, its tokens for those of the encoder."""
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
