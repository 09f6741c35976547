"""Several teachers that all run on every example, and their mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, ModelError, some_of
from tutelage.nested import describe, device_of
from tutelage.objectives._objective import OutputKind
from tutelage.positions import labels_by_row, same_rows
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher, ask
from tutelage.teachers.averages import (
    by_entropy,
    by_label_confidence,
    mean_of_binary_probabilities,
    mean_of_gaussians,
    mean_of_outputs,
    mean_of_probabilities,
)
from tutelage.teachers.live import Live
from tutelage.teachers.predictor import Predictor, callable_fingerprint
from tutelage.wants import Fields

SEPARATOR = "/"
"""Between a member's name and a layer path, as in `"big/layer3"`; names must not contain it."""

Average = Callable[[Tensor, Tensor], Tensor]
"""Callable: outputs `[members, batch, …]`, weights `[members, batch, 1…]` → their mean."""
Weighting = Callable[[Tensor, Batch], Tensor]
"""Callable: outputs `[members, batch, …]`, their batch → weights `[members, batch]`."""
_KINDS: tuple[tuple[object, OutputKind], ...] = (
    (mean_of_probabilities, "classes"),
    (by_entropy, "classes"),
    (by_label_confidence, "classes"),
    (mean_of_binary_probabilities, "binary"),
    (mean_of_gaussians, "values"),
)
"""Those that are for outputs of one kind alone."""


class Ensemble(Teacher):
    """The mean of several teachers that know the same classes, or predict the same values.

    Members must have their classes in one order. Where models name them (`class_names`, as those
    that were loaded by reference do), names in different orders are refused; a member without names
    beside one with names is taken to be in its order, which is logged.

    Do not average teachers of different domains: outside of its domain a teacher is confident and
    wrong. `Specialists` runs only the teacher of each example's domain.

    Args:
        teachers: A list of modules or teachers, or a dict by name. A layer of a member is written
            `name/path`, such as `"big/layer3"`; in a list the names are `"0"`, `"1"`, ….
        weights: One number for each member, zero or more (they are normalised to sum to 1); or a
            function from outputs and batch to weights for each example, such as
            `by_label_confidence` and `by_entropy` for class logits; None for equal weights.
        average: A function of outputs and weights: `mean_of_outputs` (the default, for values and
            logits; of logits it is the normalised geometric mean of the probabilities),
            `mean_of_probabilities`, `mean_of_binary_probabilities` for logits of binary labels, or
            `mean_of_gaussians` for models that return means and log-variances.
        devices: The device of each member; None for that of the batch.

    Raises:
        ArgumentError: There are no members, or weights or devices do not match the members.
        ModelError: A member is not a teacher, or members name their classes in different orders.

    >>> one, other = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    >>> Ensemble([one, other]).signals(Batch(torch.ones(4, 2)), Fields(output=True)).output.shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        teachers: Sequence[AnyTeacher] | Mapping[str, AnyTeacher],
        weights: Sequence[float] | Weighting | None = None,
        average: Average = mean_of_outputs,
        devices: Sequence[torch.device | str | None] | None = None,
    ) -> None:
        if isinstance(teachers, Mapping):
            named = {str(name): each for name, each in teachers.items()}
        else:
            named = {str(number): each for number, each in enumerate(teachers)}
        if len(named) < len(teachers):
            raise ArgumentError(
                f"`teachers` must have names that differ as texts, got {list(teachers)}; rename one"
            )
        self.names = tuple(named)
        self.members = tuple(as_teacher(each) for each in named.values())
        self.is_causal = any(each.is_causal for each in self.members)
        self.weights: Tensor | Weighting = (
            weights if callable(weights) else _normalized(weights, len(named))
        )
        self.average = average
        given = [None] * len(named) if devices is None else devices
        if len(given) != len(named):
            raise ArgumentError(
                f"`devices` must name one for each of {len(named)} teachers, got {len(given)}; "
                "write None where a teacher runs on the batch's"
            )
        self.devices = tuple(None if each is None else torch.device(each) for each in given)
        self._home: torch.device | None = None  # of outputs for texts, within `ready`
        check_class_order("Ensemble", dict(zip(self.names, self.members, strict=True)))

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the mean of the members' outputs, and the required features of each."""
        outputs, signals = self._ask_all(batch, fields)
        if not fields.output:
            return signals
        dtype = torch.float64 if any(each.dtype == torch.float64 for each in outputs) else None
        stacked = torch.stack([each.to(dtype or torch.float32) for each in outputs])
        if isinstance(self.weights, Tensor):
            weights = self.weights.to(stacked.device, stacked.dtype)
        else:
            weights = self.weights(stacked, labels_by_row(batch, signals.rows))
            due = stacked.shape[:2]
            # Values are looked at on the CPU only, where that needs no synchronization.
            well = weights.shape == due and (
                weights.device.type != "cpu"
                or bool((weights >= 0).all() & (weights.sum(dim=0) > 0).all())
            )
            if not well:
                raise ModelError(
                    "`weights` must return zero or more for each teacher and example, "
                    f"{list(due)}, with a sum above 0 for each example, got {describe(weights)} "
                    f"from {weights.min().item():g} on; correct the function"
                )
            weights = weights / weights.sum(dim=0, keepdim=True)
        weights = weights.reshape(*weights.shape, *[1] * (stacked.ndim - weights.ndim))
        return replace(signals, output=self.average(stacked, weights))

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse means and weights that read outputs in another way than the objective."""
        super().check_kind(kind)
        for each in (self.average, self.weights):
            reads = next((its for function, its in _KINDS if function is each), kind)
            if kind is not None and reads != kind:
                raise ArgumentError(
                    f"the Ensemble must combine outputs as the objective reads them ({kind}), got "
                    f"{getattr(each, '__name__', each)}, for {reads}; use mean_of_probabilities "
                    "for class logits, mean_of_binary_probabilities for logits of binary labels, "
                    "mean_of_gaussians for means and log-variances, mean_of_outputs for any, and "
                    "numbers as weights for binary labels and values"
                )

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse paths that do not begin with a member's name, or are not in that member."""
        required = self._required(Fields(features=frozenset(paths)))
        for name, member in zip(self.names, self.members, strict=True):
            member.check_layers(required[name].features)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move each member to its own device, or to `device`; afterwards back."""
        before, self._home = self._home, device
        with ExitStack() as stack:
            stack.callback(setattr, self, "_home", before)
            for member, own in zip(self.members, self.devices, strict=True):
                stack.enter_context(member.ready(own or device))
            yield

    def fingerprint(self) -> str:
        """Return the settings and the fingerprints of all members."""
        prints = [
            f"{name}: {member.fingerprint()}"
            for name, member in zip(self.names, self.members, strict=True)
        ]
        if isinstance(self.weights, Tensor):
            weights = str([round(each, 9) for each in self.weights.tolist()])
        else:
            weights = callable_fingerprint(self.weights)
        average = callable_fingerprint(self.average)
        return f"Ensemble({average}, weights {weights}; {'; '.join(prints)})"

    def _ask_all(self, batch: Batch, fields: Fields) -> tuple[list[Tensor], Signals]:
        """Return all members' outputs, where required; and the features by `name/path`, and rows.

        Raises:
            ModelError: Members have outputs for different positions.
        """
        required = self._required(fields)
        home = device_of(batch.inputs) or self._home
        outputs, features, rows, masks = [], {}, [], []
        for name, member, device in zip(self.names, self.members, self.devices, strict=True):
            on_device = batch if device is None else batch.to(device)
            signals = ask(member, on_device, required[name])
            signals = signals if home is None else signals.to(home)
            if fields.output:
                outputs.append(signals.logits)
                rows.append(signals.rows)
            features |= {f"{name}{SEPARATOR}{path}": x for path, x in signals.features.items()}
            masks += [] if signals.tokens is None else [signals.tokens]
        common = same_rows(rows, [f"teacher {name!r}" for name in self.names])
        tokens = masks[0] if masks and all(torch.equal(masks[0], each) for each in masks) else None
        return outputs, Signals(None, features, common, tokens=tokens)

    def _required(self, fields: Fields) -> dict[str, Fields]:
        """Return what is required of each member."""
        paths: dict[str, set[str]] = {name: set() for name in self.names}
        for text in fields.features:
            name, separator, path = text.partition(SEPARATOR)
            if name not in paths or not separator:
                raise ArgumentError(
                    f"a layer of one of several teachers must be written member{SEPARATOR}layer "
                    f"with one of the members {list(self.names)}, got {text!r}; for instance "
                    f"'{self.names[0]}{SEPARATOR}{text if not separator else path}'"
                )
            paths[name].add(path)
        return {name: Fields(fields.output, frozenset(found)) for name, found in paths.items()}


def _normalized(weights: Sequence[float] | None, members: int) -> Tensor:
    """Return weights that sum to 1, `[members]` in float64: those given, or equal ones."""
    given = torch.as_tensor([1.0] * members if weights is None else weights, dtype=torch.float64)
    valid = given.shape == (members,) and bool(given.isfinite().all() & (given >= 0).all())
    if not valid or not given.sum() > 0:
        raise ArgumentError(
            f"`weights` must be a list with one of 0 or more for each of the {members} teachers "
            f"and a sum above 0, got {weights!r}; for equal weights leave them out"
        )
    return given / given.sum()


def check_class_order(team: str, members: Mapping[str, Teacher]) -> None:
    """Refuse members that name their classes in different orders; log whose order is unknown."""
    models = {
        name: getattr(each, "predict", each.module)
        for name, each in members.items()
        if isinstance(each, (Live, Predictor))  # others bring classes into order themselves
    }
    found = {name: getattr(each, "class_names", None) for name, each in models.items()}
    named = {name: tuple(map(str, each)) for name, each in found.items() if each}
    for (one, ours), (other, theirs) in combinations(named.items(), 2):
        moved = [each for each in ours if each in theirs and ours.index(each) != theirs.index(each)]
        if moved:
            raise ModelError(
                f"the teachers of {team} must have their classes in one order, got {some_of(ours)} "
                f"of {one!r} and {some_of(theirs)} of {other!r}; wrap them in Specialist(labels=), "
                "which brings them into the order of the data"
            )
    if named:
        first, names = next(iter(named.items()))
        others = [each for each in models if named.get(each, ()) != names]
        if others:
            logging.getLogger("tutelage").warning(
                f"the order of the classes of {some_of(map(repr, others))} in {team} is not "
                f"known, and taken to be that of {first!r}: {some_of(names)}"
            )
