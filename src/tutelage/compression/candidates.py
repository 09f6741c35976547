"""What students cost as exported files, before any training, and what their teacher costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from tutelage.data import as_source, randomness
from tutelage.errors import ModelError, TutelageError
from tutelage.evaluation import Latency
from tutelage.evaluation.cost import call_of, copied, in_turns
from tutelage.exporting import Precision, as_exported, drafts, typical
from tutelage.files import write_json
from tutelage.identity import digest, model_identity
from tutelage.nested import describe
from tutelage.signals import Batch
from tutelage.studies.plan import student_for
from tutelage.teachers import AnyTeacher, Teacher, as_teacher

_LOG = logging.getLogger("tutelage.compression")
_SIZES = (1, 32)
FASTER = 1.1
"""By how much times must differ, since those of the same model do by nearly so much."""


@dataclass(frozen=True)
class Candidate:
    """A student as a file of one precision.

    Args:
        student: Its name.
        precision: As for `export`.
    """

    student: str
    precision: Precision

    def __str__(self) -> str:
        """Return the name: of one in float32 the student's own."""
        return self.student if self.precision == "float32" else f"{self.student}, {self.precision}"


@dataclass(frozen=True)
class Measured:
    """What a model costs as an exported file, on this machine.

    Args:
        parameters: Their number; None of a teacher that is not a module.
        file_bytes: The size of the file; None of a teacher that could not be exported.
        latencies: For a batch of 1, and of 32 where there are as many examples.
    """

    parameters: int | None
    file_bytes: int | None
    latencies: tuple[Latency, ...]

    @property
    def seconds(self) -> float:
        """The median time for one example."""
        return self.latencies[0].median


@dataclass(frozen=True)
class _Runs:
    """A model that can be timed, and the inputs that it takes."""

    model: nn.Module | Teacher
    batch: Batch
    alone: Batch
    parameters: int | None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Costs:
    """What candidates cost, by name and the slowest first, and their teacher."""

    candidates: dict[str, Measured]
    teacher: Measured | None


def read_or_measure(
    file: Path,
    students: Mapping[str, Callable[[], nn.Module] | nn.Module],
    candidates: Mapping[str, Candidate],
    teacher: AnyTeacher,
    data: object,
) -> Costs:
    """Return what candidates cost as an earlier call measured it; else `measure` it, and keep that.

    Times are never the same twice, and decisions that rest on them would not be, either. They are
    measured again where students, their inputs or the threads are others than in that call.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - loaded where used

    made = {
        name: model_identity(student_for(make, 0), weights=False) for name, make in students.items()
    }
    batch = next(iter(as_source("val", data, max(_SIZES)).epoch(0)))
    given = digest(
        *(f"{name} {each}" for name, each in made.items()),
        as_teacher(teacher).fingerprint(),
        describe(batch.inputs),
        f"{torch.get_num_threads()} {[*candidates]}",
    )
    try:
        kept, of = TypeAdapter(tuple[Costs, str]).validate_json(file.read_bytes())
        if of == given:
            return kept
    except (FileNotFoundError, ValidationError):
        pass
    _LOG.info("Exporting and timing %d files and the teacher", len(candidates))
    found = measure(students, candidates, teacher, data)
    write_json(file, [asdict(found), given])
    return found


def measure(
    students: Mapping[str, Callable[[], nn.Module] | nn.Module],
    candidates: Mapping[str, Candidate],
    teacher: AnyTeacher,
    data: object,
) -> Costs:
    """Measure what candidates cost, which training does not change.

    All are timed in turns. Those that cannot be exported are left out, with a warning. A teacher
    is exported too if it is a module that can be; else it is timed as it is called, and is None if
    it cannot be, as stored targets.

    Raises:
        ModelError: No student can be exported.
    """
    runs: dict[str, _Runs] = {}
    errors: dict[str, ModelError] = {}
    for student, make in students.items():
        names: dict[Precision, str] = {
            each.precision: name for name, each in candidates.items() if each.student == student
        }
        try:
            with randomness.preserved(), torch.no_grad():
                for precision, each in _exported(student_for(make, 0), data, [*names]):
                    runs[names.pop(precision)] = each
        except ModelError as error:
            for name in names.values():
                errors[name] = error
                _LOG.warning("Student %r is left out: %s", name, error)
    if not runs:
        name, error = next(iter(errors.items()))
        raise ModelError(
            f"at least one student must be exported to ONNX, got for {name!r}: {error}"
        ) from error
    every = [*runs.values()]
    try:
        every.append(_of_teacher(teacher, data))
    except TutelageError as error:
        _LOG.info("The teacher is not timed: %s", error)
    found = [
        Measured(each.parameters, each.file_bytes, times)
        for each, times in zip(every, _timed(every), strict=True)
    ]
    of_teacher = found.pop() if len(found) > len(runs) else None
    costs = sorted(zip(runs, found, strict=True), key=lambda pair: -pair[1].seconds)
    return Costs(dict(costs), of_teacher)


def worthwhile(
    costs: Mapping[str, Measured],
    candidates: Mapping[str, Candidate],
    teacher: tuple[str, Measured] | None = None,
) -> list[str]:
    """Return the names of the candidates, without files in int8 that are hardly faster.

    They must be a tenth faster than the same student's in float32. `teacher`: the name of the
    student with all of the teacher's layers, which is a candidate in int8 alone, and what the
    teacher costs.
    """
    known = {**costs, **dict([teacher] if teacher else [])}

    def is_faster(name: str) -> bool:
        plain = known.get(candidates[name].student)
        if candidates[name].precision == "float32" or plain is None:
            return True
        return FASTER * costs[name].seconds < plain.seconds

    return [name for name in costs if is_faster(name)]


def _exported(
    model: nn.Module, data: object, precisions: Sequence[Precision]
) -> Iterator[tuple[Precision, _Runs]]:
    """Yield the file of each precision."""
    own, batches, alone = as_exported(model, data, max(_SIZES))
    count = parameter_count(model)
    for each in drafts(own, batches, precisions):
        yield each.precision, _Runs(each.session, batches[0], alone, count, len(each.content))


def _of_teacher(teacher: AnyTeacher, data: object) -> _Runs:
    if isinstance(teacher, nn.Module):
        try:
            with randomness.preserved(), torch.no_grad():
                [(_, found)] = _exported(teacher, data, ["float32"])
            return found
        except ModelError as error:
            _LOG.info("The teacher is timed in PyTorch: %s", error)
    asked = as_teacher(teacher)
    batch = next(iter(as_source("data", data, max(_SIZES)).epoch(0)))
    parameters = None
    if asked.is_made_of_modules():
        parameters = parameter_count(nn.ModuleList(asked.modules()))
    with asked.ready(torch.device("cpu")):
        call_of(asked, batch[:1])()  # whether it can be called
    return _Runs(asked, batch, typical(batch), parameters)


def parameter_count(model: nn.Module) -> int:
    """Return the number of a model's parameters."""
    return sum(each.numel() for each in model.parameters())


def _timed(runs: Sequence[_Runs]) -> list[tuple[Latency, ...]]:
    """Time all in turns, in each size of which there are enough examples."""
    fewest = min(len(each.batch) for each in runs)
    with ExitStack() as stack, torch.inference_mode():
        for each in runs:
            if isinstance(each.model, Teacher):
                stack.enter_context(each.model.ready(torch.device("cpu")))
        found = list[dict[int, Latency]]()
        for size in (each for each in _SIZES if each <= fewest):
            given = [each.alone if size == 1 else each.batch[:size] for each in runs]
            calls = [
                call_of(run.model, copied(batch)) for run, batch in zip(runs, given, strict=True)
            ]
            found.append(in_turns(dict(enumerate(calls)), size))
    return [tuple(times[at] for times in found) for at in range(len(runs))]
