"""From outputs to metrics: how good each student is on data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

from torch import Tensor

from tutelage.errors import ArgumentError, NonFiniteError
from tutelage.evaluation import ClassMetric, CountedMetric, Outputs, divergence, measure
from tutelage.results.record import FRACTIONS, DecidingMetric, finite
from tutelage.studies.eval_data import EvalData
from tutelage.studies.plan import StudyPlan
from tutelage.studies.trials import StudyTrial
from tutelage.tasks import Task
from tutelage.training import Monitor
from tutelage.training.monitor import choose_monitor

_FEW = 32


@dataclass(frozen=True)
class Scorer:
    """Computes the metrics of outputs; those of the teacher are None where it has none."""

    plan: StudyPlan
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
    def val(self) -> EvalData | None:
        """The validation data."""
        return self.plan.val

    @property
    def test(self) -> EvalData:
        """The test data."""
        return self.plan.test

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
        plan, tensor = self.plan, isinstance(self.test.labels, Tensor)
        expected = self.task.expected_metrics(self.test.labels if tensor else None)
        labels = set(expected) if self.test.has_labels else set[str]()
        of_teacher = set() if self.teacher_test is None else set(self.task.teacher_metrics)
        arm = next((each for each in plan.arms.values() if each.run is None), None)
        if arm is None or not self.task.label_metrics:  # of boxes there are none
            return labels | of_teacher
        student, reading = plan.first_student(arm, plan.seeds[0]).eval(), plan.reading(arm)
        outputs = plan.outputs_on_sample(student, "test", self.test.data, _FEW)
        if outputs is None:
            return labels | of_teacher
        outputs = replace(outputs[0], domains=None)
        found = self.task.with_companions(measure(reading, outputs) | divergence(reading, outputs))
        known = outputs.labelled().labels
        return found if known is not None and len(known) else found | labels

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

    def on_test(self, trial: StudyTrial) -> Outputs:
        """Return a student's outputs on the test data, as its objective reads them."""
        kept = cast("Tensor", trial.test)
        return self.test.outputs(kept, self.teacher_test).read_by(self.plan.reading(trial.arm))

    def on_val(self, trial: StudyTrial) -> Outputs | None:
        """Return a student's outputs on the validation data; None without them."""
        if self.val is None or trial.val is None:
            return None
        return self.val.outputs(trial.val, self.teacher_val).read_by(self.plan.reading(trial.arm))

    def of_teacher(self, data: EvalData | None, kept: Tensor | None) -> Outputs | None:
        """Return the teacher's outputs as those of a student, read by the first arm's objective."""
        if data is None or kept is None:
            return None
        first = next(iter(self.plan.arms.values()))
        return data.outputs(kept).read_by(self.plan.reading(first))

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return all metrics of outputs, as objectives read them."""
        outputs, usual = replace(outputs, domains=None), self.task.default_objective()
        return measure(usual, outputs, self.plan.metrics) | divergence(usual, outputs)

    def metrics_on_test(self, outputs: Outputs) -> dict[str, float]:
        """Return all metrics of a student's outputs on the test data, with the deciding one."""
        metrics = self.metrics(outputs)
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

    def on_validation(self, trial: StudyTrial) -> float | None:
        """Return the deciding metric of a trial on validation data; None where there is none."""
        outputs = self.on_val(trial)
        if outputs is None:
            return None
        return self._deciding(replace(outputs, domains=None)).get(self.monitor.name)

    def by_domain(self, outputs: Outputs) -> dict[str, dict[str, float]]:
        """Return the deciding metric for each domain of the test data."""
        if not self.test.domains:
            return {}
        name, found = self.monitor.name, self._deciding(outputs)
        values = {each: found.get(f"{name}/{each}") for each in self.test.domains}
        return {each: {name: value} for each, value in finite(values).items()}

    def value(self, outputs: Outputs) -> float:
        """Return the deciding metric of outputs; NaN where they have none."""
        found = self._deciding(replace(outputs, domains=None))
        return found.get(self.monitor.name, math.nan)

    def value_by_class(self, outputs: Outputs) -> Mapping[int | str, float]:
        """Return the deciding metric of each class; empty of one that does not tell."""
        metric, found = self.plan.metrics.get(self.monitor.name), outputs.labelled()
        if not isinstance(metric, ClassMetric) or found.labels is None:
            return {}
        return metric.by_class(found.given, found.labels, found.rows)

    @property
    def counted(self) -> dict[str, CountedMetric]:
        """The metrics of counts, by name."""
        return self.task.counted(self.plan.metrics)

    def counts(self, name: str, outputs: Outputs) -> tuple[CountedMetric, Tensor, Tensor] | None:
        """Return a metric, which examples count, and its counts of each of them.

        None where it is not a metric of counts.
        """
        metric = self.counted.get(name)
        found = None if metric is None else outputs.counts(metric)
        return None if metric is None or found is None else (metric, *found)

    def _deciding(self, outputs: Outputs) -> dict[str, float]:
        """Return the deciding metric, also by domain; others only if they come with it."""
        name, usual = self.monitor.name, self.task.default_objective()
        if name in ("kl", "acceptance_rate"):
            return divergence(usual, outputs)
        own = {key: each for key, each in self.plan.metrics.items() if key == name}
        return measure(usual, outputs, own, standard=not own)
