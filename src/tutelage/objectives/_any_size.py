"""Tell the compiler which sizes of what an objective sees may differ from batch to batch.

If this is said beforehand, one program serves all of them. Otherwise there would be one for the
sizes that came first and another for later ones, and their results differ in the last bits; a run
that was killed and is taken up sees other sizes first. To leave all sizes open would be simpler,
but some programs take twice the time where the width is open too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.nested import on_tensors
from tutelage.signals import Batch, Mixture, Signals

_TOKENS = 3


def signals_of_any_size(signals: Signals) -> Signals:
    """Return a side's signals for any number of examples and any length of texts."""
    output = signals.output
    if isinstance(output, CoarseLogits):
        ids, logits = _of_any_length(output.ids), _of_any_length(output.logits)
        output = CoarseLogits(ids, logits, _of_any_number(output.rest), output.drawn_at)
    return Signals(_signal(output), on_tensors(signals.features, _signal))


def examples_of_any_size(batch: Batch) -> Batch:
    """Return a batch for any number of examples and any length of texts, which are named inputs."""
    named = isinstance(batch.inputs, Mapping)  # the only ones that objectives look at: the mask
    mixture = batch.mixture
    if mixture is not None:
        mixture = Mixture(_of_any_number(mixture.labels), _of_any_number(mixture.fraction))
    return replace(
        batch,
        inputs=on_tensors(batch.inputs, _of_any_length) if named else batch.inputs,
        labels=_of_any_number(batch.labels),
        index=_of_any_number(batch.index),
        domain=_of_any_number(batch.domain),
        mixture=mixture,
    )


def _signal(signal: Any) -> Any:
    tokens = isinstance(signal, Tensor) and signal.ndim == _TOKENS
    return (_of_any_length if tokens else _of_any_number)(signal)


def _of_any_number(tensor: Any) -> Any:
    """Return the same tensor, `[batch, …]`, its first size a variable."""
    return _variable(tensor, 1)


def _of_any_length(tensor: Any) -> Any:
    """Return the same tensor, `[batch, tokens, …]`, its first two sizes variables."""
    return _variable(tensor, 2)


def _variable(tensor: Any, sizes: int) -> Any:
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
        return tensor
    from torch._dynamo import maybe_mark_dynamic  # noqa: PLC0415 - takes its time

    same = tensor.view_as(tensor)  # the mark is not to stay on the user's tensor
    maybe_mark_dynamic(same, list(range(min(sizes, same.ndim))))
    return same
