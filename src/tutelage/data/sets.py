"""Data sets: of tensors and arrays, with chosen parts, without labels, and joined by domain."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset, TensorDataset

from tutelage._checks import by_name
from tutelage.errors import ArgumentError, DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import BESIDE, DomainExample, describe, label_key, with_parts


def as_dataset(name: str, data: Any) -> Any:
    """Return a `TensorDataset` of tensors and NumPy arrays; anything else as it is.

    Float64 arrays become tensors of torch's default dtype, which is that of models; tensors keep
    their dtype.

    `data` is inputs `[examples, …]`, alone or in a tuple `(inputs, labels)`, or
    `((x1, x2), labels)` for models of several inputs; or any data set. Labels beside tensors or
    arrays may be a list or a column of a table.
    """
    arrays = (Tensor, np.ndarray)
    if isinstance(data, tuple) and len(data) > 1 and isinstance(data[0], tuple):
        of_arrays = data[0] and all(isinstance(each, arrays) for each in data[0])
        if of_arrays and not any(isinstance(each, tuple) for each in data[1:]):  # several inputs
            several = tuple(range(len(data[0])))
            flat = as_dataset(name, (*data[0], *data[1:]))
            return Labelled(flat, labels=len(several), inputs=several)
    if isinstance(data, list) and len({each.ndim for each in data if isinstance(each, arrays)}) > 1:
        raise DataError(
            f"`{name}` must be a tuple of inputs and labels, got a list {describe(data)}, which "
            "would be a list of examples; write (inputs, labels)"
        )
    columns = (data,) if isinstance(data, arrays) else data
    if not isinstance(columns, tuple) or not any(isinstance(each, arrays) for each in columns):
        return data
    tensors = [_tensor(name, each) for each in columns]
    lengths = [len(each) if each.ndim else "none" for each in tensors]
    if "none" in lengths or len(set(lengths)) > 1:
        raise DataError(
            f"`{name}` must have tensors or arrays with one row per example, got "
            f"{describe(tensors)} of lengths {lengths}; give as many labels as inputs"
        )
    return TensorDataset(*tensors)


def _tensor(name: str, column: Any) -> Tensor:
    if isinstance(column, Tensor):
        return column
    array = column if isinstance(column, np.ndarray) else np.array(column)  # of a table read-only
    try:
        native = array.dtype.newbyteorder("=")  # files may have the other one
        tensor = torch.from_numpy(np.ascontiguousarray(array, native))
    except TypeError as error:
        raise DataError(
            f"`{name}` must have arrays of numbers, got one of {array.dtype}; turn categories and "
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


def evenly(count: int, most: int) -> Tensor:
    """Return positions of so many things: of all, or of `most` of them, evenly spread."""
    # Beyond 2^24 the last one may be rounded up.
    return torch.linspace(0, count - 1, min(count, most)).long().clamp(max=count - 1)


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


def load(dataset: Any, index: int) -> Any:
    """Return an example; its error is turned into a `DataError`."""
    try:
        return dataset[index]
    except Exception as error:
        raise DataError(
            f"the data set ({type(dataset).__name__}, of {len(dataset)} examples) must load its "
            f"example {index}, got {type(error).__name__}: {error}; correct its __getitem__"
        ) from error


class Labelled(Dataset[Any]):
    """A data set whose parts were named; made by `labelled`."""

    def __init__(
        self,
        dataset: Any,
        labels: str | int,
        inputs: tuple[str | int, ...] | None,
        domain: str | int | None = None,
    ) -> None:
        self.dataset, self.labels, self.inputs, self.domain = dataset, labels, inputs, domain

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        """Return an example as a dict with `labels`, or as `(inputs, labels)`."""
        example: Any = self.dataset[index]
        try:
            if isinstance(example, Mapping):
                keys: Any = self.inputs
                if keys is None:
                    keys = [key for key in example if key not in (self.labels, self.domain)]
                kept = {key: example[key] for key in keys}
                kept |= {key: example[key] for key in BESIDE if key in example}
                kept |= {} if self.domain is None else {"domain": example[self.domain]}
                return kept | {"labels": example[self.labels]}
            inputs, labels, domain = self.places(len(example))
            chosen = tuple(example[each] for each in inputs)
            found = (chosen[0] if len(chosen) == 1 else chosen), example[labels]
            return found if domain is None else DomainExample(*found, example[domain])
        except (KeyError, IndexError, TypeError) as error:
            named = {"labels": self.labels, "inputs": self.inputs, "domain": self.domain}
            raise DataError(
                f"examples must have {named}, got {describe(example)}; give keys of the examples, "
                "or positions"
            ) from error

    def places(self, parts: int) -> tuple[tuple[int, ...], int, int | None]:
        """Return the positions of inputs, labels and domain in tuples of so many parts."""
        every, given = range(parts), cast("Any", (self.inputs, self.labels, self.domain))
        inputs, labels, domain = given
        at, domain = every[labels], None if domain is None else every[domain]
        others = [each for each in every if each not in (at, domain)]
        return tuple(others if inputs is None else (every[each] for each in inputs)), at, domain


def labelled(
    dataset: Any,
    labels: str | int,
    inputs: str | int | Sequence[str | int] | None = None,
    domain: str | int | None = None,
) -> Labelled:
    """Say which parts of a data set's examples are labels, inputs and the name of the domain.

    Not needed for tuples `(inputs, labels)`, of which further parts are not used, nor for dicts
    with a key `labels`, `label`, `targets`, `target` or `y`.

    Args:
        dataset: A map-style data set of dicts or tuples, or a tuple of arrays or tensors.
        labels: The key of the labels in a dict, or their position in a tuple.
        inputs: The key or position of the inputs, or several in the order of the model's arguments;
            None for all other parts.
        domain: The key or position of the domain's name, for `teachers.Specialists` and metrics by
            domain; None for none.

    Raises:
        DataError: `dataset` is not map-style; on reading, its examples lack a part.

    >>> rows = [{"x": torch.zeros(3), "breed": 4, "age": 2}]
    >>> sorted(labelled(rows, labels="breed", inputs=["x"])[0])
    ['labels', 'x']
    >>> rows = [(torch.zeros(3), torch.ones(2), 4, "cat.jpg")]
    >>> inputs, label = labelled(rows, labels=2, inputs=[0, 1])[0]
    >>> len(inputs), label
    (2, 4)
    """
    if inputs is not None:
        inputs = (inputs,) if isinstance(inputs, (str, int)) else tuple(inputs)
    return Labelled(as_map_style("labelled", dataset), labels, inputs, domain)


class Unlabelled(Dataset[Any]):
    """A data set whose examples have a mark, −100 or NaN, as label; made by `unlabelled`."""

    def __init__(self, inputs: Any, label: Tensor) -> None:
        self.inputs, self.label = inputs, label

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> Any:
        """Return an example with the mark as its label."""
        example, label = self.inputs[index], self.label.clone()
        at = label_key(example)
        if isinstance(example, Mapping):
            kept = {key: value for key, value in example.items() if key != at}
            return {**kept, "labels": label}
        if isinstance(example, (tuple, list)):
            return with_parts(example, example[0], label)
        return example, label


def unlabelled(
    inputs: Any, values: Sequence[int] | None = None, ids: Sequence[int] | None = None
) -> Unlabelled:
    """Return a data set whose examples are marked as unlabelled, to be joined with labelled ones.

    Loss terms on labels average over the labelled examples, terms on the teacher over all, so a run
    can train on `ConcatDataset([labelled, unlabelled(more_inputs)])`. In an iterable data set mark
    examples without a label yourself, by −100 (NaN for values).

    Args:
        inputs: A map-style data set, whose labels, if any, are replaced; or a tensor or array
            `[examples, …]`.
        values: None if labels are class ids (the mark is −100); for values, and for binary labels
            as floats, the shape of one label, `()` or `(outputs,)` (the mark is NaN).
        ids: Where an example has several class ids, or binary labels as integers, their shape, such
            as `(height, width)`; None for one class id.

    Raises:
        ArgumentError: `values` and `ids` are both given.
        DataError: `inputs` is not a map-style data set.

    >>> from torch.utils.data import ConcatDataset, TensorDataset
    >>> labelled = TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> both = ConcatDataset([labelled, unlabelled(torch.ones(4, 3))])
    >>> len(both), both[2]
    (6, (tensor([1., 1., 1.]), tensor(-100)))
    """
    inputs = as_map_style("unlabelled", inputs)
    if values is None:
        return Unlabelled(inputs, torch.full(tuple(ids or ()), UNLABELLED))
    if ids is not None:
        raise ArgumentError(
            f"`values` and `ids` must not be given together, got {values!r} and {ids!r}; leave out "
            "the one that your labels are not"
        )
    return Unlabelled(inputs, torch.full(tuple(values), torch.nan))


class Extended(ConcatDataset[Any]):
    """Training data, followed by inputs that were made of them.

    Args:
        given: The training data.
        made: As `unlabelled`.
    """

    def __init__(self, given: Any, made: Any) -> None:
        super().__init__([given, made])
        self.given = given


class Domains(Dataset[Any]):
    """Concatenated map-style data sets by domain; made by `domains`."""

    def __init__(self, sets: Mapping[str, Any]) -> None:
        self.sets = dict(sets)
        self._names = list(self.sets)
        self._ends = list(accumulate(len(each) for each in self.sets.values()))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Any:
        """Return an example with its domain: a `DomainExample`, or a dict with `domain`."""
        position = range(len(self))[index]
        number = bisect_right(self._ends, position)
        name = self._names[number]
        start = self._ends[number - 1] if number else 0
        example = self.sets[name][position - start]
        if isinstance(example, Mapping):
            return {**example, "domain": name}
        if isinstance(example, (tuple, list)) and len(example) > 1:
            return DomainExample(example[0], example[1], name)
        raise DataError(
            f"examples of the domain {name!r} must be (inputs, labels) or dicts, got "
            f"{describe(example)}; where there are no labels, wrap the set: "
            "tl.data.unlabelled(set)"
        )


def domains(sets: Mapping[str, Any]) -> Domains:
    """Join data sets into one, each example with the name of its domain.

    The result is a data set for `distill`, `fit` or a `DataLoader`. `teachers.Specialists` and
    transforms read the names (`Batch.domain`), and validation metrics are also computed for each
    domain. Your own data may contain the names instead: under the key `domain` of a dict, or where
    `labelled(data, labels=1, inputs=[0], domain=2)` says.

    Args:
        sets: Map-style data sets (or `(inputs, labels)` as tensors or arrays) by domain, such as
            `{"photo": photos, "sketch": sketches}`. Examples are `(inputs, labels)` or
            dicts.

    Raises:
        DataError: One is empty or not map-style, or its examples have no labels (wrap it in
            `unlabelled`).

    >>> import torch
    >>> day = torch.utils.data.TensorDataset(torch.zeros(2, 3), torch.tensor([0, 1]))
    >>> night = torch.utils.data.TensorDataset(torch.ones(1, 3), torch.tensor([1]))
    >>> both = domains({"day": day, "night": night})
    >>> len(both), both[2]
    (3, DomainExample(inputs=tensor([1., 1., 1.]), labels=tensor(1), domain='night'))
    """
    found = {}
    for name, each in by_name("sets", sets, "{'photo': photos, 'sketch': sketches}").items():
        if not isinstance(name, str):
            raise DataError(f"a domain must be named by a str, got {name!r}; write {str(name)!r}")
        found[name] = as_dataset(name, each)
        if not is_map_style(found[name]) or not len(found[name]):
            raise DataError(
                f"the domain {name!r} must have a data set (with __len__ and __getitem__) of at "
                f"least one example, got {describe(each)}; wrap tensors in "
                "torch.utils.data.TensorDataset, or leave the domain out"
            )
    return Domains(found)
