"""Encode a teacher's outputs and features as columns, and decode them."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.coarse import CoarseLogits, widened
from tutelage.errors import ModelError, NonFiniteError, StoreError
from tutelage.nested import describe
from tutelage.signals import Signals
from tutelage.store.fields import OUTPUT_NAME, Field

Arrays = list[NDArray[np.generic]]

_TORCH = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}
_NO_UINT16 = 2**16 - 1
_INTEGERS = {2: (np.int16, np.uint16), 4: (np.int32, np.uint32)}
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000}


def encode(field: Field, signals: Signals, first_row: int) -> Arrays:
    """Return the rows of each of a field's columns; `first_row` is the store's row of the first."""
    values = signals.features.get(field.name)
    if field.name == OUTPUT_NAME and signals.output is not None:
        values = signals.targets
    if values is None:
        raise StoreError(
            f"the teacher must return {field.name!r} for every batch, got a batch without it; give "
            "fields that it has"
        )
    rows = signals.rows if field.name == OUTPUT_NAME else None
    if field.by_answer:
        return _encode(field, values, first_row)
    positions = () if rows is None else rows.positions
    if positions != field.positions:
        raise ModelError(
            f"the teacher must have answers for the same positions of every example, got "
            f"{list(positions)} after a first batch with {list(field.positions)}; bring all "
            "examples to one shape (pad to a fixed length)"
        )
    if rows is None:
        return _encode(field, values, first_row)

    def everywhere(part: Tensor) -> Tensor:
        """Return values of rows for all positions, one after another."""
        return rows.padded(part).flatten(0, rows.mask.ndim - 1)

    # Positions that are no rows are stored too, as zeros, so that all examples take as much.
    whole = everywhere(values) if isinstance(values, Tensor) else values.changed(everywhere)
    arrays = _encode(field, whole, first_row * math.prod(positions))
    return [array.reshape(-1, *positions, *array.shape[1:]) for array in arrays]


def _encode(field: Field, values: Tensor | CoarseLogits, first_row: int) -> Arrays:
    other = isinstance(values, Tensor) and tuple(values.shape[1:]) != (field.classes,)
    if field.form != "dense" and field.classes and other:
        raise ModelError(
            f"the teacher must return {field.name!r} for {field.classes} classes in every batch, "
            f"got {describe(values)}; give a teacher that does"
        )
    if field.form == "coarse":
        return _encode_coarse(field, values, first_row)
    if isinstance(values, CoarseLogits):
        advice = "give a teacher of all classes" if field.form == "sampled" else "give `top_k`"
        raise ModelError(
            f"the teacher must return {field.name!r} for all classes in every batch, got "
            f"CoarseLogits after a first batch with all; {advice}"
        )
    if field.form == "sampled":
        return _encode_sampled(field, values, first_row)
    if tuple(values.shape[1:]) != field.shape:
        raise ModelError(
            f"the teacher must return {field.name!r} in one shape, got {describe(values)} after "
            f"rows of {list(field.shape)}; bring all examples to one shape (texts: pad all of them "
            "to one length, in training too, by padding='max_length' of the tokenizer), or learn "
            "this from the teacher itself"
        )
    stored = values.detach().to("cpu", _TORCH[field.dtype])
    bits = _bits(stored)
    if not _all_finite(bits, field.dtype):
        fits = _fits(field, stored, values.detach().cpu())
        _check_finite(field, fits.flatten(1).all(dim=1), values, first_row)
    return [bits]


def decode(field: Field, arrays: Arrays) -> Tensor | CoarseLogits:
    """Return the output or feature in the rows of a field's columns, in the stored dtype.

    With several answers an example, those for all its positions follow one another.
    """
    several = len(field.positions)
    if several:
        arrays = [each.reshape(-1, *each.shape[1 + several :]) for each in arrays]
    if field.form == "dense":
        return _floats(arrays[0], field.dtype)
    bits = field.id_bits
    given = arrays[0] if bits is None else unpacked_ids(arrays[0], field.shape[0], bits)
    if field.form == "sampled":
        return counted(given.astype(np.int64), field.temperature)
    ids, logits = torch.from_numpy(given.astype(np.int64)), _floats(arrays[1], field.dtype)
    if bits is not None:
        ids[logits == -torch.inf] = -1  # no number is free to mark an unused column
    elif field.id_dtype == "uint16":
        ids[ids == _NO_UINT16] = -1
    return CoarseLogits(ids, logits, _floats(arrays[2], field.dtype))


def packed_ids(ids: NDArray[np.integer], bits: int) -> NDArray[np.uint8]:
    """Return ids `[rows, k]` in so many bits each, the lowest first, `[rows, ⌈k · bits / 8⌉]`."""
    places = np.arange(bits, dtype=np.int64)
    single = ((ids[:, :, None] >> places) & 1).astype(np.uint8)
    return np.packbits(single.reshape(len(ids), ids.shape[1] * bits), axis=1, bitorder="little")


def unpacked_ids(packed: NDArray[np.generic], k: int, bits: int) -> NDArray[np.int64]:
    """Return the ids that `packed_ids` packed, `[rows, k]`."""
    single = np.unpackbits(packed.astype(np.uint8), axis=1, count=k * bits, bitorder="little")
    single = single.reshape(len(packed), k, bits)
    ids = np.zeros((len(packed), k), dtype=np.int64)
    for place in range(bits):
        ids |= single[:, :, place].astype(np.int64) << place
    return ids


def narrowed(coarse: CoarseLogits, k: int) -> CoarseLogits:
    """Keep the k most probable classes of each row; the others are added to "other".

    Shorter rows are padded with −1.
    """
    padded = widened(coarse, k)
    logits, columns = padded.logits.topk(k, dim=1)
    others = padded.logits.scatter(1, columns, -torch.inf).logsumexp(dim=1)
    ids = padded.ids.gather(1, columns)
    return CoarseLogits(ids, logits, torch.logaddexp(coarse.other, others))


def sample_classes(logits: Tensor, count: int, temperature: float, first_row: int) -> Tensor:
    """Return ids `[batch, count]`, sorted, sampled from softmax(logits / T) with replacement.

    Stratified sampling: one sample falls in each k-th of the unit interval, mapped through the
    cumulative probabilities. The expected frequency of a class is its probability, as with
    independent samples, with less variance. The seed is the row, so that a block that is made again
    is the same.
    """
    cumulative = (logits.double() / temperature).softmax(dim=1).cumsum(dim=1)
    cumulative = cumulative / cumulative[:, -1:]  # ends at exactly 1
    numbers = np.random.Generator(np.random.Philox(key=first_row)).random((len(logits), count))
    points = (torch.arange(count) + torch.from_numpy(numbers)) / count
    # Rounding may give 1 for the last point.
    return torch.searchsorted(cumulative, points.clamp(max=1 - 2**-53), right=True)


def counted(ids: NDArray[np.int64], temperature: float) -> CoarseLogits:
    """Return the distinct classes of sorted ids `[batch, k]`, with their log-frequencies."""
    sampled = torch.from_numpy(ids)
    is_new = torch.ones_like(sampled)
    is_new[:, 1:] = sampled[:, 1:] != sampled[:, :-1]
    columns = is_new.cumsum(dim=1) - 1
    frequencies = torch.zeros(sampled.shape).scatter_add_(
        1, columns, torch.full(sampled.shape, 1 / sampled.shape[1])
    )
    classes = torch.full_like(sampled, -1).scatter_(1, columns, sampled)
    other = frequencies.new_full(frequencies.shape[:1], -torch.inf)
    return CoarseLogits(classes, frequencies.log(), other, sampled_at=temperature)


def _encode_coarse(field: Field, values: Tensor | CoarseLogits, first_row: int) -> Arrays:
    (k,) = field.shape
    if isinstance(values, CoarseLogits) and values.sampled_at is not None:
        raise ModelError(
            "a teacher that labels must return probabilities, got sampled classes; label with "
            "the teacher from which they were sampled"
        )
    coarse = values if isinstance(values, CoarseLogits) else CoarseLogits.of(values)
    coarse = CoarseLogits(coarse.ids.cpu(), coarse.logits.cpu().float(), coarse.other.cpu().float())
    stored = narrowed(coarse, k)
    top = stored.logits[:, 0].where(stored.ids[:, 0] >= 0, 0)
    logits = (stored.logits - top[:, None]).to(_TORCH[field.dtype])
    other = (stored.other - top).to(_TORCH[field.dtype])
    finite = (_fits(field, logits, stored.logits) | (stored.ids < 0)).all(dim=1) & ~other.isnan()
    finite &= other != torch.inf
    _check_finite(field, finite, coarse.logits, first_row)
    return [_ids(field, stored.ids), _bits(logits), _bits(other)]


def _encode_sampled(field: Field, values: Tensor, first_row: int) -> Arrays:
    logits = values.detach().cpu()
    _check_finite(field, _fits(field, logits, logits).all(dim=1), values, first_row)
    ids = sample_classes(logits, field.shape[0], field.temperature, first_row)
    return [_ids(field, ids)]


def _ids(field: Field, ids: Tensor) -> NDArray[np.generic]:
    """Return class ids as they are on disk; −1 becomes 65,535, or 0 where ids are packed."""
    bits, values = field.id_bits, ids.numpy()
    return values.astype(field.id_dtype) if bits is None else packed_ids(values.clip(min=0), bits)


def _all_finite(values: NDArray[np.generic], dtype: str) -> bool:
    """Tell whether no value is NaN or infinite: no exponent is all ones.

    Compares the bits as integers, which numpy vectorizes; torch's isfinite is far slower on
    float16. The largest signed integer is the largest positive float, the largest unsigned one the
    negative float of largest magnitude.
    """
    positive, negative = (
        int(np.ascontiguousarray(values).view(kind).max(initial=0))
        for kind in _INTEGERS[values.itemsize]
    )
    infinity = _INFINITY[dtype]
    return positive < infinity and negative < infinity + 2 ** (8 * values.itemsize - 1)


def _fits(field: Field, stored: Tensor, values: Tensor) -> Tensor:
    """Tell which numbers are finite as they are stored, or −∞ of a class that is ruled out."""
    if field.name != "output":
        return stored.isfinite()
    possible = (values > -torch.inf).any(dim=-1, keepdim=True)
    return (stored.isfinite() | (values == -torch.inf)) & possible


def _check_finite(field: Field, finite: Tensor, values: Tensor, first_row: int) -> None:
    """Refuse values whose rows are not all `finite`, `[batch]`, in the field's dtype."""
    if bool(finite.all()):
        return
    index = int((~finite).nonzero()[0])
    row = values[index].detach().float()
    ruled_out = row == -torch.inf
    if field.name == "output" and not bool(ruled_out.all(dim=-1).any()):
        row = row.masked_fill(ruled_out, 0)
    largest = row.flatten()[row.abs().nan_to_num(torch.inf, posinf=torch.inf).argmax()].item()
    where = f"in row {first_row + index}"
    if field.form == "coarse" or not np.isfinite(largest):
        raise NonFiniteError(
            f"the teacher's {field.name!r} must be finite, got {largest} {where}; correct the "
            "teacher, or that example"
        )
    raise StoreError(
        f"the teacher's {field.name!r} must fit {field.dtype}, got {largest:g} {where}; label with "
        "dtype='float32'"
    )


def _bits(values: Tensor) -> NDArray[np.generic]:
    """Return floats as a numpy array; bfloat16 as its bits."""
    if values.dtype == torch.bfloat16:
        return values.contiguous().view(torch.int16).numpy().view(np.uint16)
    return values.numpy()


def _floats(array: NDArray[np.generic], dtype: str) -> Tensor:
    if dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
