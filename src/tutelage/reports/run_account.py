"""All that the page of a run tells, to be written as JSON and read again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from tutelage.evaluation import Cost, Latency
from tutelage.reports.run_record import Confidence, Misses, ModelFigures, RunFigures, RunRecord

_PACKAGES = {"tutelage": "tutelage", "torch": "PyTorch", "accelerate": "Accelerate"}


@dataclass(frozen=True)
class RunAccount:
    """What is told of a run.

    Args:
        settings: What makes this run this run, as in `run.json`.
        versions: Of what it ran with.
        history: One record for each epoch.
        best_epoch: The epoch whose weights the student has.
        figures: Measured, or what the log tells.
        measured: Whether the figures were measured with the models at hand.
        finished: Whether the run has ended.
    """

    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    figures: RunFigures
    measured: bool = True
    finished: bool = True

    @staticmethod
    def of(run: RunRecord, figures: RunFigures) -> RunAccount:
        """Return the account of a finished run and what was measured of it."""
        versions = {name: version(name) for name in _PACKAGES}
        versions["python"] = platform.python_version()
        return RunAccount(run.settings, versions, run.history, run.best_epoch, figures)

    @property
    def student(self) -> str:
        """The student's class; its settings begin with it."""
        return str(self.settings["student"]).split(" ", 1)[0]

    @property
    def distilled(self) -> bool:
        """Whether there was a teacher."""
        return self.settings.get("teacher") is not None

    def record(self) -> dict[str, Any]:
        """Return the account as JSON can hold it."""
        return {
            "run": dict(self.settings),
            "made_with": dict(self.versions),
            "finished": self.finished,
            "measured": self.measured,
            "best_epoch": self.best_epoch,
            "figures": asdict(self.figures),
            "history": [dict(epoch) for epoch in self.history],
        }


def read_figures(record: Mapping[str, Any]) -> RunFigures:
    """Return the figures of a record, read from JSON.

    Raises:
        KeyError: One is missing.
        TypeError: There is one too many, or it is of another kind.
    """
    teacher = record["teacher"]
    return RunFigures(
        _model(record["student"]),
        None if teacher is None else _model(teacher),
        record["examples"],
        tuple(Misses(tuple(each["true"]), tuple(each["predicted"])) for each in record["misses"]),
    )


def _model(record: Mapping[str, Any]) -> ModelFigures:
    cost, confidence = record["cost"], record["confidence"]
    return ModelFigures(
        {name: _number(value) for name, value in record["quality"].items()},
        None if cost is None else Cost(**cost),
        tuple(Latency(**each) for each in record["latencies"]),
        None if confidence is None else _confidence(confidence),
        record["kl"],
        record["modules"],
    )


def _confidence(record: Mapping[str, Any]) -> Confidence:
    return Confidence(
        _number(record["nll"]),
        _number(record["ece"]),
        tuple((_number(x), _number(y), _number(share)) for x, y, share in record["bins"]),
        {int(name): _number(value) for name, value in record["by_class"].items()},
    )


def _number(value: float | None) -> float:
    """Return a number as JSON holds it: null is NaN."""
    return math.nan if value is None else value
