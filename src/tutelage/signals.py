"""The values that pass between data, models and objectives.

A `Batch` holds the examples that teacher and student are both given. `Signals` hold what one model
computes from it: its output and the features at named layers. `Fields` say which of these signals
are required of one model, and `Wants` which fields an objective requires of the student and of the
teacher; nothing else is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.nested import (
    batch_size,
    describe,
    moved,
    picked,
    picked_inputs,
    split_batch,
)

UNLABELLED = -100
"""The label of an example without one, in classification (in regression it is NaN)."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """The second label of examples that are mixed from two.

    Args:
        labels: `[batch]` class ids of the partners (−100: no label).
        fraction: `[batch]` in [0, 1]: how much of each example is its own; the rest is its
            partner's.
    """

    labels: Tensor
    fraction: Tensor

    def known(self, own: Tensor) -> Tensor:
        """Return which examples have a known label for all that they are mixed from, `[batch]`.

        Args:
            own: Which of the examples' own labels are known, `[batch]` of bool.
        """
        partner = self.labels.long() != UNLABELLED
        return (own | (self.fraction == 0)) & (partner | (self.fraction == 1))

    def __getitem__(self, rows: slice | Tensor) -> Mixture:
        """Return the part of some examples."""
        return Mixture(self.labels[rows], self.fraction[rows])

    def to(self, device: torch.device) -> Mixture:
        """Return the same on a device."""
        return Mixture(moved(self.labels, device), moved(self.fraction, device))


class IndexedExample(NamedTuple):
    """An example, or a batch of them, with its index in the data set; see `data.Indexed`.

    Args:
        example: What the data set yields.
        index: Its position in the data set.
        view: The view that it is shown in; one for all of a batch.
    """

    example: Any
    index: Any
    view: Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples that teacher and student are both given.

    Args:
        inputs: What the models are called with: a tensor (`model(x)`), a tuple or list
            (`model(*x)`) or a dict (`model(**x)`). The first dimension of each tensor is `batch`.
            A list of strings is one argument, with one item per example.
        labels: `[batch]` class ids (−100: no label), or values `[batch]` or `[batch, outputs]`
            (NaN: no label); None where the data has no labels.
        index: `[batch]` position of each example in its data set, where known.
        domain: The domain of each example (a tensor or a list of names), where known.
        progress: Fraction of training that is done, in [0, 1]; schedules read it.
        copies: How many processes hold these same examples (where there are fewer examples than
            processes); in sums over all processes each example counts for 1/copies here.
        mixture: The second class label, where each example is mixed from two.
        view: Which of a data set's views (see `data.Views`) the inputs are; 0 where it has none.
    """

    inputs: Any
    labels: Tensor | None = None
    index: Tensor | None = None
    domain: Tensor | Sequence[str] | None = None
    progress: float = 0.0
    copies: int = 1
    mixture: Mixture | None = None
    view: int = 0

    @classmethod
    def of(cls, raw: object, progress: float = 0.0) -> Batch:
        """Read what a data loader yields.

        Args:
            raw: A tensor or a list of strings (inputs alone); a tuple or list `(x,)`,
                `(x, labels)` or, for models of several inputs, `(x1, x2, …, labels)`, after which
                the names of the domains may follow; a dict of inputs and, under `labels`, `label`,
                `targets`, `target` or `y` (the first that is there), `index` and `domain`, the
                rest; or a `Batch`, or an `IndexedExample` of any of these. Arrays do for tensors.
            progress: See `Batch`.

        Raises:
            DataError: `raw` is none of these.

        >>> Batch.of((torch.zeros(2, 3), torch.tensor([0, 1]))).labels
        tensor([0, 1])
        >>> len(Batch.of((torch.zeros(2, 3), torch.ones(2, 4), torch.tensor([0, 1]))).inputs)
        2
        """
        if isinstance(raw, Batch):
            return replace(raw, progress=progress)
        if isinstance(raw, IndexedExample):
            view = _one_view(raw.view)
            return replace(cls.of(raw.example, progress), index=raw.index, view=view)
        inputs, labels, index, domain = split_batch(raw)
        return cls(inputs, labels, index, domain, progress)

    def __len__(self) -> int:
        """Return the number of examples."""
        top = self.inputs.values() if isinstance(self.inputs, Mapping) else self.inputs
        if isinstance(top, (Tensor, str, bytes)):
            return len(top)
        top = next((each for each in top if isinstance(each, Tensor)), None)
        known = next((each for each in (top, self.labels, self.index) if each is not None), None)
        length = batch_size(self.inputs) if known is None else len(known)
        if length is None:
            raise DataError(
                "the inputs of a batch must have a tensor, an array or a list with one item per "
                f"example, got {describe(self.inputs)}; make the data set or its collate function "
                "return such"
            )
        return length

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """Return some of the examples, by a slice, positions or a mask.

        Raises:
            DataError: A part of the inputs cannot be split by example.
        """
        return Batch(
            picked_inputs(self.inputs, rows, len(self)),
            None if self.labels is None else self.labels[rows],
            None if self.index is None else self.index[rows],
            None if self.domain is None else picked(self.domain, rows),
            self.progress,
            self.copies,
            None if self.mixture is None else self.mixture[rows],
            self.view,
        )

    def labelled(self) -> Tensor:
        """Return which examples have a label, `[batch]` of bool; one known value is enough.

        Of an example that is mixed from two, both labels must be known.

        Raises:
            DataError: The batch has no labels at all.
        """
        if self.labels is None:
            raise DataError(
                "a batch must have labels to tell which of them are known, got none; give some"
            )
        if not self.labels.is_floating_point():
            known = self.labels.long() != UNLABELLED  # unsigned bytes cannot hold −100
            return known if self.mixture is None else self.mixture.known(known)
        known = ~torch.isnan(self.labels)
        return known if known.ndim == 1 else known.any(dim=1)

    def token_mask(self) -> Tensor | None:
        """Return which tokens are not padding, `[batch, tokens]` of bool; None where unknown.

        It is the input `attention_mask`, as tokenizers make it.
        """
        mask = self.inputs.get("attention_mask") if isinstance(self.inputs, Mapping) else None
        return mask.bool() if isinstance(mask, Tensor) and mask.ndim == 2 else None  # noqa: PLR2004

    def to(self, device: torch.device, progress: float | None = None) -> Batch:
        """Return the batch with its tensors on `device` and, if given, another `progress`."""
        return Batch(
            moved(self.inputs, device),
            moved(self.labels, device),
            moved(self.index, device),
            moved(self.domain, device) if isinstance(self.domain, Tensor) else self.domain,
            self.progress if progress is None else progress,
            self.copies,
            None if self.mixture is None else self.mixture.to(device),
            self.view,
        )


@dataclass(frozen=True, slots=True)
class Signals:
    """What a model computes from a batch.

    Args:
        output: Class logits `[batch, classes]`, values `[batch, outputs]` or an embedding
            `[batch, d]`; `CoarseLogits` of a teacher that knows some of the classes; None where it
            is not required.
        features: By layer path, such as `"layer3"`, what enters or leaves a layer: `[batch, d]`,
            `[batch, tokens, d]`, `[batch, channels, height, width]`.
    """

    output: Tensor | CoarseLogits | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def wanted_output(self) -> Tensor:
        """Return the output, which the objective's `wants` require, of all classes.

        Raises:
            DataError: `wants` do not require it.
            ModelError: It covers some of the classes only.
        """
        if isinstance(self.output, Tensor):
            return self.output
        if self.output is not None:
            raise ModelError(
                "this objective needs all classes of the teacher, got CoarseLogits, which cover "
                "some of them; use SoftTargets, which learns from these too, or a teacher that "
                "knows all classes"
            )
        raise _unwanted()

    def wanted_answer(self) -> Tensor | CoarseLogits:
        """Return the output, which the objective's `wants` require, of all classes or of some.

        Raises:
            DataError: `wants` do not require it.
        """
        if self.output is None:
            raise _unwanted()
        return self.output

    def full_output(self) -> Tensor | None:
        """Return the output where it is there and of all classes; None otherwise."""
        return self.output if isinstance(self.output, Tensor) else None

    def to(self, device: torch.device) -> Signals:
        """Return the same on `device`."""
        output = self.output.to(device) if isinstance(self.output, CoarseLogits) else self.output
        return Signals(moved(output, device), moved(self.features, device))

    def feature(self, path: str) -> Tensor:
        """Return the feature at a layer path, which the objective's `wants` require.

        Raises:
            DataError: `wants` do not require it.
        """
        if path not in self.features:
            raise DataError(
                f"an objective reads the feature {path!r}, which its `wants` did not ask for, got "
                f"{sorted(self.features)}; set it in `wants`"
            )
        return self.features[path]


@dataclass(frozen=True, slots=True)
class Fields:
    """Which signals are required of one model, the student or the teacher.

    Args:
        output: Whether its output is.
        features: Layer paths: `"layer3"`, `"encoder.layer.2.attention:input"`, `"decoder[1]"`.

    Raises:
        ArgumentError: `features` is a single string.
    """

    output: bool = False
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ArgumentError(
                f"`features` must be a set of layer paths, got {self.features!r}; write "
                f"frozenset({{{self.features!r}}})"
            )

    def __or__(self, other: Fields) -> Fields:
        """Return what either requires."""
        return Fields(self.output or other.output, self.features | other.features)

    def __bool__(self) -> bool:
        """Tell whether anything is required."""
        return self.output or bool(self.features)


@dataclass(frozen=True, slots=True)
class Wants:
    """Which signals and labels an objective requires.

    Args:
        student: Of the student.
        teacher: Of the teacher; with none, the teacher does not run.
        labels: Whether the batch must carry labels.
    """

    student: Fields = Fields()
    teacher: Fields = Fields()
    labels: bool = False

    def __or__(self, other: Wants) -> Wants:
        """Return what either requires."""
        return Wants(
            self.student | other.student,
            self.teacher | other.teacher,
            self.labels or other.labels,
        )


OUTPUT = Fields(output=True)


def _unwanted() -> DataError:
    return DataError(
        "an objective reads an output that its `wants` did not ask for; set it in `wants`"
    )


def _one_view(view: Any) -> int:
    """Return the view that all examples of a batch are shown in."""
    views = torch.as_tensor(view).reshape(-1)
    if not bool((views == views[0]).all()):
        raise DataError(
            f"the examples of a batch must be shown in one view, got views "
            f"{sorted(set(views.tolist()))}; call set_view between batches, not while they load"
        )
    return int(views[0])
