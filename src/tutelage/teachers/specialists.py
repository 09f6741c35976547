"""Teachers that each know some of the domains or some of the classes."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tutelage._checks import integer
from tutelage.coarse import CoarseLogits
from tutelage.data import Indexed, Views
from tutelage.data.sets import Domains
from tutelage.errors import ArgumentError, DataError, ModelError, did_you_mean
from tutelage.objectives._objective import OutputKind
from tutelage.positions import same_rows
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import AnyTeacher, Teacher, as_teacher, ask
from tutelage.teachers.ensemble import check_class_order
from tutelage.wants import Fields

_CPU = torch.device("cpu")
_log = logging.getLogger(__name__)

Domain = str | int | None


class Specialist(Teacher):
    """A teacher whose outputs are assigned to the student's classes.

    Its output is `CoarseLogits`, from which `SoftTargets` can learn. If it knows all classes, its
    output is logits in the student's order, from which any objective can learn.

    Args:
        teacher: A module or teacher with logits for its classes, in the order of `labels`.
        labels: The teacher's classes, in the order of its outputs: the student's class ids, or
            names.
        other_class: Whether the teacher's last logit stands for all other classes together.
            Otherwise the probability of all other classes is 0, so use it only for examples of its
            own classes, as `Specialists` does.
        classes: The student's classes: their names in the order of its outputs, or their number.
            Needed if `labels` are names, or are all classes.
        names: From the teacher's names to the student's, where they differ.

    Raises:
        ArgumentError: Labels are not among the student's classes, or are repeated; or there is an
            "other" class although the teacher knows all classes.
        ModelError: `teacher` is not a teacher.

    >>> animals = Specialist(
    ...     torch.nn.Linear(2, 3), labels=["dog", "cat"], classes=["bus", "cat", "dog", "van"]
    ... )
    >>> known = animals.signals(Batch(torch.ones(1, 2)), Fields(output=True)).output
    >>> known.ids.tolist(), list(known.other.shape)
    ([[2, 1]], [1])
    """

    def __init__(
        self,
        teacher: AnyTeacher,
        labels: Sequence[int] | Sequence[str],
        other_class: bool = True,
        classes: int | Sequence[str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.members = (as_teacher(teacher),)
        self.is_causal = self.teacher.is_causal
        self.ids = _class_ids(labels, classes, names or {})
        self.other_class, self.classes = other_class, classes
        self.knows_all = len(self.ids) == _number_of(classes)
        if self.knows_all and other_class:
            raise ArgumentError(
                f'a teacher of all {len(self.ids)} classes must have no "other" class, got '
                "other_class=True; set other_class=False, or leave out the labels that it does not "
                "know"
            )

    @property
    def teacher(self) -> Teacher:
        """The teacher of these classes."""
        return self.members[0]

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the teacher's signals, with its output in the student's classes."""
        signals = ask(self.teacher, batch, replace(fields, head_from=None))
        if not fields.output:
            return signals
        return replace(signals, output=self._in_student_classes(signals.logits))

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse some of several binary labels: the others have no "other" class to be in."""
        super().check_kind(kind)
        if kind == "binary" and not self.knows_all:
            raise ModelError(
                "a Specialist of some classes is for classes that exclude each other, got an "
                "objective on binary labels; give one module that returns the logits of all labels "
                "side by side, from whichever teacher knows each"
            )

    def fingerprint(self) -> str:
        """Return the classes and the teacher's fingerprint."""
        known = f"{'all ' if self.knows_all else ''}{list(self.ids)}"
        other = "with" if self.other_class else "without"
        return f"Specialist({known} {other} other; {self.teacher.fingerprint()})"

    def _in_student_classes(self, logits: Tensor) -> Tensor | CoarseLogits:
        known = len(self.ids)
        if logits.shape[1:] != (known + self.other_class,):
            more = ', and one for "other"' if self.other_class else ""
            raise ModelError(
                f"a Specialist's teacher must have {known + self.other_class} logits, one for each "
                f"label{more}, got {list(logits.shape)}; give `labels` in the order of its outputs,"
                " and set `other_class`"
            )
        ids = torch.tensor(self.ids, device=logits.device)
        if self.knows_all:
            return logits[:, ids.argsort()]
        other = logits[:, -1] if self.other_class else logits.new_full(logits.shape[:1], -torch.inf)
        return CoarseLogits(ids.expand(len(logits), known), logits[:, :known], other)


class Specialists(Teacher):
    """One teacher for each domain; each runs on the examples of its own domain only.

    A batch is split by `Batch.domain`, each teacher computes its part, and the outputs are joined
    in the batch's order, so that all teachers together cost as much as one. Domains come from
    `tutelage.data.domains` or `tutelage.data.labelled`, or from the key `domain` of examples.

    A domain without a specialist is an error. With a generalist it is logged once instead, unless
    it is listed in `others`.

    Args:
        teachers: Modules or teachers by domain: by its name, or by its number if the data has
            numbers.
        generalist: The teacher of all other domains; None refuses these.
        others: The domains meant for the generalist; any further ones are refused. None for any.
        offload: Whether to keep at most one teacher on the device and the others on the CPU, if
            they do not fit together. Each change of domain then moves a teacher.

    Raises:
        ArgumentError: There are no teachers, or `others` without a generalist.
        ModelError: A member is not a teacher, or members name their classes in different orders.

    >>> pictures, drawings = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    >>> teacher = Specialists({"photo": pictures, "sketch": drawings})
    >>> batch = Batch(torch.ones(2, 2), domain=["sketch", "photo"])
    >>> output = teacher.signals(batch, Fields(output=True)).output
    >>> bool((output == torch.stack([drawings(torch.ones(2)), pictures(torch.ones(2))])).all())
    True
    """

    traceable = False  # its steps depend on each batch's domains

    def __init__(
        self,
        teachers: Mapping[str, AnyTeacher] | Mapping[int, AnyTeacher],
        generalist: AnyTeacher | None = None,
        others: Collection[str] | Collection[int] | None = None,
        offload: bool = False,
    ) -> None:
        if others is not None and generalist is None:
            raise ArgumentError(
                "`others` are the domains that the `generalist` is meant for, got no `generalist`; "
                "write generalist=third, others=['painting']"
            )
        if not teachers and generalist is None:
            raise ArgumentError(
                "`teachers` must name at least one domain, got none and no `generalist`; write "
                "Specialists({'photo': teacher})"
            )
        self.domains: tuple[Domain, ...] = tuple(teachers)
        members = [*teachers.values(), *([] if generalist is None else [generalist])]
        self.members = tuple(map(as_teacher, members))
        self.is_causal = any(each.is_causal for each in self.members)
        self.others, self.offload = others, offload
        self._generalist = None if generalist is None else len(teachers)
        self._member_of: dict[Domain, int] = {domain: i for i, domain in enumerate(teachers)}
        self._member_of |= dict.fromkeys(others or (), len(teachers))
        # With `offload`, within `ready`: the device, and the one teacher that is on it.
        self._device: torch.device | None = None
        self._loaded: Teacher | None = None
        self._moved = ExitStack()
        names = (*map(str, self.domains), "the generalist")
        check_class_order(type(self).__name__, dict(zip(names, self.members, strict=False)))
        _log_unknown_classes(self.members)

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return each example's output and features from the teacher of its domain."""
        if not fields:
            return Signals()
        rows_of = self._rows_by_member(batch)
        if len(rows_of) <= 1:  # an empty batch gets its shapes from any member
            return self._ask(next(iter(rows_of), 0), batch, fields)
        device = batch.domain.device if isinstance(batch.domain, Tensor) else _CPU
        rows = torch.tensor([row for own in rows_of.values() for row in own], device=device)
        parts = rows.split([len(own) for own in rows_of.values()])
        logits = replace(fields, head_from=None)  # heads of several members cannot be joined
        signals = [
            self._ask(member, batch[own], logits)
            for member, own in zip(rows_of, parts, strict=True)
        ]
        return _joined(signals, rows, [self._name(member) for member in rows_of])

    def for_data(self, name: str, data: object) -> Teacher:
        """Return the teacher for a data set; check the domains of a `Domains` set."""
        inner = data
        while isinstance(inner, (DataLoader, Indexed, Views)):
            inner = inner.dataset
        if isinstance(inner, Domains):
            for domain in inner.sets:
                if domain not in self._member_of:
                    self._assign(domain)
            unused = [each for each in self.domains if each not in inner.sets]
            if unused and name == "train":
                _log.warning("`train` has no examples of the domains %s of Specialists", unused)
        return super().for_data(name, data)

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move all teachers to `device`, or with `offload` one at a time; afterwards back."""
        with super().ready(_CPU if self.offload else device):
            self._device = device if self.offload else None
            try:
                yield
            finally:
                self._device = None
                self._unload()

    def fingerprint(self) -> str:
        """Return the domains, in any order, with the fingerprints of their teachers."""
        prints = [f"{self._name(i)}: {each.fingerprint()}" for i, each in enumerate(self.members)]
        return f"Specialists({'; '.join(sorted(prints))})"

    def _ask(self, member: int, batch: Batch, fields: Fields) -> Signals:
        teacher = self.members[member]
        if self._device is not None and teacher is not self._loaded:
            self._unload()
            self._moved.enter_context(teacher.ready(self._device))
            self._loaded = teacher
        return ask(teacher, batch, fields)

    def _unload(self) -> None:
        """Move back the teacher that is on the device."""
        self._loaded = None
        self._moved.close()

    def _rows_by_member(self, batch: Batch) -> dict[int, list[int]]:
        """Return each member's rows of the batch, by the member's number."""
        if batch.domain is None:
            raise DataError(
                "specialists need each example's domain, got a batch without; build the data with "
                "tl.data.domains({name: data set}), or yield (inputs, labels, domain)"
            )
        domains = batch.domain
        names: Sequence[Domain] = domains.tolist() if isinstance(domains, Tensor) else domains
        found: dict[int, list[int]] = {}
        for row, name in enumerate(names):
            member = self._member_of.get(name)
            found.setdefault(self._assign(name) if member is None else member, []).append(row)
        return found

    def _assign(self, domain: Domain) -> int:
        """Return the generalist's number for a domain without a specialist, if it is meant for it.

        Raises:
            DataError: There is no generalist, or it is meant for others.
        """
        known = [*self.domains, *(self.others or ())]
        hint = did_you_mean(str(domain), map(str, known))
        if self._generalist is None or self.others is not None:
            advice = (
                "name a teacher for it, or give Specialists a `generalist`"
                if self._generalist is None
                else "list it in `others` if the generalist is meant for it"
            )
            raise DataError(
                f"each domain of the data must be one of {known}, got {domain!r}; {hint or advice}"
            )
        _log.warning(
            "no specialist for the domain %r: the generalist is used for its examples; list it in "
            "`others` if that is intended %s",
            domain,
            hint,
        )
        self._member_of[domain] = self._generalist
        return self._generalist

    def _name(self, member: int) -> str:
        return repr(self.domains[member]) if member < len(self.domains) else "the generalist"


def _joined(parts: Sequence[Signals], examples: Tensor, names: Sequence[str]) -> Signals:
    """Join teachers' signals for the parts of a batch, whose `examples` follow one another."""
    order = examples.argsort()
    features = {
        path: torch.cat([each.features[path] for each in parts])[order]
        for path in parts[0].features
    }
    masks = [each.tokens for each in parts if each.tokens is not None]
    # Where they have different widths, features are of no tokens.
    alike = len(masks) == len(parts) and len({each.shape[1] for each in masks}) == 1
    tokens = torch.cat(masks)[order] if alike else None
    outputs = [each.targets for each in parts if each.output is not None]
    if not outputs:
        return Signals(None, features, tokens=tokens)
    joined = _outputs(outputs, names)
    if same_rows([each.rows for each in parts], names) is None:
        return Signals(joined[order], features, tokens=tokens)
    several = [each.rows for each in parts if each.rows is not None]
    mask = torch.cat([each.mask for each in several])
    rows = Rows(mask, all(each.complete for each in several))
    # Rows of an example keep their order.
    in_order = examples.to(mask.device)[rows.examples].argsort(stable=True)
    return Signals(joined[in_order], features, rows[order.to(mask.device)], tokens=tokens)


def _outputs(
    outputs: Sequence[Tensor | CoarseLogits], names: Sequence[str]
) -> Tensor | CoarseLogits:
    """Concatenate outputs, as CoarseLogits if a teacher knows only some classes."""
    dense = {
        name: each for name, each in zip(names, outputs, strict=True) if isinstance(each, Tensor)
    }
    # Of fewer logits than classes that others name, the classes are not known. Checked on the CPU
    # only, where reading a value needs no synchronization.
    ids = [each.ids for each in outputs if isinstance(each, CoarseLogits)]
    named = max((int(each.amax()) + 1 for each in ids if each.device.type == "cpu"), default=0)
    shapes = {name: list(each.shape[1:]) for name, each in dense.items()}
    widths = {each[0] for each in shapes.values() if each}
    if len(widths) > 1 or min(widths, default=named) < named:
        raise ModelError(
            f"specialists of all classes must have one logit for each, got {shapes} where others "
            f"name {named} classes; name those of each one that knows some by "
            "Specialist(teacher, labels=[...])"
        )
    if len(dense) == len(outputs):
        return torch.cat(list(dense.values()))
    return CoarseLogits.joined(
        [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    )


def _class_ids(
    labels: Sequence[int] | Sequence[str],
    classes: int | Sequence[str] | None,
    names: Mapping[str, str],
) -> tuple[int, ...]:
    """Return the student's class id for each of a teacher's labels; see `Specialist`."""
    for what, given in (("labels", labels), ("classes", classes)):
        # A set has no order, and the keys of a dict may be positions.
        if isinstance(given, (str, Mapping, set, frozenset)):
            raise ArgumentError(
                f"`{what}` must be a list in the order of the outputs, got {given!r:.80}; write one"
            )
    listed = [] if classes is None or isinstance(classes, int) else list(classes)
    renamed = [names.get(each, each) if isinstance(each, str) else each for each in labels]
    unknown = [each for each in renamed if isinstance(each, str) and each not in listed]
    if unknown or len(set(listed)) < len(listed):
        raise ArgumentError(
            f"`labels` must be among the student's `classes`, different names in the order of its "
            f"outputs, got {unknown} beside {listed or 'no `classes`'}; list them, and map other "
            "names by `names`"
        )
    what, number = "they are the student's class ids, from 0 on", _number_of(classes)
    ids = [
        listed.index(each) if isinstance(each, str) else integer("labels", each, 0, what)
        for each in renamed
    ]
    if not ids or len(set(ids)) < len(ids) or max(ids) >= (number or max(ids) + 1):
        raise ArgumentError(
            f"`labels` must be different classes of the student's {number or ''}, at least one, "
            f"got {list(labels)}; list each class once, from 0 on"
        )
    return tuple(ids)


def _number_of(classes: int | Sequence[str] | None) -> int | None:
    """Return how many classes the student has, where that is known."""
    return classes if classes is None or isinstance(classes, int) else len(classes)


def _log_unknown_classes(members: Sequence[Teacher]) -> None:
    """Log the classes that none of the specialists knows."""
    partial = [each for each in members if isinstance(each, Specialist)]
    if len(partial) < len(members):
        return  # another kind of teacher may know all classes
    known = {number for each in partial for number in each.ids}
    counts = [_number_of(each.classes) or 0 for each in partial]
    unknown = sorted(set(range(max([*counts, max(known) + 1]))) - known)
    if unknown:
        given = (each.classes for each in partial)
        names = next((each for each in given if isinstance(each, Sequence)), None)
        _log.warning(
            "no specialist knows the classes %s: the student learns them from labels only",
            unknown if names is None else [names[each] for each in unknown],
        )
