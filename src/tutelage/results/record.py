"""The results of a run or a study as plain data: the JSON beside every report.

A run is the case of one arm without seeds or controls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from tutelage.errors import RunFolderError
from tutelage.evaluation import Calibration, Cost, Interval, Latency, NonInferiority, Reliability
from tutelage.evaluation.language import GenerationSpeed
from tutelage.files import write_whole
from tutelage.results.samples import ImageSample, TextSample
from tutelage.tasks.metrics import STANDARD
from tutelage.tasks.task import Residuals, TaskName

FORMAT = "tutelage report 4"
FRACTIONS = tuple(name for name, each in STANDARD.items() if each.fraction)
"""The standard metrics in [0, 1], which are shown in per cent."""


@dataclass(frozen=True)
class Tried:
    """One setting of a sweep.

    Args:
        setting: In words.
        value: The deciding metric on validation data, the mean over the tuning seeds; None where
            training diverged.
        is_beyond: Whether it lies beyond the edge of what was to be tried at first.
    """

    setting: str
    value: float | None
    is_beyond: bool = False


@dataclass(frozen=True)
class Edge:
    """A chosen number at the edge of those that were tried: the best may lie beyond.

    Args:
        name: Of the setting.
        chosen: Its value.
        values: All that were tried, in order.
    """

    name: str
    chosen: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Tuning:
    """What it took to choose an arm's setting.

    Args:
        steps: Optimizer steps of all trials; None where those of one are not known.
        seconds: Training time of all trials.
        further: How many settings beyond its grid it was allowed to try.
    """

    steps: int | None
    seconds: float
    further: int = 0


@dataclass(frozen=True)
class Overlap:
    """What two data sets of a study have in common, compared by the inputs of their examples.

    Args:
        data: The smaller one: "train", "val" or "test", perhaps of an arm or a seed.
        other: The larger one.
        examples: How many of the smaller one are in the larger one too.
        of: How many of the smaller one were compared; 0 if they could not be.
        expected: How many of them duplicates within the larger one explain.
        indices: Some of them, as positions in the smaller one.
        is_leak: Whether they are more than duplicates and chance explain.
        unchecked: What was not compared, in words; empty if all was.
    """

    data: str
    other: str
    examples: int
    of: int
    expected: float = 0.0
    indices: tuple[int, ...] = ()
    is_leak: bool = False
    unchecked: str = ""


@dataclass(frozen=True)
class Curve:
    """A metric of each epoch where it was finite, of one training.

    Args:
        steps: Optimizer steps at the end of each epoch.
        values: One for each of them.
    """

    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class TrialRecord:
    """One trained model.

    Args:
        seed: Of the repetition; None outside studies.
        metrics: On the data that judge, by name.
        val: A study's deciding metric on validation data, if there is any.
        train: Fidelity to the teacher on a sample of the training data.
        calibration: Of a classifier with labelled data.
        domains: Metrics of each domain: `domains["photo"]["accuracy"]`.
        epochs: How many were trained.
        steps: Optimizer steps; None where that is not known.
        best_epoch: The epoch whose weights were kept.
        seconds: Training time.
        curves: By name, from the log.
    """

    seed: int | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    val: float | None = None
    train: dict[str, float] = field(default_factory=dict)
    calibration: Calibration | None = None
    domains: dict[str, dict[str, float]] = field(default_factory=dict)
    epochs: int | None = None
    steps: int | None = None
    best_epoch: int | None = None
    seconds: float = 0.0
    curves: dict[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmRecord:
    """One arm over all seeds; a run's student and a teacher are arms with one trial.

    Args:
        name: Of the arm.
        trials: One for each seed.
        is_control: Whether the other arms are compared with it.
        learns_from: In words.
        settings: What it was trained with.
        model: Which of the record's models it has: a key of `Record.models`.
        tried: The settings of its sweep; the chosen one is the best.
        edges: The chosen numbers that are at an edge of those tried.
        tuning: What choosing took; None without a sweep.
        similarity: Mean softened probabilities for each true class, over all seeds; zeros for a
            class without examples.
        similarity_correlation: Of its similarities with the teacher's.
        by_class: Recall of each class (average precision of each binary label), over all seeds.
        reliability: Of all seeds together.
        residuals: Of each output that is a value, if they are few; first seed.
        against: The one control that it is compared with; None for all.
        series: Which line of the figure over `at` it belongs to.
        at: Where on it.
        intervals: 95 %, over seeds and test examples, of metrics that are means over examples.
    """

    name: str
    trials: tuple[TrialRecord, ...]
    is_control: bool = False
    learns_from: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    tried: tuple[Tried, ...] = ()
    edges: tuple[Edge, ...] = ()
    tuning: Tuning | None = None
    similarity: tuple[tuple[float, ...], ...] = ()
    similarity_correlation: float | None = None
    by_class: dict[int, float] = field(default_factory=dict)
    reliability: Reliability | None = None
    residuals: tuple[Residuals, ...] = ()
    against: str | None = None
    series: str = ""
    at: float | None = None
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

    Args:
        arm: Its name.
        other: The name of what it is compared with.
        differences: One for each seed, signed so that more is better.
        interval: 95 %, of this difference alone; None where one seed or ties leave nothing to
            estimate it from.
        corrected: The interval by which the arm is judged against the strongest control: its upper
            end is corrected for the number of controls, since the strongest is selected by the
            same test data, and both ends for the number of arms beside the primary one.
        over: What varies in the interval: "seeds and examples", "examples" or "seeds".
        resolution: Half of the least width that an interval of so few test examples can have.
        seeds_needed: How many seeds it takes to see this difference with a power of 80 %; None
            where there is no difference, or more seeds alone would not show it.
        non_inferiority: Against the teacher, whether it is no worse than the margin.
    """

    arm: str
    other: str
    differences: tuple[float, ...]
    interval: Interval | None = None
    corrected: Interval | None = None
    over: str = ""
    resolution: float = 0.0
    seeds_needed: int | None = None
    non_inferiority: NonInferiority | None = None


@dataclass(frozen=True)
class PartDifference:
    """The primary arm against its control, on the test examples of one domain or class.

    Args:
        kind: "domain" or "class".
        name: Of the domain; the class id, or the class's name.
        examples: How many; None where a class has parts of examples.
        difference: Mean over seeds, signed so that more is better.
        interval: Its interval; all those of a kind hold together with 95 % (Bonferroni).
    """

    kind: str
    name: str
    examples: int | None
    difference: float
    interval: Interval | None = None


@dataclass(frozen=True)
class VariantRecord:
    """A cheaper form of a model: compiled, in fewer bits, in another runtime.

    Args:
        name: Which.
        reason: Why it could not be made or measured; "" if it was.
        file_bytes: Its size, where it is a file of its own.
        metric: The deciding metric.
        latencies: For each batch size.
    """

    name: str
    reason: str
    file_bytes: int | None = None
    metric: float | None = None
    latencies: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class ModelRecord:
    """What a model costs.

    Args:
        name: For readers.
        cost: Parameters, bytes, FLOPs; None for a teacher that is no module.
        latencies: For each batch size; empty where `untimed` has a reason.
        variants: Cheaper forms of it, if they were asked for.
        untimed: Why it was not timed; "" if it was.
        uncounted: Why FLOPs and memory, or without `cost` anything of it, were not measured.
        generation: How fast a language model generates, for each batch size.
        ungenerated: Why that was not measured; "" if it was, or of other models.
        device: Where it was measured, such as "cpu".
    """

    name: str
    cost: Cost | None = None
    latencies: tuple[Latency, ...] = ()
    variants: tuple[VariantRecord, ...] = ()
    untimed: str = ""
    uncounted: str = ""
    generation: tuple[GenerationSpeed, ...] = ()
    ungenerated: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class DecidingMetric:
    """The deciding metric.

    Args:
        name: Such as "accuracy".
        higher: Whether more is better.
        is_fraction: Whether it lies in [0, 1] and is shown in per cent.
    """

    name: str
    higher: bool
    is_fraction: bool = False


@dataclass(frozen=True)
class Record:
    """What a run or a study found.

    Args:
        title: Its name.
        metric: The deciding metric; None for a run without metrics.
        arms: In their order, controls first.
        primary: The arm that the verdict is about.
        models: What they cost, by key; arms may share one.
        examples: How many there are in `val` and `test`, where known.
        versions: Of what it was made with.
        teacher: None without one, or where it has no output that can be judged.
        seeds: The repetitions; none for a run.
        comparisons: Each arm against each control.
        against_teacher: Each arm against the teacher.
        parts: The primary arm against its control, by domain and by class.
        groups: How many groups the test examples form; None where they are independent.
        chosen_by: How the primary arm was chosen, in words.
        margin: What a student may lose against the teacher, as stated beforehand.
        axis: What arms of a series stand along.
        similarity_temperature: At which the similarities of classes are softened.
        class_names: For readers; empty for numbers.
        fractions: The metrics that lie in [0, 1] and are shown in per cent.
        command: What it was started with.
        seconds: Training time of all trials.
        measured: Whether the models were at hand; else the record rests on the log alone.
        unmeasured: Why the teacher's output could not be measured; empty if it could.
        finished: Whether training has ended.
        overlaps: What each two data sets of a study have in common; none for a run.
        notes: What else a reader must know of how a study was done, in sentences.
        samples: Test examples to be looked at.
        task: What outputs hold, the name of one of `tutelage.tasks.TASKS`.
        format: Of the file.
    """

    title: str
    metric: DecidingMetric | None
    arms: tuple[ArmRecord, ...]
    primary: str
    models: dict[str, ModelRecord]
    examples: dict[str, int]
    versions: dict[str, str]
    teacher: ArmRecord | None = None
    seeds: tuple[int, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    against_teacher: tuple[Comparison, ...] = ()
    parts: tuple[PartDifference, ...] = ()
    groups: int | None = None
    chosen_by: str = ""
    margin: float | None = None
    axis: str = ""
    similarity_temperature: float = 4.0
    class_names: tuple[str, ...] = ()
    fractions: tuple[str, ...] = FRACTIONS
    command: str = ""
    seconds: float = 0.0
    measured: bool = True
    unmeasured: str = ""
    finished: bool = True
    overlaps: tuple[Overlap, ...] = ()
    notes: tuple[str, ...] = ()
    samples: tuple[ImageSample | TextSample, ...] = ()
    task: TaskName = "classes"
    format: Literal["tutelage report 4"] = FORMAT

    def arm(self, name: str) -> ArmRecord:
        """Return an arm by its name."""
        return next(each for each in self.arms if each.name == name)

    @property
    def controls(self) -> tuple[ArmRecord, ...]:
        """The arms that the others are compared with."""
        return tuple(each for each in self.arms if each.is_control)

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

    def class_name(self, number: int) -> str:
        """Return the name of a class: its number where there is no name."""
        return self.class_names[number] if number < len(self.class_names) else str(number)

    def judged(self) -> Mapping[str, ArmRecord]:
        """Return teacher (if any) and arms by name, in the order of tables."""
        everyone = self.arms if self.teacher is None else (self.teacher, *self.arms)
        return {each.name: each for each in everyone}


def write_record(record: Record, path: Path) -> Path:
    """Write a record as JSON; return the path."""
    write_texts({path: to_json(record)})
    return path


def read_record(path: Path) -> Record:
    """Read a record back.

    Raises:
        RunFolderError: The file is no record that this version reads.
    """
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - loaded where used

    try:
        return TypeAdapter(Record).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise RunFolderError(
            f"{path} must be a record of the format {FORMAT!r}, got {error}; make it again: call "
            "the study again, whose finished trials are not repeated, or report() of the run"
        ) from error


def to_json(record: Record) -> str:
    """Return a record as JSON."""
    from pydantic import TypeAdapter  # noqa: PLC0415 - loaded where used

    return TypeAdapter(Record).dump_json(record, indent=2).decode() + "\n"


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
