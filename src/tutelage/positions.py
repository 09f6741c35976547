"""Find the rows of an output: where its classes are, its resolution, and what is no row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError, ModelError
from tutelage.heads import HeadLogits
from tutelage.labels import known_at
from tutelage.nested import describe, named_tensors
from tutelage.rows import Rows
from tutelage.signals import Batch, Mixture, Signals

_TOKENS = 3  # dimensions of [batch, tokens, classes]
_LOGIT_OF_EACH = (
    "return a single logit or value of each token as [batch, tokens, 1], such as by "
    "tl.layers.Output(model, lambda output: output.unsqueeze(-1))"
)
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def flatten_rows(signals: Signals, batch: Batch, side: str) -> Signals:
    """Return signals with an output of several answers an example as rows, `[rows, classes]`.

    An output `[batch, n]` does not change. One of more dimensions has its classes (or values) last
    if the dimensions between are those of the labels, and second if those behind the second are.
    Where labels do not decide, they are last in three dimensions (`[batch, tokens, classes]`) and
    second in more (`[batch, classes, height, width]`).

    A map whose resolution is not that of the labels (or of `Batch.row_mask`) is resized to it,
    bilinearly between the centres of pixels (`align_corners=False`).

    All positions are rows but those that `Batch.row_mask` excludes or, without it, those that the
    tokenizer's attention mask excludes, and those without a label (−100, NaN) in an example that
    has labels elsewhere. Without any label, all positions are learned from the teacher.

    Args:
        signals: Of a model.
        batch: The examples.
        side: Names the model in errors.

    Raises:
        ModelError: The output fits neither the labels nor the mask.
    """
    output = signals.output
    if signals.rows is not None or output is None:
        return signals
    if isinstance(output, (CoarseLogits, AlignedTargets)):
        return signals
    if output.ndim < _TOKENS:
        mask = batch.row_mask
        if mask is not None and mask.ndim == output.ndim == _TOKENS - 1 and not batch.next_tokens:
            raise ModelError(
                f"the {side} must have an output for each of the positions of `row_mask`, "
                f"[batch, positions, classes], got {describe(output)}, which is of whole examples; "
                f"{_LOGIT_OF_EACH}, and where an example has one answer leave `row_mask` out"
            )
        return signals
    known = _positions(batch, output.ndim)
    if isinstance(output, HeadLogits):
        rows = _rows(batch, _of_head(output, known, side), output.device)
        return replace(signals, output=output.changed(rows.of), rows=rows)
    output = _classes_last(output, known, side)
    rows = _rows(batch, output.shape[:-1], output.device)
    return replace(signals, output=rows.of(output), rows=rows)


def stored_by_row(signals: Signals, positions: tuple[int, ...], batch: Batch) -> Signals:
    """Return signals whose output, of all positions of all examples, has the batch's rows only.

    Args:
        signals: With an output `[examples · positions, …]`.
        positions: The shape of the positions.
        batch: The examples.

    Raises:
        ModelError: The batch has other positions.
    """
    known = _or_tokens(batch, len(positions) + 2) or positions
    if known != positions:
        raise ModelError(
            f"the batch must have the positions that were labelled, {list(positions)}, got "
            f"{list(known)}; give examples of the same size, or label these"
        )
    output = signals.targets
    device = output.device if isinstance(output, Tensor) else output.other.device
    rows = _rows(batch, torch.Size((len(batch), *known)), device)

    def own(values: Tensor) -> Tensor:
        return rows.of(values.unflatten(0, (len(batch), *positions)))

    found = own(output) if isinstance(output, Tensor) else output.changed(own)
    return replace(signals, output=found, rows=rows)


def rows_of(batch: Batch, dimensions: int) -> Rows | None:
    """Return the rows of an output of so many dimensions, where the batch itself decides them."""
    positions = _or_tokens(batch, dimensions)
    if positions is None:
        return None
    shape = torch.Size((len(batch), *positions))
    _, tensor = next(named_tensors((batch.row_mask, batch.labels, batch.inputs)))
    return _rows(batch, shape, tensor.device)


def _or_tokens(batch: Batch, dimensions: int) -> tuple[int, ...] | None:
    """Return the positions of labels or mask, else those of the tokens."""
    known = _positions(batch, dimensions)
    if known is not None or dimensions != _TOKENS:
        return known
    tokens = batch.output_token_mask()
    if tokens is None and isinstance(batch.inputs, Mapping):
        tokens = batch.inputs.get("decoder_input_ids", batch.inputs.get("input_ids"))
    if not isinstance(tokens, Tensor) or tokens.ndim != _TOKENS - 1:
        return None
    return tuple(tokens.shape[1:])


def _positions(batch: Batch, dimensions: int) -> tuple[int, ...] | None:
    """Return the positions of an output of so many dimensions, by labels or `row_mask`."""
    mask = batch.row_mask
    labels = batch.labels if isinstance(batch.labels, Tensor) else None  # or targets of boxes
    if mask is not None and mask.ndim == dimensions - 1:
        if labels is not None and labels.ndim == mask.ndim and labels.shape != mask.shape:
            raise DataError(
                "`row_mask` and labels must be of the same positions, got "
                f"{describe(mask)} and {describe(labels)}; bring one to the other's size"
            )
        return tuple(mask.shape[1:])
    if labels is not None and labels.ndim == dimensions - 1:
        return tuple(labels.shape[1:])
    if labels is not None and labels.ndim == dimensions and labels.is_floating_point():
        # Values, with the shape of the output.
        return tuple(labels.shape[1:-1] if dimensions == _TOKENS else labels.shape[2:])
    return None


def labels_by_row(batch: Batch, rows: Rows | None) -> Batch:
    """Return the batch with a label for each row, where its labels have positions."""
    if rows is None:
        return batch
    mixture = batch.mixture
    if mixture is not None:
        fraction = mixture.fraction[rows.examples]
        mixture = Mixture(_of_rows(mixture.labels, rows), fraction)
    labels = batch.labels
    labels = _of_rows(labels, rows) if isinstance(labels, Tensor) else labels
    return replace(batch, labels=labels, mixture=mixture, rows=rows)


def same_rows(rows: Sequence[Rows | None], names: Sequence[str]) -> Rows | None:
    """Return the rows of outputs that are compared; refuse outputs for different positions.

    Raises:
        ModelError: They differ.
    """
    shapes = [None if each is None else each.positions for each in rows]
    if len(set(shapes)) > 1:
        found = {
            name: "one answer an example" if each is None else list(each)
            for name, each in zip(names, shapes, strict=True)
        }
        raise ModelError(
            f"outputs that are compared must be for the same positions, got {found}; give labels "
            "(−100 where there are none) or a `row_mask`, to whose resolution maps are resized, or "
            "wrap a model in tl.layers.Output"
        )
    return rows[0] if rows else None


def _of_rows(labels: Tensor, rows: Rows) -> Tensor:
    """Return the labels of rows; unchanged if they have other positions."""
    shape, positions = tuple(labels.shape[1:]), rows.positions
    if shape == positions or shape[:-1] == positions:
        return rows.of(labels)
    if shape[1:] == positions:
        return rows.of(labels.movedim(1, -1))
    return labels


def _of_head(output: HeadLogits, positions: tuple[int, ...] | None, side: str) -> torch.Size:
    """Return the shape of a head's positions, `[batch, positions…]`; its classes are last."""
    shape = output.shape[:-1]
    if positions is not None and shape[1:] != positions:
        raise ModelError(
            f"the {side} must have one output for each of the {list(positions)} positions of the "
            f"labels (or of `row_mask`), got hidden states for {list(shape[1:])}; give labels of "
            "the tokens that the model is given, padded as they are"
        )
    return shape


def _classes_last(output: Tensor, positions: tuple[int, ...] | None, side: str) -> Tensor:
    """Return an output as `[batch, positions…, classes]`, at the resolution that is known."""
    last = output.shape[1:-1] == positions
    if last == (output.shape[2:] == positions):
        last = output.ndim == _TOKENS
    found = tuple(output.shape[1:-1] if last else output.shape[2:])
    if positions is not None and positions != found:
        if last:
            raise ModelError(
                f"the {side} must have one output for each of the {list(positions)} positions of "
                f"the labels (or of `row_mask`), got {describe(output)}; give labels of the tokens "
                "that the model is given, padded as they are"
            )
        output = _resized(output, positions, side)
    return output if last else output.movedim(1, -1)


def _resized(output: Tensor, positions: tuple[int, ...], side: str) -> Tensor:
    """Return a map `[batch, classes, …]` at another resolution of the same aspect."""
    sizes = list(zip(output.shape[2:], positions, strict=True))
    # Strides round sizes up or down, so that the aspect is the same but for one pixel.
    if max((own - 1) / wanted for own, wanted in sizes) >= min(
        (own + 1) / wanted for own, wanted in sizes
    ):
        raise ModelError(
            f"the {side}'s output must be a map of the labels' (or of `row_mask`'s) "
            f"{list(positions)} positions, or of the same aspect, to be resized to them, got "
            f"{describe(output)}; its classes must be second or last"
        )
    mode = _MODES[len(positions)]
    return F.interpolate(output, size=positions, mode=mode, align_corners=False)


def _rows(batch: Batch, shape: torch.Size, device: torch.device) -> Rows:
    """Return which positions of an output are rows; `shape` is `[batch, positions…]`."""
    mask = batch.row_mask
    if mask is not None and mask.shape != shape:
        raise DataError(
            f"`row_mask` must have one value for each position of the output, {list(shape)}, got "
            f"{describe(mask)}; make it as the labels are"
        )
    if mask is None:
        tokens = batch.output_token_mask()
        mask = tokens if tokens is not None and tokens.shape == shape else None
        labels = batch.labels
        labelled = known_at(labels, shape) if isinstance(labels, Tensor) else None
        if labelled is not None:
            unlabelled = ~labelled.flatten(1).any(dim=1)
            judged = labelled | unlabelled[(..., *[None] * (labelled.ndim - 1))]
            mask = judged if mask is None else mask & judged
    if mask is None:
        full = torch.ones((), dtype=torch.bool, device=device).expand(shape)
        return Rows(full, complete=True)
    mask = mask.to(device)
    # On a device the look would wait for it, as the selection of rows itself does.
    return Rows(mask, complete=bool(mask.all()))
