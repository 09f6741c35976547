"""What the outputs of models hold: the one place that tells classes from values, boxes, texts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

import torch
from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.objectives import Objective
from tutelage.tasks.calibration import Calibration, Reliability, calibration
from tutelage.tasks.metrics import STANDARD, CountedMetric, Metric
from tutelage.tasks.outputs import Outputs

TaskName = Literal["classes", "binary", "values", "boxes", "language"]
"""Of the tasks that there are, as in records."""
Matrix = tuple[tuple[float, ...], ...]
_RESERVED = {"loss", "accuracy", "mse", "r2", "agreement", "kl", "acceptance_rate", "teacher_mse"}
MOST_CLASSES = 100
"""How many classes, or labels, are told one by one."""


@dataclass(frozen=True)
class Residuals:
    """True values of one output and what was predicted, for all examples or a sample of them."""

    true: tuple[float, ...]
    predicted: tuple[float, ...]


class Summary(TypedDict):
    """What outputs tell besides metrics; empty where the data does not tell.

    Keys:
        similarity: Mean softened probabilities for each true class; zeros for one without examples.
        by_class: Recall of each class, or average precision of each binary label.
        reliability: The bins of a reliability diagram.
        residuals: Of each output that is a value, if they are few.
    """

    similarity: Matrix
    by_class: dict[int, float]
    reliability: Reliability | None
    residuals: tuple[Residuals, ...]


NO_SUMMARY: Summary = {"similarity": (), "by_class": {}, "reliability": None, "residuals": ()}
"""That of outputs of which nothing is told."""


@dataclass(frozen=True)
class Wording:
    """What a report says of a task.

    Args:
        part: What is compared one by one: "class" or "label".
        measure: Of each part: "recall" or "average precision".
        calibration: What the numbers of calibration are.
        diagram: Title and caption of the reliability diagram.
        axes: Its horizontal and its vertical axis.
        lesson: What a teacher tells beyond labels.
        fidelity: What the numbers of fidelity are; `{data}` and `{temperature}` are filled in.
        sample: How much of the training data fidelity is measured on.
        timed: What an input is whose time is measured; "" where that is clear.
    """

    part: str = "class"
    measure: str = "recall"
    calibration: str = ""
    diagram: tuple[str, str] = ("", "")
    axes: tuple[str, str] = ("", "")
    lesson: str = ""
    fidelity: str = ""
    sample: str = "2,048 examples"
    timed: str = ""


class Task(ABC):
    """What the outputs of models hold, and all that follows from it.

    A task has no state: it is one of `tutelage.tasks.TASKS`. `task_of` finds it for outputs, and
    `infer_task` before there are any. Outputs that a method is given hold predictions as objectives
    read them (`Outputs.read_by`). Tokens and pixels are rows of any task.

    A mean over rows is told in three steps: what each row adds (`row_values`), the sums of each
    example (`sums`), and numbers of examples whose mean it is, for intervals (`example_values`).

    Attributes:
        name: In records.
        label_metrics: The standard metrics on labels that there may be, the usual monitor first.
        teacher_metrics: Those on a teacher's outputs.
        means: The standard metrics that are means over examples, or over rows.
        companions: By metric, those that need more of labels: that one of them is true, or varies.
        smooths: Whether labels can be smoothed.
        keeps_scores: Whether scores of rows (`TokenScores`) are kept, and no logits.
        generates: Whether models write on from a text, and drafts of theirs can be accepted.
        is_classified: Whether an output has one entry for each class, or label, that has a name.
        batch_size: How many examples are evaluated at a time.
        timed_batch: How many inputs at once are timed beside one; 1 for none.
        fidelity_sample: On how many training examples fidelity is measured.
        words: What a report says.
    """

    name: ClassVar[TaskName]
    label_metrics: ClassVar[tuple[str, ...]] = ()
    teacher_metrics: ClassVar[tuple[str, ...]] = ()
    means: ClassVar[tuple[str, ...]] = ()
    companions: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    smooths: ClassVar[bool] = False
    keeps_scores: ClassVar[bool] = False
    generates: ClassVar[bool] = False
    is_classified: ClassVar[bool] = False
    batch_size: ClassVar[int] = 256
    timed_batch: ClassVar[int] = 256
    fidelity_sample: ClassVar[int] = 2048
    words: ClassVar[Wording] = Wording()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @abstractmethod
    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the usual objective on labels; `smoothing` only where the task `smooths`."""

    @abstractmethod
    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return the standard metrics on labels, and how far a teacher is agreed with.

        Those that labels or outputs do not allow are left out.

        Raises:
            DataError: Labels are not of this task.
        """

    def fidelity(self, outputs: Outputs) -> dict[str, float]:
        """Return divergences from the teacher's probabilities; empty where there are none."""
        return {}

    def calibrate(self, outputs: Outputs, held_out: Outputs | None = None) -> Calibration | None:
        """Return the calibration, also at a temperature fitted on other outputs.

        None where outputs have no probabilities of their labels.
        """
        if not self.has_probabilities(outputs):
            return None
        other = None
        if held_out is not None and self.has_probabilities(held_out):
            other = held_out.student, held_out.labels
        binary = self.name == "binary"
        return calibration(outputs.student, outputs.labels, other, binary=binary)  # pyright: ignore

    def has_probabilities(self, outputs: Outputs) -> bool:
        """Tell whether some labels are known, and outputs are finite logits of what they name."""
        return False

    def summarize(self, seeds: Sequence[Outputs]) -> Summary:
        """Return what the outputs of one arm's models, one for each seed, tell."""
        return NO_SUMMARY

    def expected_metrics(self, labels: Tensor | None) -> tuple[str, ...]:
        """Return the metrics on labels that there will be, as far as labels alone tell."""
        return self.label_metrics

    def with_companions(self, names: Collection[str]) -> set[str]:
        """Return metrics that a few examples have, with those that more examples may have too."""
        return {*names, *(each for name in names for each in self.companions.get(name, ()))}

    def note_on(self, metrics: Collection[str]) -> str:
        """Return what a reader must know of metrics, by their names, a sentence; "" for nothing."""
        return ""

    def note_on_labels(self, outputs: Outputs) -> str:
        """Return what a reader must know of the labels of test data, a sentence; "" for nothing."""
        return ""

    def counted(self, metrics: Mapping[str, Metric]) -> dict[str, CountedMetric]:
        """Return the metrics of counts, by name: the user's and the task's own."""
        return {name: each for name, each in metrics.items() if isinstance(each, CountedMetric)}

    def pack(self, outputs: Outputs) -> Tensor | None:
        """Return what is kept of the outputs, as one tensor; None where there is none."""
        return None if outputs.student is None else outputs.student.float()

    def unpack(self, kept: Tensor, known: Outputs) -> Outputs:
        """Return outputs that were kept, with the labels, domains and rows of `known`."""
        return Outputs(kept, known.teacher, known.labels, known.domains, known.rows)

    def same_form(self, one: Tensor, other: Tensor) -> bool:
        """Tell whether outputs of two models, as they are kept, can be compared."""
        return one.shape == other.shape

    def check_names(self, metrics: Mapping[str, object]) -> None:
        """Refuse a user's metrics that have the name of one of the task's.

        Raises:
            ArgumentError: A name is taken.
        """
        taken = _RESERVED | {*self.label_metrics, *self.teacher_metrics} - {"perplexity"}
        if found := sorted(taken & set(metrics)):
            raise ArgumentError(
                f"`metrics` must not be named as the standard metrics are, got {found}; rename "
                "yours"
            )

    def row_values(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return which rows, or examples with one output, count, and what each adds to a mean.

        NaN where a model diverged. None for metrics that are not such means, or of other labels.
        """
        return None

    def sums(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return two sums of each example, whose ratio over all examples is the metric.

        The sum of what its rows (or its one output) add, and their number, `[examples]` in float64;
        None where the metric is not a mean.
        """
        found = self.row_values(name, outputs)
        if found is None:
            return None
        owners, values = found
        owners = owners if outputs.rows is None else outputs.rows.examples[owners]
        values = values.double()
        zeros = values.new_zeros(outputs.examples)
        return (
            zeros.index_add(0, owners, values),
            zeros.index_add(0, owners, torch.ones_like(values)),
        )

    def found_means(self, names: Iterable[str], outputs: Outputs) -> dict[str, float]:
        """Return those of some metrics that are means over the rows of these outputs."""
        sums = {name: self.sums(name, outputs) for name in names}
        return {
            name: (each[0].sum() / each[1].sum()).item()
            for name, each in sums.items()
            if each is not None and bool(each[1].any())
        }

    def example_values(
        self, name: str, outputs: Outputs, among: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Return which examples (of some, or of all) count, and values whose mean is the metric.

        None where the metric is not one of `means`, or not finite. With several rows an example it
        is a ratio of two sums over examples, and the values linearise it: that of example e is
        x̄ + G/R · (S_e − R_e x̄), with the sum S_e over its R_e rows, and R rows in G examples.
        """
        found = self.sums(name, outputs) if name in self.means else None
        if found is None or not bool(found[0].isfinite().all()):
            return None
        sums, counts = found
        chosen = counts > 0
        if among is not None:
            chosen &= torch.isin(torch.arange(len(counts)), torch.tensor(among))
        examples, sums, counts = chosen.nonzero().ravel(), sums[chosen], counts[chosen]
        if outputs.rows is None:
            return examples, sums
        mean = sums.sum() / counts.sum()
        return examples, mean + (sums - counts * mean) * (len(examples) / counts.sum())

    def extremes(
        self, outputs: Outputs, among: Sequence[int] | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield each class's examples, and outputs that are right, and wrong, on all of them.

        Of binary labels a class is a label that is true, or not. The rarest come first; of some
        examples, or of all. Nothing where there are no classes, or several rows an example.
        """
        return iter(())

    def resolution(self, name: str, outputs: Outputs) -> float:
        """Return by how much one example can change a mean: 1 for a fraction, 0 for values."""
        is_mean = outputs.rows is None and name in self.means
        return 1.0 if is_mean and STANDARD[name].fraction else 0.0


def means_of(seeds: Sequence[Mapping[int, float]]) -> dict[int, float]:
    """Return the mean over seeds of numbers by class."""
    return {name: math.fsum(each[name] for each in seeds) / len(seeds) for name in seeds[0]}
