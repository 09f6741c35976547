"""Between what a teacher says and the columns that keep it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import ModelError, NonFiniteError, StoreError
from tutelage.nested import describe
from tutelage.signals import CoarseLogits
from tutelage.store.drawn import counted, draw_classes
from tutelage.store.fields import Field

Arrays = list[NDArray[np.generic]]

_TORCH = {"float16": torch.float16, "float32": torch.float32, "bfloat16": torch.bfloat16}
_NO_UINT16 = 2**16 - 1
_WHOLE = {2: (np.int16, np.uint16), 4: (np.int32, np.uint32)}
_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000}


def encode(field: Field, answer: Tensor | CoarseLogits, first_row: int) -> Arrays:
    """Return the rows of each of a field's columns.

    Args:
        field: What is kept.
        answer: What the teacher says of some examples.
        first_row: The row of the first of them, for messages.

    Raises:
        ModelError: The answer has another form or shape than the field.
        NonFiniteError: The teacher says NaN or an infinity.
        StoreError: A number does not fit the field's dtype.
    """
    if field.form == "coarse":
        return _encode_coarse(field, answer, first_row)
    if isinstance(answer, CoarseLogits):
        advice = "give a teacher that knows all" if field.form == "drawn" else "give `top_k`"
        raise ModelError(
            f"the teacher must say {field.name!r} of all classes at every batch, got CoarseLogits "
            f"after a first batch of all; {advice}"
        )
    if field.form == "drawn":
        return _encode_drawn(field, answer, first_row)
    if tuple(answer.shape[1:]) != field.shape:
        raise ModelError(
            f"the teacher must say {field.name!r} in one shape, got {describe(answer)} after rows "
            f"of {list(field.shape)}; bring all examples to one shape (pad to a fixed length)"
        )
    kept = answer.detach().to("cpu", _TORCH[field.dtype])
    bits = _bits(kept)
    if not _all_finite(bits, field.dtype):
        _check_finite(field, kept.isfinite().flatten(1).all(dim=1), answer, first_row)
    return [bits]


def decode(field: Field, arrays: Arrays) -> Tensor | CoarseLogits:
    """Return the rows of a field's columns as the teacher said them, in the dtype kept."""
    if field.form == "dense":
        return _floats(arrays[0], field.dtype)
    if field.form == "drawn":
        return counted(arrays[0].astype(np.int64), field.temperature)
    ids = torch.from_numpy(arrays[0].astype(np.int64))
    if field.id_dtype == "uint16":
        ids[ids == _NO_UINT16] = -1
    return CoarseLogits(ids, _floats(arrays[1], field.dtype), _floats(arrays[2], field.dtype))


def narrowed(answer: CoarseLogits, k: int) -> CoarseLogits:
    """Return the k likeliest single classes of each row; the others go into the rest.

    Rows with fewer are filled up with −1.
    """
    width = answer.ids.shape[1]
    if width > k:
        logits, places = answer.logits.topk(k, dim=1)
        others = answer.logits.scatter(1, places, -torch.inf).logsumexp(dim=1)
        return CoarseLogits(
            answer.ids.gather(1, places), logits, torch.logaddexp(answer.rest, others)
        )
    logits, places = answer.logits.sort(dim=1, descending=True)
    ids = answer.ids.gather(1, places)
    missing = (0, k - width)
    return CoarseLogits(
        torch.nn.functional.pad(ids, missing, value=-1),
        torch.nn.functional.pad(logits, missing, value=-torch.inf),
        answer.rest,
    )


def _encode_coarse(field: Field, answer: Tensor | CoarseLogits, first_row: int) -> Arrays:
    (k,) = field.shape
    if isinstance(answer, CoarseLogits) and answer.drawn_at is not None:
        raise ModelError(
            "a teacher that is labelled with must say what it thinks, got classes that were drawn; "
            "label with the teacher from which they were"
        )
    said = answer if isinstance(answer, CoarseLogits) else CoarseLogits.of(answer)
    said = CoarseLogits(said.ids.cpu(), said.logits.cpu().float(), said.rest.cpu().float())
    kept = narrowed(said, k)
    top = kept.logits[:, 0].where(kept.ids[:, 0] >= 0, 0)
    logits = (kept.logits - top[:, None]).to(_TORCH[field.dtype])
    rest = (kept.rest - top).to(_TORCH[field.dtype])
    sound = (logits.isfinite() | (kept.ids < 0)).all(dim=1) & ~rest.isnan() & (rest != torch.inf)
    _check_finite(field, sound, said.logits, first_row)
    ids = kept.ids.numpy()
    return [ids.astype(field.id_dtype), _bits(logits), _bits(rest)]  # −1 becomes 65535


def _encode_drawn(field: Field, answer: Tensor, first_row: int) -> Arrays:
    if tuple(answer.shape[1:]) != (field.classes,):
        raise ModelError(
            f"the teacher must say {field.name!r} of {field.classes} classes each time, got "
            f"{describe(answer)}; give one that does"
        )
    said = answer.detach().cpu()
    _check_finite(field, said.isfinite().all(dim=1), answer, first_row)
    ids = draw_classes(said, field.shape[0], field.temperature, first_row)
    return [ids.numpy().astype(field.id_dtype)]


def _all_finite(values: NDArray[np.generic], dtype: str) -> bool:
    """Tell whether no exponent is all ones, which NaN and infinities have.

    Whole numbers are compared several at a time; torch's isfinite is far slower on float16. As
    numbers with a sign, negative floats come below all others, and without one above: the largest
    of each reading is the largest positive and the largest negative float.
    """
    positive, negative = (
        int(np.ascontiguousarray(values).view(kind).max(initial=0))
        for kind in _WHOLE[values.itemsize]
    )
    infinity = _INFINITY[dtype]
    return positive < infinity and negative < infinity + 2 ** (8 * values.itemsize - 1)


def _check_finite(field: Field, sound: Tensor, said: Tensor, first_row: int) -> None:
    """Refuse what became NaN or infinite in the field's dtype."""
    if bool(sound.all()):
        return
    place = int((~sound).nonzero()[0])
    values = said[place].detach().float()
    worst = values.flatten()[values.abs().nan_to_num(torch.inf, posinf=torch.inf).argmax()].item()
    where = f"in row {first_row + place}"
    if field.form == "coarse" or not np.isfinite(worst):
        raise NonFiniteError(
            f"the teacher's {field.name!r} must be finite, got {worst} {where}; mend the teacher, "
            "or that example"
        )
    raise StoreError(
        f"the teacher's {field.name!r} must fit {field.dtype}, got {worst:g} {where}; label with "
        "dtype='float32'"
    )


def _bits(values: Tensor) -> NDArray[np.generic]:
    """Return floats as numpy has them; bfloat16 as its bits."""
    if values.dtype == torch.bfloat16:
        return values.contiguous().view(torch.int16).numpy().view(np.uint16)
    return values.numpy()


def _floats(array: NDArray[np.generic], dtype: str) -> Tensor:
    if dtype == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
