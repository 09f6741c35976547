"""What students cost as exported files, before any training, and what their teacher costs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.errors import ModelError, TutelageError
from tutelage.evaluation import Latency, latencies
from tutelage.evaluation.cost import bound, copied
from tutelage.evaluation.onnx_file import OnnxSession
from tutelage.exporting import Precision, as_exported, export
from tutelage.files import write_json
from tutelage.identity import digest, model_identity
from tutelage.nested import describe
from tutelage.signals import Batch
from tutelage.teachers import AnyTeacher, Teacher, as_teacher

_LOG = logging.getLogger("tutelage")
_SIZES = (1, 32)
_TEACHER = None  # its key beside the names
_NOISE = 1.1  # times of the same model differ so much


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
    parameters: int | None
    file_bytes: int | None = None


@dataclass(frozen=True)
class Costs:
    """What candidates cost, by name and the slowest first, and their teacher."""

    candidates: dict[str, Measured]
    teacher: Measured | None


def read_or_measure(
    file: Path,
    students: Mapping[str, Callable[[], nn.Module]],
    candidates: Mapping[str, Candidate],
    teacher: AnyTeacher,
    data: object,
) -> Costs:
    """Return what candidates cost as an earlier call measured it; else `measure` it, and keep that.

    Times are never the same twice, and decisions that rest on them would not be, either. They are
    measured again where students, their inputs or the threads are others than in that call.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - loaded where used

    made = {name: model_identity(_made(make), weights=False) for name, make in students.items()}
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
    found = measure(students, candidates, teacher, data)
    write_json(file, [asdict(found), given])
    return found


def measure(
    students: Mapping[str, Callable[[], nn.Module]],
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
    runs: dict[str | None, _Runs] = {}
    errors: dict[str, ModelError] = {}
    for name, each in candidates.items():
        try:
            runs[name] = _exported(_made(students[each.student]), data, each.precision)
        except ModelError as error:
            errors[name] = error
            _LOG.warning("Student %r is left out: %s", name, error)
    if not runs:
        name, error = next(iter(errors.items()))
        raise ModelError(
            f"at least one student must be exported to ONNX, got for {name!r}: {error}"
        ) from error
    try:
        runs[_TEACHER] = _of_teacher(teacher, data)
    except TutelageError as error:
        _LOG.info("The teacher is not timed: %s", error)
    times = _timed(runs)
    found = {
        name: Measured(each.parameters, each.file_bytes, times[name]) for name, each in runs.items()
    }
    of_teacher = found.pop(_TEACHER, None)
    named = {str(name): each for name, each in found.items()}
    return Costs(dict(sorted(named.items(), key=lambda pair: -pair[1].seconds)), of_teacher)


def _made(make: Callable[[], Any]) -> nn.Module:
    with randomness.preserved():
        randomness.seed_everything(0)
        model = make()
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"a student must be a PyTorch module, got {type(model).__name__}; let each of "
            "`students` be a function that returns one"
        )
    return model


def worthwhile(
    costs: Mapping[str, Measured],
    candidates: Mapping[str, Candidate],
    teacher: tuple[str, Measured] | None = None,
) -> list[str]:
    """Return the candidates but those in int8 that are not faster than in float32.

    `teacher` has the name of the student that is the teacher itself, and what that costs.
    """
    known = {**costs, **dict([teacher] if teacher else [])}

    def is_faster(name: str) -> bool:
        plain = known.get(candidates[name].student)
        if candidates[name].precision == "float32" or plain is None:
            return True
        return _NOISE * costs[name].seconds < plain.seconds

    return [name for name in costs if is_faster(name)]


def _exported(model: nn.Module, data: object, precision: Precision = "float32") -> _Runs:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        export(model, data, path, precision=precision, examples=max(_SIZES))
        content = path.read_bytes()
    with torch.no_grad():
        _, batches = as_exported(model, data, max(_SIZES))
    return _Runs(OnnxSession(content), batches[0], _parameters(model), len(content))


def _of_teacher(teacher: AnyTeacher, data: object) -> _Runs:
    if isinstance(teacher, nn.Module):
        try:
            return _exported(teacher, data)
        except ModelError as error:
            _LOG.info("The teacher is timed in PyTorch: %s", error)
    asked = as_teacher(teacher)
    batch = next(iter(as_source("data", data, max(_SIZES)).epoch(0)))
    parameters = None
    if asked.is_made_of_modules():
        parameters = _parameters(nn.ModuleList(asked.modules()))
    with asked.ready(torch.device("cpu")):
        bound(asked, batch[:1])()  # whether it can be called
    return _Runs(asked, batch, parameters)


def _parameters(model: nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())


class _Call(nn.Module):
    """A model with its inputs."""

    def __init__(self, runs: _Runs, size: int) -> None:
        super().__init__()
        self.parts = nn.ModuleList(runs.model.modules())
        self.call: partial[Any] = bound(runs.model, copied(runs.batch[:size]))

    def forward(self, _: Tensor) -> Any:
        return self.call()


def _timed(runs: Mapping[str | None, _Runs]) -> dict[str | None, tuple[Latency, ...]]:
    fewest = min(len(each.batch) for each in runs.values())
    found: dict[str | None, tuple[Latency, ...]] = dict.fromkeys(runs, ())
    for size in (each for each in _SIZES if each <= fewest):
        calls = {str(at): _Call(each, size) for at, each in enumerate(runs.values())}
        times = latencies(calls, torch.zeros(size, 1), [size])
        for name, each in zip(runs, times.values(), strict=True):
            found[name] = (*found[name], *each)
    return found
