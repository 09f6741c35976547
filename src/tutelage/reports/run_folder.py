"""The page of a run from its folder alone, without the code of its models.

The folder is the one that training writes: `run.json` (settings and versions), `metrics.jsonl` (the
log), `best-EPOCH.safetensors` and `student.safetensors` (weights). What `report.json` says was
measured with the models at hand is taken over, if it is there; else the log has to do.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tutelage.errors import RunFolderError
from tutelage.evaluation import Cost
from tutelage.reports.run_account import RunAccount, read_figures
from tutelage.reports.run_page import run_page
from tutelage.reports.run_record import ModelFigures, RunFigures
from tutelage.reports.run_stages import joined_history, joined_settings
from tutelage.reports.writing import check_path, write_report

_HEAD_BYTES = 8
_BEST = re.compile(r"best-(\d+)\.safetensors")


def report_run(folder: Path, path: Path | None = None) -> Path:
    """Write the page of a finished or still running run, with Markdown and JSON beside it.

    Args:
        folder: What `distill(..., out=folder)` made.
        path: Where, ending in `.html`; None for `report.html` in the folder.

    Returns:
        The page's path.

    Raises:
        RunFolderError: The folder holds no run, or a file of it is missing or damaged.
        ArgumentError: The path cannot be that of a report.
    """
    path = folder / "report.html" if path is None else path
    check_path(path)
    account = read_run(folder)
    return write_report(run_page(account), path, account.record())


def read_run(folder: Path) -> RunAccount:
    """Return what a run's folder tells of it.

    Raises:
        RunFolderError: The folder holds no run, or a file of it is missing or damaged.
    """
    run = _object(folder / "run.json")
    try:
        settings, versions = dict(run["run"]), dict(run["made_with"])
        stages = list(settings.get("stages", ()))
        _require(settings, *(("objective",) if stages else ("student", "objective")))
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(folder / "run.json", error) from error
    account = _stages(folder, settings) if stages else _plain(folder, settings, versions)
    figures = _measured(folder / "report.json", account)
    if figures is not None:
        return replace(account, figures=figures, measured=True)
    return replace(account, figures=_logged(folder, account))


def _plain(folder: Path, settings: dict[str, Any], versions: dict[str, str]) -> RunAccount:
    """Return what the log tells of a run that is one training."""
    history = _history(folder / "metrics.jsonl")
    return RunAccount(
        settings,
        versions,
        history,
        _best_epoch(folder, history),
        RunFigures(ModelFigures()),
        measured=False,
        finished=(folder / "student.safetensors").exists(),
    )


def _stages(folder: Path, planned: dict[str, Any]) -> RunAccount:
    """Return what the logs tell of a run in stages, as far as it has come."""
    first, *later = planned.pop("stages")
    begun = [first, *(each for each in later if _has_epochs(folder / each / "metrics.jsonl"))]
    accounts = {name: read_run(folder / name) for name in begun}
    *earlier, last = accounts.values()
    return replace(
        last,
        settings=joined_settings({name: each.settings for name, each in accounts.items()}, planned),
        history=joined_history({name: each.history for name, each in accounts.items()}),
        best_epoch=last.best_epoch + sum(len(each.history) for each in earlier),
        finished=(folder / "student.safetensors").exists(),
    )


def _object(path: Path) -> Mapping[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunFolderError(
            f"{path.parent} must be the folder that `distill(..., out=...)` made, got none with a "
            f"{path.name} ({_why(error)}); give the folder of a run"
        ) from error
    except ValueError as error:
        raise _damaged(path, error) from error
    if not isinstance(content, dict):
        raise _damaged(path, TypeError(f"a {type(content).__name__}"))
    return content


def _history(log: Path) -> list[dict[str, Any]]:
    """Return the log's epochs; a last line that is being written does not count yet."""
    try:
        *lines, unfinished = log.read_bytes().split(b"\n")
    except OSError as error:
        raise RunFolderError(
            f"{log} must hold the run's log, got {_why(error)}; without it there is nothing to tell"
        ) from error
    del unfinished
    try:
        records = [json.loads(line) for line in lines]
        epochs = [_epoch(each) for each in records if each["kind"] == "epoch"]
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(log, error) from error
    if not epochs:
        raise RunFolderError(
            f"{log} must tell of one epoch at least, got none; wait until the first one is done"
        )
    return epochs


def _has_epochs(log: Path) -> bool:
    """Tell whether a stage has begun and has something to tell."""
    return log.exists() and b'"kind": "epoch"' in log.read_bytes()


def _epoch(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return an epoch as the run had it: JSON's null was NaN or infinite."""
    _require(record, "epoch", "step", "train/loss")
    return {
        key: math.nan if value is None else value for key, value in record.items() if key != "kind"
    }


def _best_epoch(folder: Path, history: Sequence[Mapping[str, Any]]) -> int:
    """Return whose weights are kept: the file says it, where there was validation."""
    logged = [epoch["epoch"] for epoch in history]
    found = (_BEST.fullmatch(path.name) for path in folder.glob("best-*.safetensors"))
    kept = [int(match[1]) for match in found if match is not None]
    return max((epoch for epoch in kept if epoch in logged), default=logged[-1])


def _measured(path: Path, account: RunAccount) -> RunFigures | None:
    """Return what was measured of this very run, if that was written; None if it was not."""
    if not path.exists():
        return None
    record = _object(path)
    same = record.get("run") == account.settings and record.get("best_epoch") == account.best_epoch
    if not same or not record.get("measured"):
        return None
    try:
        return read_figures(record["figures"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, error) from error


def _logged(folder: Path, account: RunAccount) -> RunFigures:
    """Return the figures that the log has for the best epoch, and the size of its weights."""
    epoch = next(each for each in account.history if each["epoch"] == account.best_epoch)
    quality = {
        key.removeprefix("val/"): value for key, value in epoch.items() if key.startswith("val/")
    }
    files = (folder / "student.safetensors", folder / f"best-{account.best_epoch}.safetensors")
    weights = next((file for file in files if file.exists()), None)
    val = account.settings.get("val")
    examples = val.get("examples", 0) if isinstance(val, dict) else 0
    return RunFigures(
        ModelFigures(quality, None if weights is None else _cost(weights)), examples=examples
    )


def _cost(weights: Path) -> Cost:
    """Count the numbers in a safetensors file by what its head says: they are not read."""
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(_HEAD_BYTES), "little")
            size = weights.stat().st_size
            if length > size:
                raise ValueError("its head is longer than the file")
            head = json.loads(file.read(length))
        shapes = [each["shape"] for name, each in head.items() if name != "__metadata__"]
        return Cost(sum(math.prod(shape) for shape in shapes), size)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(weights, error) from error


def _require(record: Mapping[str, Any], *keys: str) -> None:
    """Raise a KeyError for what the page cannot do without."""
    for key in keys:
        if key not in record:
            raise KeyError(key)


def _damaged(path: Path, error: Exception) -> RunFolderError:
    return RunFolderError(
        f"{path} must be as the run wrote it, got a damaged file ({type(error).__name__}: "
        f"{error}); bring it back, or remove what was not written by the run"
    )


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
