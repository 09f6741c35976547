"""The results of a run or a study as plain data: the JSON beside every report.

A run is the case of one arm without seeds or controls.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import torch

from tutelage.errors import RunFolderError
from tutelage.evaluation import Calibration, Cost, Interval, Latency, NonInferiority, Reliability
from tutelage.evaluation.language import GenerationSpeed
from tutelage.files import write_whole
from tutelage.results.samples import ImageSample, TextSample
from tutelage.tasks.metrics import STANDARD
from tutelage.tasks.task import Residuals, TaskName

if TYPE_CHECKING:
    from pydantic import TypeAdapter

FORMAT = "tutelage report 4"
_PACKAGES = ("tutelage", "torch", "accelerate", "numpy")
TEACHER = "teacher"
"""The name of the teacher among arms, and its key among models."""
FRACTIONS = tuple(name for name, each in STANDARD.items() if each.fraction)
"""The standard metrics in [0, 1], which are shown in per cent."""


@dataclass(frozen=True)
class Tried:
    """One setting of a sweep."""

    setting: str  # in words
    value: float | None  # deciding metric on val, mean over the tuning seeds; None: it diverged
    is_beyond: bool = False  # whether it lies beyond the edge of what was to be tried at first


@dataclass(frozen=True)
class Edge:
    """A chosen number at the edge of those that were tried: the best may lie beyond."""

    name: str  # of the setting
    chosen: float
    values: tuple[float, ...]  # all that were tried, in order


@dataclass(frozen=True)
class Tuning:
    """What it took to choose an arm's setting."""

    steps: int | None  # optimizer steps of all trials; None where those of one are not known
    seconds: float  # training time of all trials
    further: int = 0  # how many settings beyond its grid it was allowed to try


@dataclass(frozen=True)
class Overlap:
    """What two data sets of a study have in common, compared by the inputs of their examples."""

    data: str  # the smaller one: "train", "val" or "test", perhaps of an arm or a seed
    other: str  # the larger one
    examples: int  # how many of the smaller one are in the larger one too
    of: int  # how many of the smaller one were compared; 0 if they could not be
    expected: float = 0.0  # how many of them duplicates within the larger one explain
    indices: tuple[int, ...] = ()  # some of them, as positions in the smaller one
    is_leak: bool = False  # whether they are more than duplicates and chance explain
    unchecked: str = ""  # what was not compared, in words


@dataclass(frozen=True)
class Curve:
    """A metric of each epoch where it was finite, of one training."""

    steps: tuple[int, ...]  # optimizer steps at the end of each epoch
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrialRecord:
    """One trained model."""

    seed: int | None = None  # of the repetition; None outside studies
    metrics: dict[str, float] = field(default_factory=dict)  # on the data that judge
    val: float | None = None  # a study's deciding metric on validation data
    train: dict[str, float] = field(default_factory=dict)  # fidelity on a sample of training data
    calibration: Calibration | None = None  # of a classifier with labelled data
    domains: dict[str, dict[str, float]] = field(default_factory=dict)  # metrics of each domain
    epochs: int | None = None  # how many were trained
    steps: int | None = None  # optimizer steps; None where that is not known
    best_epoch: int | None = None  # the epoch whose weights were kept
    seconds: float = 0.0  # training time
    curves: dict[str, Curve] = field(default_factory=dict)  # by name, from the log


@dataclass(frozen=True)
class ArmRecord:
    """One arm over all seeds; a run's student and a teacher are arms with one trial."""

    name: str
    trials: tuple[TrialRecord, ...]  # one for each seed
    is_control: bool = False  # whether the other arms are compared with it
    learns_from: str = ""  # in words
    settings: dict[str, Any] = field(default_factory=dict)  # what it was trained with
    model: str = ""  # which of the record's models it has: a key of `Record.models`
    tried: tuple[Tried, ...] = ()  # the settings of its sweep; the chosen one is the best
    edges: tuple[Edge, ...] = ()  # the chosen numbers that are at an edge of those tried
    tuning: Tuning | None = None  # None without a sweep
    # Mean softened probabilities for each true class over all seeds, zeros for one without
    # examples, and the correlation of these similarities with the teacher's.
    similarity: tuple[tuple[float, ...], ...] = ()
    similarity_correlation: float | None = None
    by_class: dict[int, float] = field(default_factory=dict)  # recall, or average precision
    reliability: Reliability | None = None  # of all seeds together
    residuals: tuple[Residuals, ...] = ()  # of each output that is a value, if few; first seed
    against: str | None = None  # the one control that it is compared with; None for all
    series: str = ""  # which line of the figure over `at` it belongs to
    at: float | None = None  # where on it
    # 95 %, over seeds and test examples, of metrics that are means over examples.
    intervals: dict[str, Interval] = field(default_factory=dict)

    def values(self, metric: str) -> tuple[float, ...]:
        """Return a metric of each seed; empty if any has none."""
        found = tuple(trial.metrics.get(metric) for trial in self.trials)
        return tuple(each for each in found if each is not None) if None not in found else ()

    @property
    def metrics(self) -> dict[str, float]:
        """The mean over seeds of each metric that all of them have."""
        return {
            name: fmean(self.values(name)) for name in self.trials[0].metrics if self.values(name)
        }


@dataclass(frozen=True)
class Comparison:
    """An arm against a control or the teacher, seed by seed; above zero the arm is better.

    `interval` is that of this difference alone. By `corrected` the arm is judged against the
    strongest control: its upper end is corrected for the number of controls, since the strongest is
    selected by the same test data, and both ends for the number of arms beside the primary one.
    """

    arm: str
    other: str  # the name of what it is compared with
    differences: tuple[float, ...]  # one for each seed, signed so that more is better
    interval: Interval | None = None  # 95 %; None where one seed or ties leave nothing to estimate
    corrected: Interval | None = None
    over: str = ""  # what varies in the interval: "seeds and examples", "examples" or "seeds"
    resolution: float = 0.0  # half of the least width that it can have with so few test examples
    seeds_needed: int | None = None  # for a power of 80 %; None where more would not show it
    non_inferiority: NonInferiority | None = None  # against the teacher


@dataclass(frozen=True)
class PartDifference:
    """The primary arm against its control, on the test examples of one domain or class."""

    kind: str  # "domain" or "class"
    name: str  # of the domain; the class id, or the class's name
    examples: int | None  # None where a class has parts of examples
    difference: float  # mean over seeds, signed so that more is better
    interval: Interval | None = None  # all of a kind hold together with 95 % (Bonferroni)


@dataclass(frozen=True)
class VariantRecord:
    """A cheaper form of a model: compiled, in fewer bits, in another runtime."""

    name: str
    reason: str  # why it could not be made or measured; "" if it was
    file_bytes: int | None = None  # its size, where it is a file of its own
    metric: float | None = None  # the deciding one
    latencies: tuple[Latency, ...] = ()  # for each batch size


@dataclass(frozen=True)
class ModelRecord:
    """What a model costs; reasons are in words, and "" where there is nothing to explain."""

    name: str  # for readers
    cost: Cost | None = None  # parameters, bytes, FLOPs; None for a teacher that is not a module
    latencies: tuple[Latency, ...] = ()  # for each batch size
    variants: tuple[VariantRecord, ...] = ()  # cheaper forms of it, if they were asked for
    untimed: str = ""  # why it was not timed
    uncounted: str = ""  # why FLOPs and memory, or without `cost` anything, were not measured
    generation: tuple[GenerationSpeed, ...] = ()  # of a language model, for each batch size
    ungenerated: str = ""  # why that was not measured
    device: str = "cpu"  # where it was measured


@dataclass(frozen=True)
class CandidateRecord:
    """A student that `compress` considered; without a value it was not trained."""

    name: str
    parameters: int | None
    file_bytes: int | None
    latencies: tuple[Latency, ...]  # as exported, for each batch size
    value: float | None = None  # the deciding metric on validation data
    gain: float | None = None  # its difference from the teacher's, signed so that more is better
    low: float | None = None  # the lower end of its 95 % interval over examples
    before: float | None = None  # the difference after the training before the longest
    steps: int | None = None  # of its longest training
    seconds: float | None = None  # that it took
    is_chosen: bool = False


@dataclass(frozen=True)
class SearchRecord:
    """How a student was found."""

    candidates: tuple[CandidateRecord, ...]  # the slowest first
    latencies: tuple[Latency, ...]  # of the teacher, exported where it can be; empty if unknown
    looks: int  # how many trained students were compared on validation data
    rounds: int
    seconds: float  # that the rounds took
    within: bool  # whether the chosen one was within the margin on validation data


@dataclass(frozen=True)
class DecidingMetric:
    """The deciding metric."""

    name: str  # such as "accuracy"
    higher: bool  # whether more is better
    is_fraction: bool = False  # whether it lies in [0, 1] and is shown in per cent

    @property
    def scale(self) -> float:
        """By what values are multiplied to be shown."""
        return 100.0 if self.is_fraction else 1.0


@dataclass(frozen=True)
class Record:
    """What a run or a study found."""

    title: str
    metric: DecidingMetric | None  # None for a run without metrics
    arms: tuple[ArmRecord, ...]  # in their order, controls first
    primary: str  # the arm that the verdict is about
    models: dict[str, ModelRecord]  # what they cost, by key; arms may share one
    examples: dict[str, int]  # how many there are in `val` and `test`, where known
    versions: dict[str, str]  # of what it was made with
    teacher: ArmRecord | None = None  # None also where it has no output that can be judged
    seeds: tuple[int, ...] = ()  # the repetitions; none for a run
    comparisons: tuple[Comparison, ...] = ()  # each arm against each control
    against_teacher: tuple[Comparison, ...] = ()  # each arm against the teacher
    parts: tuple[PartDifference, ...] = ()  # the primary arm against its control
    groups: int | None = None  # that the test examples form; None where they are independent
    chosen_by: str = ""  # how the primary arm was chosen, in words
    margin: float | None = None  # what a student may lose against the teacher, stated beforehand
    axis: str = ""  # what arms of a series stand along
    similarity_temperature: float = 4.0  # at which the similarities of classes are softened
    class_names: tuple[str, ...] = ()  # for readers; empty for numbers
    fractions: tuple[str, ...] = FRACTIONS  # the metrics that are shown in per cent
    command: str = ""  # what it was started with
    seconds: float = 0.0  # training time of all trials
    measured: bool = True  # whether the models were at hand; else it rests on the log alone
    unmeasured: str = ""  # why the teacher's output could not be measured
    finished: bool = True  # whether training has ended
    overlaps: tuple[Overlap, ...] = ()  # what each two data sets of a study have in common
    notes: tuple[str, ...] = ()  # what else a reader must know of a study, in sentences
    samples: tuple[ImageSample | TextSample, ...] = ()  # test examples to be looked at
    search: SearchRecord | None = None  # how the student was found, by `compress`
    task: TaskName = "classes"  # what outputs hold, the name of one of `tutelage.tasks.TASKS`
    format: Literal["tutelage report 4"] = FORMAT

    def arm(self, name: str) -> ArmRecord:
        """Return an arm by its name."""
        return next(each for each in self.arms if each.name == name)

    @property
    def controls(self) -> tuple[ArmRecord, ...]:
        """The arms that the others are compared with."""
        return tuple(each for each in self.arms if each.is_control)

    def strongest_control(self) -> ArmRecord | None:
        """Return the control that does best on the test data; None without controls.

        To choose it by the test data can only make it look stronger. That makes a gain over it
        harder to show, and a loss easier, for which `Comparison.corrected` accounts.
        """
        if self.metric is None:
            return None
        name, sign = self.metric.name, 1 if self.metric.higher else -1
        known = [arm for arm in self.controls if arm.values(name)]
        return max(known, key=lambda arm: sign * fmean(arm.values(name)), default=None)

    def control_of(self, arm: str) -> ArmRecord | None:
        """Return the control that an arm is compared with: its own, else the strongest."""
        own = self.arm(arm).against
        return self.strongest_control() if own is None else self.arm(own)

    @property
    def is_run(self) -> bool:
        """Whether this is one run, judged on the validation data that its epoch was selected on."""
        return not self.seeds

    @property
    def leaks(self) -> tuple[Overlap, ...]:
        """What two data sets have in common beyond duplicates, where the user insisted on it."""
        return tuple(each for each in self.overlaps if each.is_leak)

    def model_of(self, arm: ArmRecord | None) -> ModelRecord | None:
        """Return what an arm's, or the teacher's, model costs; None if that is not known."""
        return None if arm is None else self.models.get(arm.model)

    def is_fraction(self, metric: str) -> bool:
        """Return whether a metric, perhaps of a domain, is shown in per cent."""
        return metric.split("/", 1)[0] in self.fractions

    def scale(self, metric: str) -> float:
        """Return by what values of a metric are multiplied to be shown: 100 for per cent."""
        return 100.0 if self.is_fraction(metric) else 1.0

    def class_name(self, number: int) -> str:
        """Return the name of a class: its number where there is no name."""
        return self.class_names[number] if number < len(self.class_names) else str(number)

    def judged(self) -> Mapping[str, ArmRecord]:
        """Return teacher (if any) and arms by name, in the order of tables."""
        everyone = self.arms if self.teacher is None else (self.teacher, *self.arms)
        return {each.name: each for each in everyone}


def curves(history: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Return the metrics of each epoch over steps, without those that are not finite."""
    names = dict.fromkeys(name for epoch in history for name in epoch)
    found = {}
    for name in names:
        rows = [
            (epoch["step"], epoch[name])
            for epoch in history
            if isinstance(epoch.get(name), (int, float)) and math.isfinite(epoch[name])
        ]
        if rows and (name == "lr" or name.startswith(("train/", "val/"))):
            steps, values = zip(*rows, strict=True)
            found[name] = Curve(steps, values)
    return found


def finite(metrics: Mapping[str, float | None]) -> dict[str, float]:
    """Return the metrics that are finite."""
    return {
        name: value for name, value in metrics.items() if value is not None and math.isfinite(value)
    }


def versions() -> dict[str, str]:
    """Return what this was made with."""
    return _package_versions() | {
        "python": platform.python_version(),
        "system": f"{platform.system()} on {platform.machine()}",
        "threads": str(torch.get_num_threads()),
    }


@cache
def _package_versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


def write_record(record: Record, path: Path) -> Path:
    """Write a record as JSON; return the path."""
    write_texts({path: to_json(record)})
    return path


def read_record(path: Path) -> Record:
    """Read a record back.

    Raises:
        RunFolderError: The file is not a record that this version reads.
    """
    from pydantic import ValidationError  # noqa: PLC0415 - loaded where used

    try:
        return _form().validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunFolderError(
            f"{path} must be a record of the format {FORMAT!r}, got {error}; make it again: call "
            "the study again, whose finished trials are not repeated, or report() of the run"
        ) from error


def to_json(record: Record) -> str:
    """Return a record as JSON."""
    return _form().dump_json(record, indent=2).decode() + "\n"


@cache  # made from the types of all fields, which takes longer than to read or write a record
def _form() -> TypeAdapter[Record]:
    from pydantic import TypeAdapter  # noqa: PLC0415 - loaded where used

    return TypeAdapter(Record)


def write_texts(contents: Mapping[Path, str]) -> None:
    """Write the files of a report, each atomically.

    Raises:
        RunFolderError: One cannot be written.
    """
    for path, text in contents.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode())
        except OSError as error:
            raise RunFolderError(
                f"the report must be written to {path}, got {error}; choose another path"
            ) from error
