"""From outputs to metrics: how good each student is on data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from tutelage.errors import ArgumentError, NonFiniteError
from tutelage.evaluation import ClassMetric, CountedMetric, Outputs, divergence, measure
from tutelage.results.record import FRACTIONS, DecidingMetric, finite
from tutelage.studies.eval_data import EvalData
from tutelage.studies.plan import StudyPlan
from tutelage.studies.trials import StudyTrial
from tutelage.training import Monitor
from tutelage.training.monitor import choose_monitor, no_such_metric

_FEW = 32


@dataclass(frozen=True)
class Scorer:
    """Computes the metrics of outputs; those of the teacher are None where it has none."""

    plan: StudyPlan
    teacher_val: Tensor | None
    teacher_test: Tensor | None

    def check_monitor(self) -> None:
        """Refuse a deciding metric that will not be there, before any work is done."""
        plan, name = self.plan, self.monitor.name
        known = self.names | (set(plan.metrics) if plan.test.has_labels else set())
        if name not in known:
            raise no_such_metric(name, known)
        swept = any(arm.sweep for arm in plan.arms.values())
        of_teacher = name in plan.task.teacher_metrics
        if swept and not of_teacher and plan.val is not None and not plan.val.has_labels:
            raise ArgumentError(
                f"a sweep chooses by {name!r} on `val`, which must have labels for it, got none; "
                "label it, or name a metric of the teacher's outputs as `monitor`"
            )

    @property
    def monitor(self) -> Monitor:
        """The deciding metric: the user's, else the default one that the test data allow."""
        return self.plan.monitor or choose_monitor(self.names)

    @cached_property
    def names(self) -> set[str]:
        """The standard metrics that there will be, as far as a few test examples tell."""
        plan, tensor = self.plan, isinstance(self.plan.test.labels, Tensor)
        expected = plan.task.expected_metrics(plan.test.labels if tensor else None)
        labels = set(expected) if plan.test.has_labels else set[str]()
        of_teacher = set() if self.teacher_test is None else set(plan.task.teacher_metrics)
        arm = next((each for each in plan.arms.values() if each.run is None), None)
        if arm is None or not plan.task.label_metrics:  # of boxes there are none
            return labels | of_teacher
        student, reading = plan.first_student(arm, plan.seeds[0]).eval(), plan.reading(arm)
        outputs = plan.outputs_on_sample(student, "test", plan.test.data, _FEW)
        if outputs is None:
            return labels | of_teacher
        outputs = replace(outputs[0], domains=None)
        found = plan.task.with_companions(measure(reading, outputs) | divergence(reading, outputs))
        known = outputs.labelled().labels
        return found if known is not None and len(known) else found | labels

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

    def outputs_on_test(self, trial: StudyTrial) -> Outputs:
        """Return a student's outputs on the test data, as its objective reads them."""
        plan = self.plan
        return plan.test.outputs(trial.output, self.teacher_test).read_by(plan.reading(trial.arm))

    def outputs_on_val(self, trial: StudyTrial) -> Outputs | None:
        """Return a student's outputs on the validation data; None without them."""
        plan = self.plan
        if plan.val is None or trial.val is None:
            return None
        return plan.val.outputs(trial.val, self.teacher_val).read_by(plan.reading(trial.arm))

    def of_teacher(self, data: EvalData | None, kept: Tensor | None) -> Outputs | None:
        """Return the teacher's outputs as those of a student, read by the first arm's objective."""
        if data is None or kept is None:
            return None
        first = next(iter(self.plan.arms.values()))
        return data.outputs(kept).read_by(self.plan.reading(first))

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return all metrics of outputs, as objectives read them."""
        outputs, usual = replace(outputs, domains=None), self.plan.task.default_objective()
        return measure(usual, outputs, self.plan.metrics) | divergence(usual, outputs)

    def metrics_on_test(self, outputs: Outputs) -> dict[str, float]:
        """Return all metrics of a student's outputs on the test data, with the deciding one."""
        metrics, name = self.metrics(outputs), self.monitor.name
        value = metrics.get(name, math.nan)
        if not math.isfinite(value):
            raise NonFiniteError(
                f"{name!r} on test data must be finite, got {value}; look at the metric, or at the "
                "student's outputs"
            )
        return metrics

    def value_on_val(self, trial: StudyTrial) -> float | None:
        """Return the deciding metric of a trial on validation data; None where there is none."""
        outputs = self.outputs_on_val(trial)
        if outputs is None:
            return None
        return self._deciding(replace(outputs, domains=None)).get(self.monitor.name)

    def by_domain(self, outputs: Outputs) -> dict[str, dict[str, float]]:
        """Return the deciding metric for each domain of the test data."""
        if not self.plan.test.domains:
            return {}
        name, found = self.monitor.name, self._deciding(outputs)
        values = {each: found.get(f"{name}/{each}") for each in self.plan.test.domains}
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
        return self.plan.task.counted(self.plan.metrics)

    def _deciding(self, outputs: Outputs) -> dict[str, float]:
        """Return the deciding metric, also by domain; others only if they come with it."""
        name, usual = self.monitor.name, self.plan.task.default_objective()
        if name in ("kl", "acceptance_rate"):
            return divergence(usual, outputs)
        own = {key: each for key, each in self.plan.metrics.items() if key == name}
        return measure(usual, outputs, own, standard=not own)
