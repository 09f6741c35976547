"""Tell the compiler which sizes of what an objective sees may differ from batch to batch.

Said beforehand, one program serves for all. Else there would be one for the sizes that came first
and another for those that came later, to other bits; and a run that was killed and is taken up sees
other sizes first. All sizes variable would be simpler, but some programs take twice the time where
the width is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
    return Signals(on_tensors(output, _signal), on_tensors(signals.features, _signal))


def examples_of_any_size(batch: Batch) -> Batch:
    """Return a batch for any number of examples and any length of texts, which are named inputs."""
    inputs = _of_any_length if isinstance(batch.inputs, Mapping) else _of_any_number
    mixture = batch.mixture
    if mixture is not None:
        mixture = Mixture(_of_any_number(mixture.labels), _of_any_number(mixture.share))
    return replace(
        batch,
        inputs=on_tensors(batch.inputs, inputs),
        labels=on_tensors(batch.labels, _of_any_number),
        index=on_tensors(batch.index, _of_any_number),
        domain=on_tensors(batch.domain, _of_any_number),
        mixture=mixture,
    )


def _signal(signal: Tensor) -> Tensor:
    return (_of_any_length if signal.ndim == _TOKENS else _of_any_number)(signal)


def _of_any_number(tensor: Tensor) -> Tensor:
    """Return the same tensor, `[batch, …]`, its first size a variable."""
    return _variable(tensor, 1)


def _of_any_length(tensor: Tensor) -> Tensor:
    """Return the same tensor, `[batch, tokens, …]`, its first two sizes variables."""
    return _variable(tensor, 2)


def _variable(tensor: Tensor, sizes: int) -> Tensor:
    from torch._dynamo import maybe_mark_dynamic  # noqa: PLC0415 - takes its time

    same = tensor.view_as(tensor)  # the mark is not to stay on the user's tensor
    maybe_mark_dynamic(same, list(range(min(sizes, same.ndim))))
    return same
