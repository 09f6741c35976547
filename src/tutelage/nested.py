"""Examples as data sets yield them, and model inputs: tensors, alone or in tuples and dicts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from numbers import Number
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError

_FEW, _MANY = 4, 8
_LABELLED = 2

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Keys of a dict that may contain its labels; the first that exists is used."""

ROW_MASKS = ("row_mask", "assistant_masks", "completion_mask", "loss_mask")
"""Keys of a dict for a row mask: ours, and those by which others mark the tokens that are learned:
`apply_chat_template` of transformers, and trainers. A row is one by all that are there."""

BESIDE = ("domain", *ROW_MASKS)
"""Keys of a dict that are neither inputs nor labels."""


class DomainExample(NamedTuple):
    """An example, or a batch, with its domain: of `data.domains`, or of `data.labelled`."""

    inputs: Any
    labels: Any
    domain: Any


class PerExample(list[Any]):
    """A list with one item per example of a batch, which is one argument of the model.

    Such as images of different sizes, which a detector takes as a list: `model(images)`. Any other
    list of tensors holds the arguments of a model of several inputs: `model(*x)`.

    >>> PerExample([torch.zeros(3, 8, 6), torch.zeros(3, 5, 9)])[:1].__class__.__name__
    'PerExample'
    """

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return PerExample(found) if isinstance(key, slice) else found


def first_tensor(inputs: object) -> Tensor:
    """Return the first tensor of a model's inputs, for its device and dtype."""
    for _, tensor in named_tensors(inputs):
        return tensor
    raise DataError(
        f"inputs must be a tensor, or a tuple or dict with tensors, got {describe(inputs)}; "
        "make the data set or its collate function return tensors"
    )


def device_of(inputs: object) -> torch.device | None:
    """Return the device of the first tensor of a model's inputs; None for texts."""
    return next((tensor.device for _, tensor in named_tensors(inputs)), None)


def leaves(value: object) -> Iterator[Any]:
    """Yield the tensors, arrays and lists of plain values in a value, in order."""
    if (isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0) or is_column(value):
        yield value
    elif isinstance(value, (Mapping, tuple, list)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from leaves(item)


def is_column(value: object) -> bool:
    """Tell whether a value is a list with one item per example: plain values, or `PerExample`."""
    return isinstance(value, PerExample) or _is_list_of(value, (str, bytes, Number))


def _is_list_of(value: object, kinds: Any) -> bool:
    items = value if isinstance(value, (tuple, list)) else ()
    return len(items) > 0 and all(isinstance(each, kinds) for each in items)


def batch_size(inputs: object) -> int | None:
    """Return the number of examples in a model's inputs; None if it is not known."""
    parts = list(leaves(inputs))
    tensors = [each for each in parts if not isinstance(each, (tuple, list))]
    return len((tensors or parts)[0]) if parts else None


def index_rows(values: Any, rows: slice | Tensor) -> Any:
    """Return some items of a list, tuple, array or tensor: a slice, positions, or a mask."""
    if isinstance(values, Tensor) or isinstance(rows, slice):
        return values[rows]
    if isinstance(values, np.ndarray):
        return values[rows.cpu().numpy()]
    positions = rows.nonzero().squeeze(1) if rows.dtype == torch.bool else rows
    chosen = [values[position] for position in positions.tolist()]
    return PerExample(chosen) if isinstance(values, PerExample) else chosen


def joined(parts: Sequence[Any]) -> Any:
    """Return the labels of several batches as one; None for parts of two kinds.

    Tensors of several widths, such as padded texts, become a list with one item per example.
    """
    if all(isinstance(each, Tensor) for each in parts):
        alike = len({each.shape[1:] for each in parts}) == 1
        return torch.cat(list(parts)) if alike else [row for each in parts for row in each]
    if all(isinstance(each, (tuple, list)) for each in parts):
        return [item for part in parts for item in part]
    if all(isinstance(each, Mapping) and each.keys() == parts[0].keys() for each in parts):
        return {key: joined([each[key] for each in parts]) for key in parts[0]}
    return None


def index_inputs(inputs: Any, rows: slice | Tensor, length: int, nested: bool = False) -> Any:
    """Return a model's inputs for some of the examples of a batch.

    Tensors, arrays and lists with one item per example are indexed; numbers, strings and tensors
    without dimensions apply to the whole batch and do not change. An outer tuple or list contains
    the arguments of the model, unless it is a list of plain values; below it `nested` is true. A
    part that cannot be split by example, or could be in two ways, is refused.
    """
    if inputs is None or isinstance(inputs, (str, bytes, Number)):
        return inputs
    if isinstance(inputs, (Tensor, np.ndarray)):
        if inputs.ndim == 0:
            return inputs
        if len(inputs) == length:
            return index_rows(inputs, rows)
    elif isinstance(inputs, Mapping):
        return {key: index_inputs(item, rows, length, True) for key, item in inputs.items()}
    elif isinstance(inputs, (tuple, list)):
        column = is_column(inputs)
        per_example = len(inputs) == length and (nested or column)
        parts = [] if column else list(leaves(inputs))
        of_batches = bool(parts) and all(len(each) == length for each in parts)
        if per_example and not of_batches:
            return index_rows(inputs, rows)
        if not per_example and not column:
            return tuple(index_inputs(item, rows, length, True) for item in inputs)
    raise DataError(
        f"the inputs of a batch of {length} examples must be tensors [batch, …], or lists with "
        f"one item per example, to be split by example, got {describe(inputs)}; make the data set "
        "or its collate function return such"
    )


def describe(value: object) -> str:
    """Return a short description of a value: types, shapes and dtypes."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {describe(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        kinds = [describe(item) for item in value]
        alike = len(kinds) > _FEW and len(set(kinds)) == 1
        more = f", … {len(kinds)} in all" if len(kinds) > _MANY else ""
        shown = ", ".join(kinds[:_MANY]) + more
        return f"{len(kinds)} × {kinds[0]}" if alike else f"({shown})"
    return type(value).__name__


def to_device(value: Any, device: torch.device) -> Any:
    """Return a value with all its tensors on `device`; other values do not change."""
    if isinstance(value, Tensor) and value.device == device:
        return value
    wait_not = device.type != "cpu"  # what is copied to the CPU is read without waiting for it
    return on_tensors(value, lambda tensor: tensor.to(device, non_blocking=wait_not))


def on_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply `change` to every tensor of a (possibly nested) tuple, list or dict."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: on_tensors(item, change) for key, item in value.items()}
    if isinstance(value, PerExample):
        return PerExample(on_tensors(item, change) for item in value)
    if isinstance(value, (tuple, list)) and not is_column(value):
        items = [on_tensors(item, change) for item in value]
        if hasattr(value, "_fields"):  # a named tuple
            return type(value)(*items)
        return items if isinstance(value, list) else tuple(items)
    return value


def named_tensors(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of a nested value in the order of `on_tensors`, each with its path."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (Mapping, list, tuple)):
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for key, each in items:
            yield from named_tensors(each, f"{name}/{key}")


def versions(value: Any) -> list[Any]:
    """Return what changes if tensors or texts of a value are others, or are changed in place."""
    if isinstance(value, Tensor):
        # With the tensor, so that no later one has the `id` of an earlier one.
        return [(id(value), None if value.is_inference() else value._version, value)]  # noqa: SLF001
    if isinstance(value, str):
        return [value]
    if isinstance(value, (Mapping, list, tuple)):
        items = value.values() if isinstance(value, Mapping) else value
        return [found for each in items for found in versions(each)]
    return []


def split_batch(raw: object) -> tuple[Any, Any, Any, Any]:
    """Return the inputs, labels, domain and row mask of what a data loader yields."""
    if isinstance(raw, PerExample):
        return raw, None, None, None
    if isinstance(raw, Mapping):
        inputs, others = split_dict(raw)
        domain, *masks = (others.pop(key, None) for key in BESIDE)
        found = [_mask(name, each) for name, each in zip(ROW_MASKS, masks, strict=True)]
        known = [each for each in found if each is not None]
        mask = torch.stack(known).all(dim=0) if known else None
        return inputs, _labels(*others.values()), domain, mask
    if isinstance(raw, (Tensor, np.ndarray)):
        return _tensor(raw), None, None, None
    if isinstance(raw, (tuple, list)) and len(raw) > 0:
        if _is_list_of(raw, str):
            return raw, None, None, None
        labels = _labels(_tensor(raw[1])) if len(raw) > 1 else None
        domain = raw.domain if isinstance(raw, DomainExample) else None
        if len(raw) > _LABELLED and domain is None:
            warn_unused(len(raw) - _LABELLED)
        return _per_example(_tensor(raw[0]), labels), labels, domain, None
    raise DataError(
        "a batch must be a tensor, a tuple (inputs,) or (inputs, labels), or a dict of inputs with "
        f"its labels under {', '.join(LABEL_KEYS)}, got {describe(raw)}; make the data set or its "
        "collate function return one of these"
    )


@cache
def warn_unused(parts: int) -> None:
    """Log, once, that examples have parts of which nothing is known."""
    logging.getLogger("tutelage").warning(
        "Of examples (inputs, labels, …) the last %d parts are not used. Several inputs are "
        "((x1, x2), labels); tl.data.labelled(data, labels=2, inputs=[0, 1], domain=3) names what "
        "the parts of other examples are.",
        parts,
    )


def label_key(example: Any) -> Any:
    """Return the key or the position of the labels in an example or a batch; None for none.

    In a tuple they are the second part.
    """
    if isinstance(example, Mapping):
        return next((key for key in LABEL_KEYS if key in example), None)
    return 1 if isinstance(example, (tuple, list)) and len(example) >= _LABELLED else None


def with_parts(example: Any, *parts: Any) -> Any:
    """Return an example that is a tuple with other first parts; a named tuple keeps its names."""
    items = (*parts, *example[len(parts) :])
    return type(example)(*items) if hasattr(example, "_fields") else items


def split_dict(example: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a dict's inputs, and a dict of its labels, domain and row masks, if any."""
    keys = (*BESIDE, label_key(example))
    others = {key: example[key] for key in keys if key in example}
    return {key: value for key, value in example.items() if key not in others}, others


def _per_example(inputs: Any, labels: Any) -> Any:
    """Return inputs, as `PerExample` if they are a list of tensors beside a list of targets."""
    listed = _is_list_of(inputs, (Tensor, np.ndarray)) and not isinstance(inputs, PerExample)
    if not (listed and isinstance(labels, list)):
        return inputs
    if len(inputs) != len(labels):
        raise DataError(
            "a list of inputs beside a list of targets must have one of them per example, got "
            f"{len(inputs)} inputs and {len(labels)} targets; for a model of several inputs return "
            "a dict from the collate function"
        )
    return PerExample(map(_tensor, inputs))


def _tensor(value: Any) -> Any:
    """Convert arrays, also in tuples, to tensors; other values do not change."""
    if type(value) is tuple:
        return tuple(_tensor(each) for each in value)
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _labels(value: Any = None) -> Any:
    """Return labels as a tensor, also those in an array or in lists of numbers.

    A dict of targets, and a list of targets that are dicts or tensors of one example each, such as
    boxes, stay as they are.
    """
    if value is None or isinstance(value, Tensor):
        return value
    if isinstance(value, Mapping) and batch_size(value) is not None:
        return value
    if isinstance(value, (tuple, list)) and any(map(_is_structured, value)):
        return list(value)
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(
            "the labels of a batch must be a tensor or numbers: class ids [batch], or values "
            f"[batch] or [batch, outputs], got {describe(value)}; number the classes, or give a "
            "list of dicts of tensors, one per example, to a model with its own loss (tl.OwnLoss)"
        ) from error


def _mask(name: str, value: Any) -> Tensor | None:
    """Return a row mask as a tensor of bool, `[batch, …]`."""
    if value is None:
        return None
    mask = torch.as_tensor(value)
    if mask.ndim < _LABELLED or bool(((mask != 0) & (mask != 1)).any()):
        raise DataError(
            f"`{name}` must be true or 1 where a position has an answer, [batch, tokens] or "
            f"[batch, height, width], got {describe(mask)}; give one value for each position"
        )
    return mask.bool()


def _is_structured(target: Any) -> bool:
    """Tell whether the target of one example is more than a number: a dict or a tensor."""
    arrays = isinstance(target, (Tensor, np.ndarray)) and target.ndim > 0
    nested = isinstance(target, (tuple, list)) and any(map(_is_structured, target))
    return arrays or nested or isinstance(target, Mapping)
