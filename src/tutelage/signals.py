"""What travels between data, models and objectives.

A `Batch` is what both models are shown; `Signals` are what one model says of it; `Wants` are what
an objective needs of both sides, so that nothing is computed that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.nested import describe, first_tensor, moved, on_tensors

UNLABELLED = -100
"""The label of an example without one, in classification (in regression it is NaN)."""

_NOT_INPUTS = ("labels", "label", "index", "domain")


@dataclass(frozen=True, slots=True)
class Mixture:
    """What examples made of two have for labels: `share` of their own, the rest the partner's.

    Args:
        labels: `[batch]` class ids of the partners (−100: no label).
        share: `[batch]` in [0, 1]: how much of each example is its own.
    """

    labels: Tensor
    share: Tensor

    def known(self, own: Tensor) -> Tensor:
        """Return of which examples all labels that take part are known, `[batch]` of bool.

        Args:
            own: Which of the examples' own labels are known, `[batch]` of bool.
        """
        partner = self.labels.long() != UNLABELLED
        return (own | (self.share == 0)) & (partner | (self.share == 1))

    def __getitem__(self, rows: slice | Tensor) -> Mixture:
        """Return the part of some examples."""
        return Mixture(self.labels[rows], self.share[rows])

    def to(self, device: torch.device) -> Mixture:
        """Return the same on a device."""
        return Mixture(moved(self.labels, device), moved(self.share, device))


class Placed(NamedTuple):
    """An example, or a batch of them, that says which it is; see `data.Indexed`.

    Args:
        example: What the data set yields.
        index: Its position in the data set.
        view: The view it is seen under; one for the whole of a batch.
    """

    example: Any
    index: Any
    view: Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples that teacher and student see alike.

    Args:
        inputs: What the models are called with: a tensor (`model(x)`), a tuple or list
            (`model(*x)`) or a dict (`model(**x)`). The first dimension of each tensor is `batch`.
        labels: `[batch]` class ids (−100: no label), or values `[batch]` or `[batch, outputs]`
            (NaN: no label); None where the data has no labels.
        index: `[batch]` position of each example in its data set, where known.
        domain: What each example belongs to (a tensor or a list of names), where known.
        progress: Fraction of training that has gone by, in [0, 1]; schedules read it.
        copies: How many processes hold these same examples (where there are fewer examples than
            processes); in sums over all processes each example counts for 1/copies here.
        mixture: The other half of the class labels, where each example is made of two.
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
            raw: A tensor (inputs alone), a tuple or list `(x,)`, `(x, y)` or `(x, y, domain)`, or a
                dict whose keys `labels` (or `label`), `index` and `domain` are set apart and whose
                other keys are the inputs. A tuple's domains are names; a tensor of numbers, which
                could be anything, must be a dict's `domain`. A `Batch` passes through; `Placed`
                tells its `index`.
            progress: See `Batch`.

        Raises:
            DataError: `raw` is none of these.

        >>> Batch.of((torch.zeros(2, 3), torch.tensor([0, 1]))).labels
        tensor([0, 1])
        """
        if isinstance(raw, Batch):
            return replace(raw, progress=progress)
        if isinstance(raw, Placed):
            view = _one_view(raw.view)
            return replace(cls.of(raw.example, progress), index=raw.index, view=view)
        if isinstance(raw, Tensor):
            return cls(raw, progress=progress)
        if isinstance(raw, Mapping):
            inputs, _ = set_apart(raw)
            labels = raw.get("labels", raw.get("label"))
            return cls(inputs, labels, raw.get("index"), raw.get("domain"), progress)
        if isinstance(raw, Sequence) and not isinstance(raw, str) and 1 <= len(raw) <= 3:  # noqa: PLR2004
            inputs, labels, domain = (*raw, None, None)[:3]
            if _are_domains(domain):
                return cls(inputs, labels, domain=domain, progress=progress)
        raise DataError(
            "a batch must be a tensor, a tuple (inputs,), (inputs, labels) or (inputs, labels, "
            "domains) with the domains' names, or a dict of named inputs with `labels` (and "
            f"`domain`), got {describe(raw)}; where a model takes several inputs, make the data "
            "set or its collate function return a dict, or ((a, b), labels)"
        )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(first_tensor(self.inputs))

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """Return the examples of a slice, or of a tensor of positions, as a batch."""
        return Batch(
            on_tensors(self.inputs, lambda tensor: tensor[rows]),
            None if self.labels is None else self.labels[rows],
            None if self.index is None else self.index[rows],
            _chosen(self.domain, rows),
            self.progress,
            self.copies,
            None if self.mixture is None else self.mixture[rows],
            self.view,
        )

    def labelled(self) -> Tensor:
        """Return which examples carry a label, `[batch]` of bool: any known value counts.

        An example made of two carries one where both are known.

        Raises:
            DataError: The batch has no labels at all.
        """
        if self.labels is None:
            raise DataError("a batch must have labels to tell which are known, got none; give some")
        if not self.labels.is_floating_point():
            known = self.labels.long() != UNLABELLED  # unsigned bytes know no −100
            return known if self.mixture is None else self.mixture.known(known)
        known = ~torch.isnan(self.labels)
        return known if known.ndim == 1 else known.any(dim=1)

    def token_mask(self) -> Tensor | None:
        """Return which tokens are no padding, `[batch, tokens]` of bool; None where none is told.

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
    """What a model says of a batch.

    Args:
        output: Its last word: class logits `[batch, classes]`, values `[batch, outputs]` or an
            embedding `[batch, d]`; `CoarseLogits` of a teacher that knows some of the classes; None
            where nobody wanted it.
        features: What passes named places inside it, such as `"layer3"`: `[batch, d]`,
            `[batch, tokens, d]`, `[batch, channels, height, width]`.
    """

    output: Tensor | CoarseLogits | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def wanted_output(self) -> Tensor:
        """Return the output, which the caller's `wants` asked for, of all classes.

        Raises:
            DataError: Nobody asked for it.
            ModelError: It knows some of the classes only.
        """
        if isinstance(self.output, Tensor):
            return self.output
        if self.output is not None:
            raise ModelError(
                "this objective needs all classes of the teacher, got CoarseLogits, which know "
                "some of them; use SoftTargets, which learns from these too, or a teacher that "
                "knows all classes"
            )
        raise _unwanted()

    def wanted_answer(self) -> Tensor | CoarseLogits:
        """Return the output, which the caller's `wants` asked for, of all classes or of some.

        Raises:
            DataError: Nobody asked for it.
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

    def feature(self, place: str) -> Tensor:
        """Return what passed a place, which the caller's `wants` asked for."""
        if place not in self.features:
            raise DataError(
                f"an objective reads the feature {place!r}, which its `wants` did not ask for, got "
                f"{sorted(self.features)}; set it in `wants`"
            )
        return self.features[place]


@dataclass(frozen=True, slots=True)
class Fields:
    """Which signals are wanted of one side.

    Args:
        output: The model's output.
        features: Places inside it, as `tutelage.layers.paths.LayerPath` reads them: `"layer3"`,
            `"encoder.layer.2.attention:input"`, `"decoder[1]"`.

    Raises:
        ArgumentError: `features` is one text.
    """

    output: bool = False
    features: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ArgumentError(
                f"`features` must be a set of places, got {self.features!r}; write "
                f"frozenset({{{self.features!r}}})"
            )

    def __or__(self, other: Fields) -> Fields:
        """Return what either wants."""
        return Fields(self.output or other.output, self.features | other.features)

    def __bool__(self) -> bool:
        """Tell whether anything is wanted."""
        return self.output or bool(self.features)


@dataclass(frozen=True, slots=True)
class Wants:
    """What an objective needs.

    Args:
        student: Fields wanted of the student.
        teacher: Fields wanted of the teacher; with none, the teacher does not run.
        labels: Whether the batch must carry labels.
    """

    student: Fields = Fields()
    teacher: Fields = Fields()
    labels: bool = False

    def __or__(self, other: Wants) -> Wants:
        """Return what either wants."""
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


def set_apart(example: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a dict's inputs, and what is none: labels, index and domain."""
    rest = {key: example[key] for key in _NOT_INPUTS if key in example}
    return {key: value for key, value in example.items() if key not in rest}, rest


def _are_domains(value: object) -> bool:
    """Tell whether a third item names each example's domain, or is not there."""
    if isinstance(value, (tuple, list)):
        return all(isinstance(each, str) for each in value)
    return value is None


def _one_view(view: Any) -> int:
    """Return the view that all examples of a batch are seen under."""
    views = torch.as_tensor(view).reshape(-1)
    if not bool((views == views[0]).all()):
        raise DataError(
            f"the examples of a batch must be seen under one view, got views "
            f"{sorted(set(views.tolist()))}; call set_view between batches, not while they load"
        )
    return int(views[0])


def _chosen(domain: Tensor | Sequence[str] | None, rows: slice | Tensor) -> Any:
    """Return some examples' domains; a list of names has no rows by tensor."""
    if domain is None or isinstance(domain, Tensor):
        return None if domain is None else domain[rows]
    places = range(len(domain))[rows] if isinstance(rows, slice) else rows.tolist()
    return [domain[place] for place in places]
