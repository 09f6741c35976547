"""Teachers that each know a domain: every example is taught by its own domain's teacher."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from numbers import Integral

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._assembly import assembled
from tutelage.teachers._teacher import Teacher
from tutelage.teachers.live import as_member

_CPU = torch.device("cpu")


class Specialists(Teacher):
    """One teacher for each domain; each answers the examples of its own and sees no others.

    A batch is taken apart by `Batch.domain`, each teacher computes its rows, and the answers are
    put together in the batch's order, so that the whole costs what one teacher costs. Data gets its
    domains from `tutelage.data.domains`, or by a third item or a key `domain` of its examples.

    Args:
        teachers: By domain: modules or teachers. The keys are the domains' names, or their numbers
            where the data numbers its domains.
        generalist: Answers the examples of all other domains; None refuses these.
        offload: Whether to keep at most one teacher on the device, and the others on the CPU, where
            they do not fit together. Best with batches of one domain: each change moves a teacher.

    Raises:
        ArgumentError: There is no teacher, or a key is neither text nor whole number.
        ModelError: A teacher is neither module nor teacher.

    >>> pictures, drawings = nn.Linear(2, 3), nn.Linear(2, 3)
    >>> teacher = Specialists({"photo": pictures, "sketch": drawings})
    >>> batch = Batch(torch.ones(2, 2), domain=["sketch", "photo"])
    >>> said = teacher.signals(batch, Fields(output=True)).output
    >>> bool((said == torch.stack([drawings(torch.ones(2)), pictures(torch.ones(2))])).all())
    True
    """

    def __init__(
        self,
        teachers: Mapping[str, nn.Module | Teacher] | Mapping[int, nn.Module | Teacher],
        generalist: nn.Module | Teacher | None = None,
        offload: bool = False,
    ) -> None:
        _check(teachers)
        everyone = [*teachers.values(), *([] if generalist is None else [generalist])]
        self.members = tuple(map(as_member, everyone))
        self._domains: tuple[object, ...] = tuple(teachers)
        self._places: dict[object, int] = {domain: place for place, domain in enumerate(teachers)}
        self._generalist = None if generalist is None else len(teachers)
        self.offload = offload
        self._desk: _Desk | None = None

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return each example's own teacher's signals.

        Raises:
            DataError: The batch tells no domains, or one that no teacher knows.
            ModelError: A teacher refuses its rows, or the answers do not fit together.
        """
        if not fields:
            return Signals()
        routes = self._routes(batch)
        if len(routes) <= 1:  # of an empty batch anyone tells the shapes
            return self._ask(next(iter(routes), 0), batch, fields)
        device = batch.domain.device if isinstance(batch.domain, Tensor) else _CPU
        rows = torch.tensor([row for own in routes.values() for row in own], device=device)
        parts = rows.split([len(own) for own in routes.values()])
        answers = [
            self._ask(place, batch[own], fields) for place, own in zip(routes, parts, strict=True)
        ]
        return assembled(answers, rows, [self._name(place) for place in routes])

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move all teachers to `device`, or with `offload` one at a time; afterwards back."""
        with ExitStack() as stack:
            home = _CPU if self.offload else device
            for member in self.members:
                stack.enter_context(member.ready(home))
            if not self.offload:
                yield
                return
            self._desk = _Desk(device)
            try:
                yield
            finally:
                self._desk.clear()
                self._desk = None

    def fingerprint(self) -> str:
        """Return the domains, whatever their order, with the fingerprints of their teachers."""
        prints = [f"{self._name(k)}: {each.fingerprint()}" for k, each in enumerate(self.members)]
        return f"Specialists({'; '.join(sorted(prints))})"

    def _ask(self, place: int, batch: Batch, fields: Fields) -> Signals:
        teacher = self.members[place]
        if self._desk is not None:
            self._desk.seat(teacher)
        return teacher.signals(batch, fields)

    def _routes(self, batch: Batch) -> dict[int, list[int]]:
        """Return for each teacher, by its place among the members, the rows that are its own."""
        if batch.domain is None:
            raise DataError(
                "specialists must be told each example's domain, got a batch without; build the "
                "data with tl.data.domains({name: data set}), or yield (inputs, labels, domain)"
            )
        domains = batch.domain
        names: Sequence[object] = domains.tolist() if isinstance(domains, Tensor) else domains
        if len(names) != len(batch):
            raise DataError(
                f"`domain` must be one for each of {len(batch)} examples, got {len(names)}; give "
                "as many domains as examples"
            )
        found: dict[int, list[int]] = {}
        for row, name in enumerate(names):
            found.setdefault(self._place_of(name), []).append(row)
        return found

    def _place_of(self, domain: object) -> int:
        if not isinstance(domain, (str, Integral, type(None))):
            raise DataError(
                "each example's domain must be a text or a whole number, got a "
                f"{type(domain).__name__}: {domain!r:.60}; give `domain` one name or number for "
                "each example"
            )
        place = self._places.get(domain, self._generalist)
        if place is None:
            raise DataError(
                f"each domain of the data must be one of {list(self._domains)}, got {domain!r}; "
                "name a teacher for it, give Specialists a `generalist`, or correct the names in "
                "tl.data.domains"
            )
        return place

    def _name(self, place: int) -> str:
        return repr(self._domains[place]) if place < len(self._domains) else "the generalist"


class _Desk:
    """The one place on the device, and who has it.

    Args:
        device: Where it is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._holder: Teacher | None = None
        self._stay = ExitStack()

    def seat(self, teacher: Teacher) -> None:
        """Give a teacher the place; who had it goes back first."""
        if teacher is self._holder:
            return
        self.clear()
        self._stay.enter_context(teacher.ready(self.device))
        self._holder = teacher

    def clear(self) -> None:
        """Send back who has the place."""
        self._holder = None
        self._stay.close()


def _check(teachers: object) -> None:
    if not isinstance(teachers, Mapping) or not teachers:
        raise ArgumentError(
            "`teachers` must be a dict from domains to teachers, with at least one, got "
            f"{teachers!r:.80}; for instance {{'photo': first, 'sketch': second}}"
        )
    wrong = [key for key in teachers if isinstance(key, bool) or not isinstance(key, (str, int))]
    if wrong:
        raise ArgumentError(
            f"a domain must be a text or a whole number, got {wrong[0]!r}; name it as the data "
            "names its domains"
        )
