"""One batch in, losses out: the student, its teacher and what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.layers import evaluating, observe
from tutelage.layers.capture import check_layers
from tutelage.layers.gradients import check_gradients
from tutelage.objectives import Objective
from tutelage.signals import OUTPUT, Batch, Signals
from tutelage.teachers import AnyTeacher, Teacher, as_teacher, ask


@dataclass(frozen=True, slots=True)
class Losses:
    """What a batch costs.

    Args:
        total: Σ_k w_k · part_k, a scalar with a gradient.
        parts: Each part by name, unweighted: the mean over the examples that it counts, detached.
        counts: By how many examples each part's sum was divided.
        student: What the student said.
        teacher: What the teacher said.
    """

    total: Tensor
    parts: dict[str, Tensor]
    counts: tuple[int | Tensor, ...]
    student: Signals
    teacher: Signals

    def without_features(self) -> Losses:
        """Return the same without what passed inside the models, which may be large."""
        outputs = Signals(self.student.output), Signals(self.teacher.output)
        return Losses(self.total, self.parts, self.counts, *outputs)


class Distiller(nn.Module):
    """A student with its teacher and objective, for any training loop.

    >>> from tutelage.objectives import SoftTargets
    >>> distiller = Distiller(nn.Linear(4, 3), nn.Linear(4, 3), SoftTargets(2.0))
    >>> losses = distiller(Batch(torch.randn(8, 4)))
    >>> losses.total.backward()
    >>> sorted(distiller.state_dict())
    ['student.bias', 'student.weight']

    The teacher is asked in eval and inference mode and is no submodule: it is in neither
    `parameters()` nor `state_dict()`, and `train()` and `to()` do not reach it. Optimise
    `distiller.parameters()`: an objective may have parameters of its own, and one that compares
    layers has them from `build` on, which a loop of your own calls with one batch before it makes
    its optimiser. A part of the student whose parameters are all frozen stays in eval mode.

    Args:
        student: The module that learns.
        teacher: A module or a `Teacher`; a list of these (an ensemble) or a dict of these by domain
            (specialists); None where the objective wants nothing of one.
        objective: What the student is asked for.

    Raises:
        ArgumentError: The objective is none, wants a teacher and there is none, or wants a layer
            that is not there.
        ModelError: The student is no module, the teacher neither module nor `Teacher`, or the two
            share parameters that are trained.
    """

    teacher: Teacher | None

    def __init__(
        self, student: nn.Module, teacher: AnyTeacher | None, objective: Objective
    ) -> None:
        super().__init__()
        check_learner("student", student)
        if not isinstance(objective, Objective):
            raise ArgumentError(
                f"`objective` must be an Objective, got {objective!r}; for instance "
                "0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4)"
            )
        if teacher is None and objective.wants.teacher:
            raise ArgumentError(
                f"the objective {objective} learns from a teacher, got none; "
                "give one, or learn from labels alone"
            )
        self.student = student
        self.objective = objective
        # Past nn.Module's bookkeeping, in case the teacher is a module as well: no part of ours.
        self.__dict__["teacher"] = None if teacher is None else as_teacher(teacher)
        _refuse_shared(student, self.teacher)
        check_layers(student, objective.wants.student.features, "student")
        if self.teacher is not None:
            self.teacher.check_layers(objective.wants.teacher.features)
        self._wants, self._terms = objective.wants, objective.terms()
        self._gradients_checked = False

    def forward(self, batch: Batch, counts: Tensor | None = None) -> Losses:
        """Return the losses of a batch.

        Args:
            batch: The examples.
            counts: `[terms]`: by how many examples to divide each term's sum, where the batch is
                one piece of a larger one; None for as many as the term counts in this batch.

        Raises:
            DataError: Labels are missing or do not fit.
            ModelError: A side refuses the batch, or the two do not fit each other.
        """
        _check_batch(batch)
        if self._wants.labels and batch.labels is None:
            raise DataError(
                f"the objective {self.objective} learns from labels and the data (`train` or "
                "`val`) has none; yield (inputs, labels), or use an objective without labels, "
                "such as SoftTargets"
            )
        if not self.objective.built:
            raise ArgumentError(
                f"the objective {self.objective} has projectors that are made from the shapes of "
                "one batch, got none yet; call distiller.build(batch) before you make the optimiser"
            )
        teacher = self.ask_teacher(batch)
        student = observe(self.student, batch.inputs, self._wants.student, "student")
        if not self._gradients_checked and self.training and torch.is_grad_enabled():
            self._check_gradients(student)
        masks = [term.objective.counted(batch) for term in self._terms]
        numbers = tuple(_number(mask, batch) for mask in masks) if counts is None else tuple(counts)
        parts = {
            term.name: _mean(term.objective(student, teacher, batch), mask, number, batch.copies)
            for term, mask, number in zip(self._terms, masks, numbers, strict=True)
        }
        first, *rest = self._terms
        total = parts[first.name] * first.weight(batch.progress)
        for term in rest:
            total = total.add(parts[term.name], alpha=term.weight(batch.progress))
        detached = {name: part.detach() for name, part in parts.items()}
        return Losses(total, detached, numbers, student, teacher)

    def build(self, batch: Batch) -> None:
        """Let the objective make what depends on shapes, if it is not made yet, from one dry run.

        Both sides run once, in eval mode and without gradients; random states and batch
        statistics are left as they were.

        Raises:
            TutelageError: As `forward`.
        """
        _check_batch(batch)
        if self.objective.built:
            return
        with randomness.preserved(), evaluating(self.student), torch.no_grad():
            student = observe(self.student, batch.inputs, self._wants.student, "student")
            teacher = self.ask_teacher(batch)
        self.objective.build(student, teacher)

    def train(self, mode: bool = True) -> Distiller:
        """Set the mode of student and objective; frozen parts of the student stay in eval mode."""
        super().train(mode)
        if mode:
            _rest(self.student)
        return self

    def ask_teacher(self, batch: Batch) -> Signals:
        """Return what the objective wants of the teacher; with nothing wanted it does not run."""
        if self.teacher is None or not self._wants.teacher:
            return Signals()
        return ask(self.teacher, batch, self._wants.teacher)

    def alone(self, batch: Batch) -> Losses:
        """Return what the student says where no teacher answers: its output, and no losses."""
        student = observe(self.student, batch.inputs, OUTPUT, "student")
        return Losses(torch.zeros(()), {}, (), student, Signals())

    def ask_from_now(self, teacher: Teacher | None) -> None:
        """Take another teacher in place of the present one."""
        self.__dict__["teacher"] = teacher

    @contextmanager
    def asking(self, teacher: Teacher | None) -> Iterator[None]:
        """Ask another teacher for a while."""
        usual = self.teacher
        self.ask_from_now(teacher)
        try:
            yield
        finally:
            self.ask_from_now(usual)

    def _check_gradients(self, student: Signals) -> None:
        """Check once, and never in a compiled graph, that each term trains the student."""
        if not torch.compiler.is_compiling():
            wanted = {term.name: term.objective.wants.student for term in self._terms}
            check_gradients(self.student, student, wanted)
            self._gradients_checked = True

    def counts(self, batch: Batch) -> Tensor:
        """Return how many examples of the batch each term counts, `[terms]`; copies share one."""
        masks = [term.objective.counted(batch) for term in self._terms]
        numbers = [float(_number(mask, batch)) for mask in masks]
        return torch.tensor(numbers, dtype=torch.float32) / batch.copies


def check_learner(name: str, model: object) -> None:
    """Refuse what cannot learn.

    Args:
        name: What the argument is called, for messages.
        model: The argument.

    Raises:
        ModelError: It is no module, or one whose parameters are not made yet.
    """
    if not isinstance(model, nn.Module):
        raise ModelError(
            f"`{name}` must be a torch.nn.Module, got {type(model).__name__}; "
            "give the module that is to be trained"
        )
    if any(isinstance(each, nn.UninitializedParameter) for each in model.parameters()):
        raise ModelError(
            f"`{name}` must have its parameters, got lazy ones in {type(model).__name__}; "
            "run it on one batch first"
        )


def _rest(module: nn.Module) -> None:
    """Put the largest parts of a module whose parameters are all frozen in eval mode."""
    parameters = list(module.parameters())
    if parameters and not any(each.requires_grad for each in parameters):
        module.eval()
        return
    for part in module.children():
        _rest(part)


def _check_batch(batch: object) -> None:
    if not isinstance(batch, Batch):
        raise DataError(
            f"a distiller must be given a tl.Batch, got {type(batch).__name__}; write "
            "tl.Batch(inputs, labels), or tl.Batch.of(what the loader yields)"
        )


def _number(counted: Tensor | None, batch: Batch) -> int | Tensor:
    return len(batch) if counted is None else counted.sum()


def _mean(values: Tensor, counted: Tensor | None, number: int | Tensor, copies: int) -> Tensor:
    """Divide the sum over the counted examples, each one of so many copies, by a number."""
    if counted is None and isinstance(number, int) and copies == 1:
        return values.mean()
    if counted is not None:
        values = values.where(counted, 0)
    divisor = number.clamp(min=1) if isinstance(number, Tensor) else max(number, 1)
    return values.sum() / (divisor * copies)


def _refuse_shared(student: nn.Module, teacher: Teacher | None) -> None:
    """Refuse a student whose training would change its teacher."""
    if teacher is None:
        return
    theirs = {id(each) for module in teacher.modules() for each in module.parameters()}
    for name, each in student.named_parameters():
        if each.requires_grad and id(each) in theirs:
            raise ModelError(
                f"student and teacher must not share what is trained, got the student's `{name}` "
                "in both; give the student a copy (copy.deepcopy), or freeze that part"
            )
