"""The base of objectives that are a formula and its settings, and those of them on outputs."""

from __future__ import annotations

from abc import abstractmethod
from inspect import signature
from typing import Any, ClassVar

from torch import Tensor

from tutelage.errors import DataError
from tutelage.nested import describe
from tutelage.objectives._objective import Objective
from tutelage.schedules import Schedule, positive_schedule
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Fields, Wants

_DATA = ("teacher", "labels", "mask")


class Formula(Objective):
    """An objective that is a function of tensors and its settings.

    The function's arguments are first what it reads: the student's tensor, and `teacher`, `labels`
    and `mask` where it has these. All others are settings, which the objective has as attributes of
    the same names.
    """

    _settings: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "formula" in vars(cls):
            _, *names = signature(cls.formula).parameters
            cls._settings = tuple(each for each in names if each not in _DATA)

    @staticmethod
    @abstractmethod
    def formula(*tensors: Any, **settings: Any) -> Tensor:
        """Return `[batch]`, from what it reads by position and its settings by name."""

    def settings(self, progress: float) -> dict[str, Any]:
        """Return the formula's settings by name: a schedule as its value at this step."""
        values = {name: getattr(self, name) for name in self._settings}
        return {
            name: value(progress) if isinstance(value, Schedule) else value
            for name, value in values.items()
        }


class OutputObjective(Formula):
    """A formula of outputs and its settings.

    The formula's arguments declare what the objective reads: first the student's output, then
    `teacher` (which may be `CoarseLogits`) and `labels` where it has these. All others are
    settings, which the objective has as attributes of the same names:

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

    rowwise = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "formula" in vars(cls):
            names = signature(cls.formula).parameters
            teacher = OUTPUT if "teacher" in names else Fields()
            cls.wants = Wants(student=OUTPUT, teacher=teacher, labels="labels" in names)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the formula's values, `[batch]`.

        Of an example that is mixed from two, `batch.mixture`, they are those of both labels,
        weighted by their fractions, where the objective `reads_mixtures`.
        """
        outputs: list[Any] = [student.logits]
        if self.wants.teacher:
            outputs.append(teacher.targets)
        settings = self.settings(batch.progress)
        if not self.wants.labels:
            return self.formula(*outputs, **settings)
        if not isinstance(batch.labels, Tensor):
            given = "none" if batch.labels is None else describe(batch.labels)
            raise DataError(
                f"{self} learns from labels, which must be a tensor, got {given}; yield (inputs, "
                "labels) from the data set, mark single unlabelled examples by -100 (NaN for "
                "values), or use an objective without labels, such as SoftTargets"
            )
        values = self.formula(*outputs, batch.labels, **settings)
        if batch.mixture is None or not self.reads_mixtures:
            return values
        fraction = batch.mixture.fraction.to(values.dtype)
        partner = self.formula(*outputs, batch.mixture.labels, **settings)
        return (fraction * values + (1 - fraction) * partner).where(batch.labelled(), 0)


class Tempered(OutputObjective):
    """A formula of both sides' outputs at a temperature T.

    Args:
        temperature: T > 0, a number or a schedule over training. 1 compares the probabilities as
            they are, as is usual for language models; the higher T, the more small ones count.
    """

    def __init__(self, temperature: float | Schedule = 1.0) -> None:
        super().__init__()
        advice = "1 takes the probabilities as they are, 2 to 20 softens them"
        self.temperature = positive_schedule("temperature", temperature, advice)
