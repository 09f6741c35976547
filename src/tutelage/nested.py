"""Examples as data sets yield them, and model inputs: tensors, alone or in tuples and dicts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tutelage.errors import DataError

_FEW, _MANY = 4, 8
_LABELLED, _TABLE = 2, 2

LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Keys of a dict that may contain its labels; the first that exists is used."""

_BESIDE = ("index", "domain", "row_mask")
"""Keys of a dict that are neither inputs nor labels."""


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
    for value in (inputs, *_items(inputs)):
        if isinstance(value, Tensor):
            return value
    raise DataError(
        f"inputs must be a tensor, or a tuple or dict with tensors, got {describe(inputs)}; "
        "make the data set or its collate function return tensors"
    )


def device_of(inputs: object) -> torch.device | None:
    """Return the device of the first tensor of a model's inputs; None for texts."""
    found = (value for value in (inputs, *_items(inputs)) if isinstance(value, Tensor))
    return next((value.device for value in found), None)


def is_column(value: object) -> bool:
    """Tell whether a value is a list with one item per example: plain values, or `PerExample`."""
    return isinstance(value, PerExample) or _is_list_of(value, (str, bytes, Number))


def _is_list_of(value: object, kinds: Any) -> bool:
    items = value if isinstance(value, (tuple, list)) else ()
    return len(items) > 0 and all(isinstance(each, kinds) for each in items)


def batch_size(inputs: object) -> int | None:
    """Return the number of examples in a model's inputs; None if it is not known."""
    leaves = list(_leaves(inputs))
    tensors = [each for each in leaves if not isinstance(each, (tuple, list))]
    return len((tensors or leaves)[0]) if leaves else None


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
        leaves = [] if column else list(_leaves(inputs))
        of_batches = bool(leaves) and all(len(each) == length for each in leaves)
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
    return on_tensors(value, lambda tensor: tensor.to(device, non_blocking=True))


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


def split_batch(raw: object) -> tuple[Any, Any, Any, Any, Any]:
    """Return the inputs, labels, index, domain and row mask of what a data loader yields."""
    if isinstance(raw, PerExample):
        return raw, None, None, None, None
    if isinstance(raw, Mapping):
        inputs, others = split_dict(raw)
        index, domain, mask = (others.pop(key, None) for key in _BESIDE)
        return inputs, _labels(*others.values()), index, domain, _mask(mask)
    if isinstance(raw, (Tensor, np.ndarray)):
        return _tensor(raw), None, None, None, None
    if isinstance(raw, (tuple, list)) and raw:
        if _are_names(raw):
            return raw, None, None, None, None
        parts = [_tensor(each) for each in raw]
        at = label_key(parts) or len(parts)
        *inputs, labels, domain = (*parts, None, None)[: at + 2]
        if at > 1:
            _check_several_inputs(inputs, labels)
        labels = _labels(labels)
        if at == 1:
            return _per_example(inputs[0], labels), labels, None, domain, None
        return tuple(inputs), labels, None, domain, None
    raise DataError(
        "a batch must be a tensor, a tuple (inputs,), (inputs, labels) or (inputs, labels, "
        "domains) with the domains' names, or a dict of named inputs with its labels under "
        f"{', '.join(LABEL_KEYS)}, got {describe(raw)}; make the data set or its collate "
        "function return one of these"
    )


def label_key(example: Any) -> Any:
    """Return the key or the position of the labels in an example or a batch; None for none.

    In a tuple of two or more parts the labels are the last part, or the one before the domain,
    which is a string or a list of strings.
    """
    if isinstance(example, Mapping):
        return next((key for key in LABEL_KEYS if key in example), None)
    if not isinstance(example, (tuple, list)) or len(example) < _LABELLED:
        return None
    named = len(example) > _LABELLED and (example[-1] is None or _are_names(example[-1]))
    return len(example) - 1 - named


def split_dict(example: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a dict's inputs, and a dict of its labels, index, domain and row mask, if any."""
    keys = (*_BESIDE, label_key(example))
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


def _check_several_inputs(inputs: Sequence[Any], labels: Any) -> None:
    """Refuse a tuple of three or more parts if it is ambiguous which are the labels."""
    if all(isinstance(each, Tensor) for each in (*inputs, labels)):
        values = labels.ndim == _TABLE and labels.is_floating_point()
        if (labels.ndim == 1 or values) and all(each.ndim > 1 for each in inputs[1:]):
            return
    raise DataError(
        "a batch of more than two parts must be (x1, x2, …, labels) of tensors, whose last is "
        "[batch], or values [batch, outputs], and none between the first and the last [batch], or "
        f"end in the names of domains, got {describe((*inputs, labels))}; make the data set or its "
        "collate function return a dict, or ((x1, x2), labels)"
    )


def _are_names(value: object) -> bool:
    """Tell whether a value is a string or a list of strings."""
    return isinstance(value, str) or _is_list_of(value, str)


def _tensor(value: Any) -> Any:
    """Convert arrays, also in tuples, to tensors; other values do not change."""
    if isinstance(value, tuple):
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
            f"[batch] or [batch, outputs], got {describe(value)}; number the classes (names of "
            "domains come third: (inputs, labels, domains)), or give a list of dicts of tensors, "
            "one per example, to a model that has its own loss (tl.OwnLoss)"
        ) from error


def _mask(value: Any) -> Tensor | None:
    """Return a row mask as a tensor of bool, `[batch, …]`."""
    if value is None:
        return None
    mask = torch.as_tensor(value)
    if mask.ndim < _LABELLED or bool(((mask != 0) & (mask != 1)).any()):
        raise DataError(
            "`row_mask` must be true or 1 where a position has an answer, [batch, tokens] or "
            f"[batch, height, width], got {describe(mask)}; give one value for each position"
        )
    return mask.bool()


def _is_structured(target: Any) -> bool:
    """Tell whether the target of one example is more than a number: a dict or a tensor."""
    arrays = isinstance(target, (Tensor, np.ndarray)) and target.ndim > 0
    nested = isinstance(target, (tuple, list)) and any(map(_is_structured, target))
    return arrays or nested or isinstance(target, Mapping)


def _items(value: object) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, (tuple, list)) else []


def _leaves(value: object) -> Iterator[Any]:
    """Yield the tensors, arrays and lists of plain values in a value, in order."""
    if (isinstance(value, (Tensor, np.ndarray)) and value.ndim > 0) or is_column(value):
        yield value
    else:
        for item in _items(value):
            yield from _leaves(item)
