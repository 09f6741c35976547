"""Which examples of a batch each term of an objective is averaged over."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import LABEL_KEYS, describe, first_tensor
from tutelage.objectives._labels import labels_of
from tutelage.objectives._objective import Term
from tutelage.objectives._value_checks import readable
from tutelage.signals import Batch


def valid_examples(terms: Sequence[Term], batch: Batch) -> tuple[int, Sequence[Tensor | None]]:
    """Return the number of examples, and for each term its mask, `[batch]` of bool; None for all.

    A term that reads labels is valid for the labelled examples; one that compares the examples of
    a batch is valid for none where there is only one.
    """
    if not isinstance(batch, Batch):
        raise DataError(
            f"a distiller must be given a tl.Batch, got {type(batch).__name__}; write "
            "tl.Batch(inputs, labels), or tl.Batch.of(what the loader yields)"
        )
    examples = len(batch)
    reading = [term for term in terms if term.objective.wants.labels]
    labelled = _labelled(reading, batch) if reading else None
    if labelled is None and examples != 1:
        return examples, (None,) * len(terms)
    masks = [labelled if term.objective.wants.labels else None for term in terms]
    if examples == 1:
        none = torch.zeros(1, dtype=torch.bool, device=first_tensor(batch.inputs).device)
        related = [term.objective.relates_examples for term in terms]
        masks = [none if each else mask for each, mask in zip(related, masks, strict=True)]
    return examples, masks


def _labelled(reading: Sequence[Term], batch: Batch) -> Tensor | None:
    """Return which examples are labelled; None for all, if their labels are readable."""
    if batch.labels is None:
        raise DataError(
            f"the objective {reading[0].objective} learns from labels and the data (`train` or "
            f"`val`) has none, got inputs {describe(batch.inputs)}; yield (inputs, labels) or a "
            f"dict with one of the keys {list(LABEL_KEYS)}, name another key by "
            "tl.data.labelled(dataset, labels='key'), or use an objective without labels, such as "
            "SoftTargets"
        )
    labels_of(batch)
    if batch.mixture is not None:
        for term in reading:
            if not term.objective.reads_mixtures:
                raise DataError(
                    f"{term.objective} reads one label per example, got mixed examples with "
                    "two labels each; learn their labels by HardLabels and the teacher by an "
                    "objective without labels, such as SoftTargets, or use a transform that "
                    "leaves labels as they are, such as Noise"
                )
    labelled = batch.labelled()
    return None if len(labelled) and readable(labelled) and labelled.all() else labelled
