"""A run's record, read from its folder without the code of its models.

`run.json` holds settings and versions, `metrics.jsonl` the log, `best-EPOCH.safetensors` and
`student.safetensors` weights. `report.json` has what was measured with the
models and is used if it belongs to this very run; otherwise the record is made from the log.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tutelage.errors import RunFolderError
from tutelage.evaluation import Cost
from tutelage.results.record import ModelRecord, Record, read_record
from tutelage.results.summary import finite
from tutelage.training.record import (
    STUDENT,
    decided,
    joined_history,
    joined_settings,
    logged_record,
)

_BEST = re.compile(r"best-(\d+)\.safetensors")


def read_run(folder: Path) -> Record:
    """Return the record of a run's folder: what was measured before, else what was logged."""
    logged, report = _read(folder), folder / "report.json"
    if not report.exists():
        return logged
    found = read_record(report)
    ours, theirs = found.arms[0], logged.arms[0]
    # A report of another run in the same folder, or of fewer epochs, does not describe this one.
    same = ours.settings == theirs.settings and ours.trials[0].curves == theirs.trials[0].curves
    same = same and ours.trials[0].best_epoch == theirs.trials[0].best_epoch
    return found if same and found.measured and logged.finished else logged


@dataclass(frozen=True)
class _Found:
    """The content of the folder of one training, or of several stages."""

    settings: dict[str, Any]
    versions: dict[str, str]
    history: list[dict[str, Any]]
    best_epoch: int
    weights: Path | None


def _read(folder: Path) -> Record:
    found = _training(folder)
    record = logged_record(found.settings, found.history, found.best_epoch, found.versions)
    best = next(each for each in found.history if each["epoch"] == found.best_epoch)
    metrics = finite({key[4:]: each for key, each in best.items() if key.startswith("val/")})
    own = {key: each for key, each in metrics.items() if "/" not in key and key != "loss"}
    student = record.arm(STUDENT)
    student = replace(student, trials=(replace(student.trials[0], metrics=own),))
    cost = None if found.weights is None else _cost(found.weights)
    return decided(
        replace(
            record,
            arms=(student,),
            models={STUDENT: ModelRecord(STUDENT, cost)},
            measured=False,
            finished=(folder / "student.safetensors").exists(),
        )
    )


def _training(folder: Path) -> _Found:
    """Read the folder of a training, or of the stages that have begun."""
    path = folder / "run.json"
    expected = f"{folder} must be the folder that `distill(..., out=...)` made, with a run.json"
    with _reading(path, expected):
        run = json.loads(path.read_text(encoding="utf-8"))
        settings, made_with = dict(run["run"]), dict(run["made_with"])
        names = list(settings.pop("stages", ()))
        _require(settings, *(("objective",) if names else ("student", "objective")))
    if names:
        return _stages(folder, names, settings)
    history = _history(folder / "metrics.jsonl")
    best = _best_epoch(folder, history)
    files = (folder / "student.safetensors", folder / f"best-{best}.safetensors")
    weights = next((file for file in files if file.exists()), None)
    return _Found(settings, made_with, history, best, weights)


def _stages(folder: Path, names: list[str], planned: dict[str, Any]) -> _Found:
    """Read the stages as far as they have come; the first must have begun."""
    logs = {name: folder / name / "metrics.jsonl" for name in names[1:]}
    has_epochs = [
        name
        for name, log in logs.items()
        if log.exists() and b'"kind": "epoch"' in log.read_bytes()
    ]
    stages = {name: _training(folder / name) for name in (names[0], *has_epochs)}
    *earlier, last = stages.values()
    return replace(
        last,
        settings=joined_settings({name: each.settings for name, each in stages.items()}, planned),
        history=joined_history({name: each.history for name, each in stages.items()}),
        best_epoch=last.best_epoch + sum(len(each.history) for each in earlier),
    )


def _history(log: Path) -> list[dict[str, Any]]:
    """Return the log's epochs; a last line that is being written does not count yet."""
    with _reading(log, f"{log} must hold the run's log"):
        *lines, _unfinished = log.read_bytes().split(b"\n")
        records = [json.loads(line) for line in lines]
        epochs = [  # as the run had them: JSON's null was NaN or infinite
            {key: math.nan if value is None else value for key, value in each.items()}
            for each in records
            if each["kind"] == "epoch"
        ]
        for each in epochs:
            del each["kind"]
            _require(each, "epoch", "step", "train/loss")
    if not epochs:
        raise RunFolderError(
            f"{log} must contain one epoch at least, got none; wait until the first one is done"
        )
    return epochs


def _best_epoch(folder: Path, history: Sequence[Mapping[str, Any]]) -> int:
    """Return the epoch whose weights are kept, from the file's name if there was validation."""
    logged = [epoch["epoch"] for epoch in history]
    found = (_BEST.fullmatch(path.name) for path in folder.glob("best-*.safetensors"))
    kept = [int(match[1]) for match in found if match is not None]
    return max((epoch for epoch in kept if epoch in logged), default=logged[-1])


def _cost(weights: Path) -> Cost:
    """Count the numbers in a safetensors file, without reading them."""
    with _reading(weights), safe_open(weights, "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
        return Cost(sum(math.prod(shape) for shape in shapes), weights.stat().st_size)


def _require(record: Mapping[str, Any], *keys: str) -> None:
    """Raise a KeyError for what the record cannot do without."""
    for key in keys:
        if key not in record:
            raise KeyError(key)


@contextmanager
def _reading(path: Path, expected: str = "") -> Iterator[None]:
    """Turn what goes wrong in reading a file into an error; `expected` is for a file not there."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if expected and isinstance(error, OSError):
            why = (error.strerror or str(error)).lower()
            raise RunFolderError(f"{expected}, got {why}; give the folder of a run") from error
        raise RunFolderError(
            f"{path} must be as the run wrote it, got a damaged file ({type(error).__name__}: "
            f"{error}); bring it back, or remove what was not written by the run"
        ) from error
