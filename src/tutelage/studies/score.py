"""From outputs to metrics: how good each student is on data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from tutelage.errors import ArgumentError, NonFiniteError
from tutelage.evaluation import ClassMetric, CountedMetric, Outputs, divergence, measure
from tutelage.objectives import Objective
from tutelage.results.record import FRACTIONS, DecidingMetric
from tutelage.results.summary import finite
from tutelage.studies.carry_out import Done
from tutelage.studies.outputs import Truth
from tutelage.studies.plan import StudyPlan
from tutelage.studies.trial import metrics_beforehand
from tutelage.tasks import Task
from tutelage.training import Monitor
from tutelage.training.monitor import choose_monitor


@dataclass(frozen=True)
class Scorer:
    """Computes the metrics of outputs; those of the teacher are None where it has none."""

    plan: StudyPlan
    val: Truth | None
    test: Truth
    teacher_val: Tensor | None
    teacher_test: Tensor | None

    def check_monitor(self) -> None:
        """Refuse a deciding metric that will not be there, before any work is done."""
        known, name = sorted(self.names | self._own), self.monitor.name
        if name not in known:
            raise ArgumentError(
                f"`monitor` must be one of {known}, got {name!r}; choose one of these, or add it "
                "to `metrics`"
            )
        swept = any(arm.sweep for arm in self.plan.arms.values())
        of_teacher = name in self.task.teacher_metrics
        if swept and not of_teacher and self.val is not None and not self.val.has_labels:
            raise ArgumentError(
                f"a sweep chooses by {name!r} on `val`, which must have labels for it, got none; "
                "label it, or name a metric of the teacher's outputs as `monitor`"
            )

    @property
    def task(self) -> Task:
        """What outputs hold."""
        return self.plan.task

    @property
    def monitor(self) -> Monitor:
        """The deciding metric: the user's, else the default one that the test data allow."""
        return self.plan.monitor or choose_monitor(self.names)

    @cached_property
    def names(self) -> set[str]:
        """The standard metrics that there will be, as far as a few test examples tell."""
        expected = self.task.expected_metrics(self.test.labels)
        labels = set(expected) if self.test.has_labels else set[str]()
        of_teacher = set() if self.teacher_test is None else set(self.task.teacher_metrics)
        found = metrics_beforehand(self.plan, "test", self.plan.test)
        if found is None:
            return labels | of_teacher
        return found[0] if found[1] or not labels else found[0] | labels

    @property
    def _own(self) -> set[str]:
        return set(self.plan.metrics) if self.test.has_labels else set()

    @property
    def metric(self) -> DecidingMetric:
        """The deciding metric for readers."""
        name = self.monitor.name
        return DecidingMetric(name, self.monitor.higher, name in self.fractions)

    @property
    def fractions(self) -> tuple[str, ...]:
        """The metrics that lie in [0, 1]: standard ones, and those of the user that say so."""
        own = self.plan.metrics
        ours = (name for name, each in own.items() if getattr(each, "is_fraction", False) is True)
        return (*(name for name in FRACTIONS if name not in own), *ours)

    def read(self, objective: Objective, output: Tensor, teacher: Tensor | None = None) -> Outputs:
        """Return a model's outputs on the test data as its objective reads them."""
        return self.test.outputs(output, teacher).read_by(objective)

    def on_test(self, objective: Objective, output: Tensor) -> dict[str, float]:
        """Return all metrics of a student's outputs on the test data."""
        metrics = self._metrics(objective, output, self.test, self.teacher_test)
        if self.monitor.name not in metrics:
            raise ArgumentError(
                f"`monitor` must be one of {sorted(metrics)}, got {self.monitor.name!r}; choose one"
                " of these, or add it to `metrics`"
            )
        if not math.isfinite(metrics[self.monitor.name]):
            raise NonFiniteError(
                f"{self.monitor.name!r} on test data must be finite, got "
                f"{metrics[self.monitor.name]}; look at the metric, or at the student's outputs"
            )
        return metrics

    def on_validation(self, done: Done) -> float | None:
        """Return the deciding metric of a trial on validation data; None where there is none."""
        if self.val is None or done.val is None:
            return None
        objective = self.plan.reading(done.planned.arm)
        outputs = self.val.outputs(done.val, self.teacher_val)
        return self._deciding(objective, replace(outputs, domains=None)).get(self.monitor.name)

    def of_teacher(self, output: Tensor) -> dict[str, float]:
        """Return the metrics of the teacher's own outputs on the test data."""
        return self._metrics(self.reading_of_teacher, output, self.test, None)

    @property
    def reading_of_teacher(self) -> Objective:
        """The objective by which the teacher's outputs are read: the first arm's."""
        return self.plan.reading(next(iter(self.plan.arms.values())))

    def by_domain(self, objective: Objective, output: Tensor) -> dict[str, dict[str, float]]:
        """Return the deciding metric for each domain of the test data."""
        if not self.test.domains:
            return {}
        name = self.monitor.name
        found = self._deciding(objective, self.test.outputs(output, self.teacher_test))
        values = {each: found.get(f"{name}/{each}") for each in self.test.domains}
        return {each: {name: value} for each, value in finite(values).items()}

    def per_example(
        self, name: str, objective: Objective, output: Tensor, among: Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor] | None:
        """Return which test examples (of some, or of all) count, and what each adds to a metric.

        None where the metric is not a mean over examples, or rows; see `Task.example_values`.
        """
        if name in self.plan.metrics:
            return None
        outputs = self.read(objective, output, self.teacher_test)
        return self.task.example_values(name, outputs, among)

    def value(self, objective: Objective, output: Tensor, rows: Sequence[int] | None) -> float:
        """Return the deciding metric on some test examples; None for all."""
        found = self._deciding(objective, self._some(output, rows))
        return found.get(self.monitor.name, math.nan)

    @property
    def is_by_class(self) -> bool:
        """Whether the deciding metric can be told class by class by itself."""
        return isinstance(self.plan.metrics.get(self.monitor.name), ClassMetric)

    def value_by_class(
        self, output: Tensor, rows: Sequence[int] | None
    ) -> Mapping[int | str, float]:
        """Return the deciding metric of each class on some test examples; None for all."""
        metric, found = self.plan.metrics[self.monitor.name], self._some(output, rows).labelled()
        if not isinstance(metric, ClassMetric) or found.labels is None:
            return {}
        return metric.by_class(found.given, found.labels, found.rows)

    @property
    def counted(self) -> dict[str, CountedMetric]:
        """The metrics of counts, by name."""
        return self.task.counted(self.plan.metrics)

    def counts(self, name: str, output: Tensor) -> tuple[CountedMetric, Tensor, Tensor] | None:
        """Return a metric, which test examples count, and its counts of each of them.

        None where it is not a metric of counts.
        """
        metric, data = self.counted.get(name), self.test.outputs(output)
        known = data.known
        if metric is None or known is None:
            return None
        found = data.labelled()
        counts = metric.counts(found.given, found.labels, found.rows)
        if data.rows is not None:
            known = data.rows.padded(known).flatten(1).any(dim=1)
            counts = counts[known]
        return metric, known.nonzero().ravel(), counts

    def _deciding(self, objective: Objective, outputs: Outputs) -> dict[str, float]:
        """Return the deciding metric, also by domain; others only if they come with it."""
        name = self.monitor.name
        if name in ("kl", "acceptance_rate"):
            return divergence(objective, outputs)
        own = {key: each for key, each in self.plan.metrics.items() if key == name}
        return measure(objective, outputs, own, standard=not own)

    def _some(self, output: Tensor, rows: Sequence[int] | None) -> Outputs:
        own = self.monitor.name in self.plan.metrics  # which are not given the teacher's
        outputs = self.test.outputs(output, None if own else self.teacher_test)
        return replace(outputs, domains=None) if rows is None else outputs[rows]

    def _metrics(
        self, objective: Objective, output: Tensor, data: Truth, teacher: Tensor | None
    ) -> dict[str, float]:
        outputs = replace(data.outputs(output, teacher), domains=None)
        return measure(objective, outputs, self.plan.metrics) | divergence(objective, outputs)
