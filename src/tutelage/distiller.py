"""One batch in, losses out: a student with its teacher and objective."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.layers import evaluating
from tutelage.layers.capture import check_layers
from tutelage.layers.language import shift_labels_for
from tutelage.layers.prepared import tokenizer_of
from tutelage.layers.student import check_gradients, eval_frozen_modules, observe_student
from tutelage.nested import versions
from tutelage.objectives import Objective
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM, with_heads
from tutelage.objectives._tensors import look_like_probabilities
from tutelage.objectives._valid import masked, valid_examples, values_of
from tutelage.positions import flatten_rows
from tutelage.signals import Batch, Signals
from tutelage.teachers import AnyTeacher, Teacher, as_teacher, ask, ask_first


@dataclass(frozen=True, slots=True)
class Losses:
    """The losses of a batch.

    Args:
        total: Σ_k w_k · term_k, a scalar with a gradient.
        parts: Each term by name, unweighted: the mean over its valid examples, detached.
        counts: By how many examples, or rows (`RowMean`), each term's sum was divided.
        student: The student's output and features.
        teacher: The teacher's.
    """

    total: Tensor
    parts: dict[str, Tensor]
    counts: tuple[int | Tensor, ...]
    student: Signals
    teacher: Signals


class Distiller(nn.Module):
    """A student with its teacher and objective, for any training loop.

    >>> from tutelage.objectives import SoftTargets
    >>> distiller = Distiller(nn.Linear(4, 3), nn.Linear(4, 3), SoftTargets(2.0))
    >>> losses = distiller(Batch(torch.randn(8, 4)))
    >>> losses.total.backward()
    >>> sorted(distiller.state_dict())
    ['student.bias', 'student.weight']

    The teacher runs in eval and inference mode and is no submodule: it is in neither
    `parameters()` nor `state_dict()`, and `train()` and `to()` do not reach it. Optimise
    `distiller.parameters()`: an objective may have parameters of its own, and one that compares
    layers has them from `build` on, which a loop of your own calls with one batch before it makes
    its optimiser. A part of the student whose parameters are all frozen stays in eval mode.

    Args:
        student: The module that learns.
        teacher: A module or a `Teacher`; a list of these (an ensemble) or a dict of these by domain
            (specialists); None where the objective wants nothing of one.
        objective: What the student minimises.
        chunk_logits_from: Number of classes from which the logits of a language model of
            transformers are computed for some tokens at a time, where that is exact; None for
            never. See docs/language.md.

    Raises:
        ArgumentError: The objective is none, wants a teacher and there is none, or wants a layer
            that is not there.
        ModelError: The student is no module, the teacher neither module nor `Teacher`, the two
            share parameters that are trained, or are language models of texts with different
            tokenizers.
    """

    teacher: Teacher | None
    _shared: dict[str, nn.Module]

    def __init__(
        self,
        student: nn.Module,
        teacher: AnyTeacher | None,
        objective: Objective,
        chunk_logits_from: int | None = CHUNK_LOGITS_FROM,
    ) -> None:
        super().__init__()
        check_learner("student", student)
        if not isinstance(objective, Objective):
            raise ArgumentError(
                f"`objective` must be an Objective, got {objective!r}; for instance "
                "0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4); to compile one, call "
                "objective.compile(), which changes it in place"
            )
        if teacher is None and objective.wants.teacher:
            raise ArgumentError(
                f"the objective {objective} learns from a teacher, got none; "
                "give one, or train on labels with HardLabels"
            )
        self.student = student
        self.objective = objective
        # Past nn.Module's bookkeeping, in case the teacher is a module as well: no part of ours.
        self.__dict__["_shared"] = dict[str, nn.Module]()
        self.__dict__["teacher"] = None if teacher is None else as_teacher(teacher)
        check_layers(student, objective.wants.student.features, "student")
        if self.teacher is not None:
            _refuse_shared(student, self.teacher, objective)
            theirs = {id(each) for module in self.teacher.modules() for each in module.modules()}
            shared = [(name, each) for name, each in student.named_modules() if id(each) in theirs]
            self.__dict__["_shared"] = dict(shared)
            self.teacher.check_layers(objective.wants.teacher.features)
            if objective.wants.teacher.output:
                self.teacher.check_kind(objective.output_kind)
                if objective.wants.student.output:
                    _refuse_other_tokens(student, self.teacher)
        self._wants, self._terms = with_heads(objective, chunk_logits_from), objective.terms()
        self._built = objective.built
        self._asks = bool(self._wants.teacher)
        ours, theirs = self._wants.student, self._wants.teacher
        self._captures = bool(ours.features or theirs.features or ours.loss)
        self._checked = False  # by a first training step
        self._width: int | None = None  # of the output of each row

    def forward(self, batch: Batch, counts: Tensor | None = None) -> Losses:
        """Return the losses of a batch.

        Args:
            batch: The examples.
            counts: `[terms]`: by how many examples to divide each term's sum, where the batch is
                one piece of a larger one; None for as many as are valid for it in this batch.

        Raises:
            ArgumentError: The objective is not built, or a term's value is not `[batch]`.
            DataError: Labels are missing or do not fit.
            ModelError: A side refuses the batch, or the two do not fit each other.
        """
        batch = shift_labels_for(batch, self.student, self._wants.student.output)
        examples, masks = valid_examples(self._terms, batch)
        if not self._built:
            self._built = self.objective.built
            if not self._built:
                raise ArgumentError(
                    f"the objective {self.objective} has projectors that are made from the shapes "
                    "of one batch, got none yet; call distiller.build(batch) before you make the "
                    "optimizer"
                )
        observed: Any = self._observe
        if self._captures and torch.compiler.is_dynamo_compiling():  # hooks are not traced
            observed = torch.compiler.disable(observed)
        watch = not torch.compiler.is_dynamo_compiling() and self.training and not self._checked
        teacher, student = observed(batch)
        divisors, weights, objectives = [], [], []
        for number, term in enumerate(self._terms):
            mask = masks[number]
            own = examples if mask is None else mask.sum()
            divisors.append(own if counts is None else counts[number])
            weights.append(term.weight(batch.progress))
            objectives.append(term.objective)

        def loss_of(number: int, values: Tensor) -> Tensor:
            part = _mean(values, masks[number], divisors[number], batch.replicas)
            return part * weights[number]

        each_of = values_of(objectives, student, teacher, batch, examples, loss_of, watch)
        total: Tensor | None = None
        parts: dict[str, Tensor] = {}
        for number, term in enumerate(self._terms):
            part = _mean(each_of[number], masks[number], divisors[number], batch.replicas)
            parts[term.name] = part.detach()
            weight = weights[number]
            total = part * weight if total is None else total.add(part, alpha=weight)
        return Losses(cast("Tensor", total), parts, tuple(divisors), student, teacher)

    def _observe(self, batch: Batch) -> tuple[Signals, Signals]:
        """Return the signals of teacher and student."""
        teacher, compiling = Signals(), torch.compiler.is_dynamo_compiling()
        first = not compiling and self.training and not self._checked  # training step
        before = versions(batch.inputs) if first else None
        if self.teacher is not None and self._asks:
            asked: Any = ask_first if first else ask
            if compiling and not self.teacher.is_traceable():
                asked = torch.compiler.disable(ask)
            teacher = asked(self.teacher, batch, self._wants.teacher)
        if first and versions(batch.inputs) != before:
            raise ModelError(
                f"the teacher ({type(self.teacher).__name__}) must leave the inputs of a batch as "
                "they are, got some changed in place, which the student would see; copy them first"
            )
        buffers = _buffers(self._shared) if first else []
        student = observe_student(self.student, batch, self._wants.student, "student")
        student = flatten_rows(student, batch, "student")
        if student.rows is not None and not compiling and isinstance(student.output, Tensor):
            width = student.output.shape[1]
            if self._width not in (None, width):
                _tell_width(self._width, width)
            self._width = width
        if first and torch.is_grad_enabled() and not _same(_buffers(self._shared), buffers):
            raise ModelError(
                "student and teacher must not share statistics that training changes, got the "
                f"buffers of one of {sorted(self._shared)} in both changed by the student; give "
                "the student a copy (copy.deepcopy)"
            )
        # A compiled graph is checked while it is traced, at no cost; so `_checked`, whose change
        # would call for another graph, is not part of it.
        if (compiling or first) and self.training and torch.is_grad_enabled():
            on = [term for term in self._terms if not term.is_off]
            wanted = {term.name: term.objective.wants.student for term in on}
            check_gradients(self.student, student, wanted)
            if not compiling:
                self._check_logits(student, teacher)
                self._checked = True
        return teacher, student

    def _check_logits(self, student: Signals, teacher: Signals) -> None:
        """Refuse probabilities where objectives read logits, which a softmax would flatten."""
        reading = [term.objective for term in self._terms]
        reading = [each.wants for each in reading if each.output_kind == "classes"]
        for side, signals, reads in (
            ("student", student, any(each.student.output for each in reading)),
            ("teacher", teacher, any(each.teacher.output for each in reading)),
        ):
            output = signals.dense_or_none
            if reads and output is not None and look_like_probabilities(output):
                raise ModelError(
                    f"the {side} must return logits of its classes, got rows of non-negative "
                    "numbers that sum to 1; leave out its last softmax, or take the logarithm of "
                    "what it returns: tl.layers.Output(model, torch.log); an objective of your own "
                    'that reads probabilities has output_kind = "values"'
                )

    def build(self, batch: Batch) -> None:
        """Build what depends on shapes in the objective, if it is not built, from one dry run.

        Both sides run once, in eval mode and without gradients; random states and batch
        statistics are left as they were.

        Raises:
            TutelageError: As `forward`.
        """
        batch = shift_labels_for(batch, self.student, self._wants.student.output)
        valid_examples(self._terms, batch)
        self._built = self.objective.built
        if self._built:
            return
        with randomness.preserved(), evaluating(self.student), torch.no_grad():
            teacher, student = self._observe(batch)
        self.objective.build(student, teacher)
        self._built = True

    def train(self, mode: bool = True) -> Distiller:
        """Set the mode of student and objective; frozen parts of the student stay in eval mode."""
        super().train(mode)
        if mode:
            eval_frozen_modules(self.student)
        return self

    def counts(self, batch: Batch) -> Tensor:
        """Return how many examples, or rows (`RowMean`), are valid for each term, `[terms]`.

        The copies of an example count as one.
        """
        examples, masks = valid_examples(
            self._terms, shift_labels_for(batch, self.student, self._wants.student.output)
        )
        numbers = [float(examples if mask is None else mask.sum()) for mask in masks]
        return torch.tensor(numbers, dtype=torch.float32) / batch.replicas

    def check_learned(self, counts: Sequence[float]) -> None:
        """Refuse data of which no example of a whole epoch was valid for a term.

        Args:
            counts: How many were, for each term.

        Raises:
            DataError: There was none.
        """
        for term, number in zip(self._terms, counts, strict=True):
            if number or term.is_off:
                continue
            if term.objective.wants.labels:
                raise DataError(
                    f"{term.objective} learns from labels, and no example of the whole epoch has "
                    "one (-100 and NaN mean unlabelled, and a transform may remove labels); label "
                    "some, or leave it out"
                )
            if term.objective.relates_examples:
                raise DataError(
                    f"{term.objective} compares the examples of a batch, and no batch of the whole "
                    "epoch has more than one; set batch_size to 2 or more, or leave it out"
                )


def _mean(values: Tensor, mask: Tensor | None, divisor: int | Tensor, replicas: float) -> Tensor:
    """Return the mean of a term's values over its valid examples, or their sum by a divisor."""
    if mask is not None:
        values = masked(values, mask)
    if isinstance(divisor, int) and replicas == 1:
        return values.mean()
    least = divisor.clamp(min=1) if isinstance(divisor, Tensor) else max(divisor, 1)
    return values.sum() / (least * replicas)


def check_learner(name: str, model: object) -> None:
    """Refuse what is no module, or has parameters that are not made yet."""
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


def _refuse_other_tokens(student: nn.Module, teacher: Teacher) -> None:
    """Refuse two language models whose outputs are about the tokens of different tokenizers."""
    ours = tokenizer_of(student)
    for theirs in map(tokenizer_of, teacher.modules()):
        if ours is not None and theirs is not None and theirs.get_vocab() != ours.get_vocab():
            raise ModelError(
                "the outputs of two language models for texts must be about the same tokens, got "
                f"different tokenizers, of {len(ours)} (student) and {len(theirs)} tokens "
                "(teacher); give the student texts as `input_ids`, and as teacher "
                "tl.teachers.Retokenized(model, tokenizer, student_tokenizer)"
            )


@cache
def _tell_width(before: int | None, width: int) -> None:
    """Log, once, that the number of classes at each position varies."""
    logging.getLogger("tutelage").warning(
        "The student's output has %s and then %s classes (or values) at each position: the last of "
        "three dimensions and the second of more, where labels do not tell. Wrap a model that has "
        "them elsewhere: tl.layers.Output(model, lambda output: output.transpose(1, 2)).",
        before, width,
    )  # fmt: skip


def _refuse_shared(student: nn.Module, teacher: Teacher, objective: Objective) -> None:
    """Refuse a student, and an objective, whose training would change the teacher."""
    theirs = {id(each) for module in teacher.modules() for each in module.parameters()}
    for owner, module in (("student", student), ("objective", objective)):
        for name, each in module.named_parameters():
            if each.requires_grad and id(each) in theirs:
                raise ModelError(
                    f"{owner} and teacher must not share what is trained, got the {owner}'s "
                    f"`{name}` in both; give the {owner} a copy (copy.deepcopy), or freeze it"
                )


def _buffers(modules: Mapping[str, nn.Module]) -> list[Tensor]:
    """Return copies of the statistics of modules: BatchNorm changes its own past their versions.

    Integers are not statistics: they count calls.
    """
    every = [each for module in modules.values() for each in module._buffers.values()]  # noqa: SLF001
    return [each.clone() for each in every if each is not None and each.is_floating_point()]


def _same(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    """Tell whether all tensors have the same values; NaN is one."""
    if [each.shape for each in ours] != [each.shape for each in theirs]:
        return False
    pairs = zip(ours, theirs, strict=True)
    return all(torch.allclose(*pair, rtol=0, atol=0, equal_nan=True) for pair in pairs)
