"""An objective whose arithmetic PyTorch's compiler makes into one program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import count
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, in_short, is_of_compiler
from tutelage.objectives._any_size import examples_of_any_size, signals_of_any_size
from tutelage.objectives._around import Around
from tutelage.objectives._objective import Objective
from tutelage.schedules import Constant, Schedule
from tutelage.signals import Batch, Signals


class Compiled(Around):
    """Another objective, the same in value and gradient but for rounding, by `torch.compile`.

    Where an objective takes several steps over large tensors, such as a divergence over a
    vocabulary of 32,000, one program that goes over them once takes much less time; on small ones,
    or where PyTorch has a single kernel for the whole, it takes more. docs/benchmarks.md has times
    of all objectives.

    Compilation takes some seconds in each run: at the first batch, once more for validation, and
    for a batch of one example. Batch sizes, lengths of texts and temperatures may change all the
    time; other sizes, such as those of images, should stay. On a CPU a C++ compiler is needed, such
    as g++. The gradient can be taken once, without `retain_graph`.

    What is passed is copied, and copies of this are compiled too. (`objective.compile()`, which
    every module has, is lost in the copy that a run makes of its objective, and so is refused.) In
    a loop that is compiled as a whole, this is a part of it.

    Args:
        objective: What is computed, such as `SoftTargets(4)`; one, and no sum. It must leave its
            buffers as they are, which `CRD` and a projector with batch normalisation
            do not.

    Shape:
        As of the objective.

    Raises:
        ArgumentError: `objective` is none, is a sum, or stands around another itself; and at the
            first batch, where it changes its buffers, or cannot be compiled.

    >>> from tutelage.objectives import HardLabels, SoftTargets
    >>> HardLabels() + 0.9 * Compiled(SoftTargets(4))
    1 * HardLabels() + 0.9 * Compiled(SoftTargets(temperature=4))
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__(objective)
        if isinstance(objective, Around):
            raise ArgumentError(
                f"`objective` must be what is computed, and nothing around it, got {objective}; "
                "compile what is inside: tl.Selective(tl.Compiled(tl.SoftTargets(4)))"
            )
        self.objective = copy.deepcopy(objective)
        self._held = list(_hold_schedules(self.objective))
        self._program: Callable[..., Tensor] | None = None

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the objective's values, `[batch]`.

        Raises:
            ArgumentError: The objective cannot be compiled, or changes its buffers.
        """
        for each in self._held:
            each.hold(batch.progress)
        if torch.compiler.is_compiling():  # a larger program, of which this becomes a part
            return self.objective(student, teacher, batch)
        if self._program is None:
            self._program = _compiled()
        before = _versions(self.objective)
        sides = signals_of_any_size(student), signals_of_any_size(teacher)
        values = self._call(self._program, *sides, examples_of_any_size(batch))
        if _versions(self.objective) != before:
            raise ArgumentError(
                "an objective that is compiled must leave its buffers as they are, got "
                f"{self.objective}, which changes them: PyTorch's compiler may read them for the "
                "gradient after the change; use it without tl.Compiled"
            )
        return values

    def _call(self, program: Callable[..., Tensor], *given: Signals | Batch) -> Tensor:
        try:
            return program(self.objective, *given)
        except RuntimeError as error:
            if not is_of_compiler(error):
                raise
            cause = getattr(error, "inner_exception", error)
            raise ArgumentError(
                f"torch.compile failed on {self.objective} with {in_short(cause)}; on a CPU it "
                "needs a C++ compiler, such as g++: install one, or use it without tl.Compiled"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the program, which a copy makes anew."""
        return super().__getstate__() | {"_program": None}


def _values(objective: Objective, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
    return objective(student, teacher, batch)


_NUMBERS = count()


def _compiled() -> Callable[..., Tensor]:
    """Return a function like `_values` that is compiled when it is called."""
    # In code of its own, and with a name of its own: PyTorch counts the programs made of each piece
    # of code, and runs it uncompiled after the eighth; and it knows by name which sizes changed.
    name = f"{_values.__name__}_{next(_NUMBERS)}"
    return torch.compile(FunctionType(_values.__code__.replace(co_name=name), globals()))


class _Held(Schedule):
    """The value that another schedule had when it was last asked, in a tensor.

    A program would be made for each number that comes, but not for each content of a tensor.
    """

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.hold(0.0)

    def hold(self, progress: float) -> None:
        """Ask the other for its value at `progress`."""
        self.value = torch.tensor(self.schedule(progress), dtype=torch.float64)

    def __call__(self, progress: float) -> Any:
        return self.value

    @property
    def lowest(self) -> float:
        return self.schedule.lowest

    def __repr__(self) -> str:
        return repr(self.schedule)


def _hold_schedules(objective: Objective) -> Iterator[_Held]:
    """Put what can be set before each call in the place of each schedule."""
    for module in objective.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, Schedule) and not isinstance(value, Constant):
                held = _Held(value)
                setattr(module, name, held)
                yield held


def _versions(objective: Objective) -> list[int]:
    """Return numbers that grow when a buffer is changed in place."""
    counted = (buffer for buffer in objective.buffers() if not buffer.is_inference())
    return [buffer._version for buffer in counted]  # noqa: SLF001
