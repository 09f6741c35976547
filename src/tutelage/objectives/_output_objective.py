"""The base of objectives on outputs: a formula and its settings."""

from __future__ import annotations

from abc import abstractmethod
from inspect import Parameter, signature
from typing import Any, ClassVar

from torch import Tensor

from tutelage.objectives._labels import labels_of
from tutelage.objectives._objective import Objective
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants


class OutputObjective(Objective):
    """A formula of outputs: of the student's, and of the teacher's, of labels, or of both.

    A subclass has a `formula`, and as attributes the formula's settings, under the names of the
    arguments of its `__init__`:

    >>> import torch
    >>> def distance(student, teacher, power):
    ...     return (student - teacher).abs().pow(power).sum(dim=1)
    >>> class Distance(OutputObjective):
    ...     formula = staticmethod(distance)
    ...     def __init__(self, power=2.0):
    ...         super().__init__()
    ...         self.power = power
    >>> Distance(power=1.0)(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 3.0]]))
    tensor([3.])
    """

    wants = Wants(student=OUTPUT, teacher=OUTPUT)
    rowwise = True

    _settings: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        several = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        arguments = signature(cls).parameters.values()
        cls._settings = tuple(each.name for each in arguments if each.kind not in several)

    @staticmethod
    @abstractmethod
    def formula(*outputs: Any, **settings: Any) -> Tensor:
        """Return `[batch]`, from what `wants` names of (student output, teacher output, labels).

        Outputs are `[batch, …]`; the teacher's may be `CoarseLogits`. Settings follow by their
        names: a schedule as its value at this step.
        """

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the formula's values, `[batch]`.

        Of an example that is mixed from two, `batch.mixture`, they are those of both labels,
        weighted by their fractions, where the objective `reads_mixtures`.
        """
        outputs: list[Any] = [student.logits]
        if self.wants.teacher:
            outputs.append(teacher.targets)
        settings: dict[str, Any] = {}
        for name in self._settings:
            value = getattr(self, name)
            settings[name] = value(batch.progress) if isinstance(value, Schedule) else value
        if not self.wants.labels:
            return self.formula(*outputs, **settings)
        values = self.formula(*outputs, labels_of(batch), **settings)
        if batch.mixture is None or not self.reads_mixtures:
            return values
        fraction = batch.mixture.fraction.to(values.dtype)
        partner = self.formula(*outputs, batch.mixture.labels, **settings)
        return (fraction * values + (1 - fraction) * partner).where(batch.labelled(), 0)


class Divergence(OutputObjective):
    """A divergence of the two sides' probabilities at temperature T.

    Args:
        temperature: T > 0, a number or a schedule over training. 1 compares the probabilities as
            they are, as is usual for language models; the higher T, the more small ones count.
    """

    def __init__(self, temperature: float | Schedule = 1.0) -> None:
        super().__init__()
        self.temperature = temperature_schedule(temperature)


def temperature_schedule(value: float | Schedule) -> Schedule:
    """Return a temperature as a schedule; refuse one that is not positive."""
    advice = "1 takes the probabilities as they are, 2 to 20 softens them"
    return positive_schedule("temperature", value, advice)
