"""Conversion of tensors and arrays to data sets, and the data sets inside a wrapper."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from tutelage.errors import DataError
from tutelage.nested import describe


def as_dataset(name: str, data: Any) -> Any:
    """Return a `TensorDataset` of tensors and NumPy arrays; anything else as it is.

    Float64 arrays become tensors of torch's default dtype, which is that of models; tensors keep
    their dtype.

    `data` is inputs `[examples, …]`, alone or in a tuple `(inputs, labels)`, or
    `(x1, x2, …, labels)` for models of several inputs; or any data set.
    """
    arrays = (Tensor, np.ndarray)
    if isinstance(data, list) and len({each.ndim for each in data if isinstance(each, arrays)}) > 1:
        raise DataError(
            f"`{name}` must be a tuple of inputs and labels, got a list {describe(data)}, which "
            "would be a list of examples; write (inputs, labels)"
        )
    columns = (data,) if isinstance(data, arrays) else data
    if not isinstance(columns, tuple) or not any(isinstance(each, arrays) for each in columns):
        return data
    if not all(isinstance(each, arrays) for each in columns):
        raise DataError(
            f"`{name}` must be a tuple of tensors or arrays, (x, labels) or (x1, x2, …, labels), "
            f"got {describe(data)}; turn lists and columns of tables into arrays, such as "
            "numpy.asarray(labels)"
        )
    if any(each.ndim == 0 for each in columns) or len({len(each) for each in columns}) > 1:
        raise DataError(
            f"`{name}` must have tensors or arrays with one row per example, got "
            f"{describe(columns) if len(columns) > 1 else describe(data)} of lengths "
            f"{[len(each) if each.ndim else 'none' for each in columns]}; give as many labels as "
            "inputs"
        )
    return TensorDataset(*(_tensor(name, each) for each in columns))


def _tensor(name: str, column: Any) -> Tensor:
    if isinstance(column, Tensor):
        return column
    try:
        native = column.dtype.newbyteorder("=")  # files may have the other one
        tensor = torch.from_numpy(np.ascontiguousarray(column, native))
    except TypeError as error:
        raise DataError(
            f"`{name}` must have arrays of numbers, got one of {column.dtype}; turn categories and "
            "text into numbers first"
        ) from error
    return tensor.to(torch.get_default_dtype()) if tensor.dtype == torch.float64 else tensor


def is_map_style(data: object) -> bool:
    """Tell whether data has `__len__` and `__getitem__`."""
    return hasattr(data, "__getitem__") and hasattr(data, "__len__")


def as_map_style(name: str, data: Any) -> Any:
    """Return `as_dataset` of what the wrapper `name` is given; refuse what is not map-style."""
    dataset = as_dataset("dataset", data)
    if not is_map_style(dataset):
        raise DataError(
            f"`{name}` must be given a map-style data set (with __len__ and __getitem__), got "
            f"{type(dataset).__name__}; give the data set and put the loader around `{name}`"
        )
    return dataset


def held_datasets(dataset: object) -> dict[str, Dataset[Any]]:
    """Return the data sets in a wrapper's attributes, by the attributes' names."""
    found: dict[str, Dataset[Any]] = {}
    for name, value in getattr(dataset, "__dict__", {}).items():
        if isinstance(value, Dataset):
            found[name] = value
        elif isinstance(value, (list, tuple, dict)) and value:
            keyed = value.items() if isinstance(value, dict) else enumerate(value)
            first = next(iter(value.values() if isinstance(value, dict) else value))
            if isinstance(first, Dataset):
                found |= {f"{name}.{key}": each for key, each in keyed}
    return found
