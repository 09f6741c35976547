"""What models return for a data set, with its labels and domains."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from tutelage.labels import by_example, is_known
from tutelage.nested import index_rows
from tutelage.objectives import Objective
from tutelage.rows import Rows
from tutelage.tasks.metrics import CountedMetric, reads_confusion
from tutelage.tasks.token_scores import TokenScores

Name = TypeVar("Name", bound=Hashable)
MOST_POSITIONS = 1024
"""How many positions of a map (pixels of an image) are kept."""


@dataclass(frozen=True)
class Outputs:
    """Model outputs for a data set, with labels and domains; all on the CPU.

    Of a map of classes with more than 1,024 positions an even grid of them is kept, with exact
    counts of all (`confusion`): otherwise the logits of a set of large images would fill memory.

    Args:
        student: Outputs of the evaluated model, `[examples, …]`, or `[rows, …]` with several
            answers an example; None where nothing requires them.
        teacher: The teacher's outputs; None without a teacher, or if it knows only some classes.
        labels: Of all examples, or rows: a tensor or a list of targets; None where the data has
            none.
        domains: The domain of each example; None where the data has none.
        rows: Which rows belong to which example; None with one answer an example.
        predictions: In place of `student`: one dict per example, as detectors return.
        scores: Of language models, scores of each row (token), and of other models whose logits
            are too many to keep; `student` and `teacher` are None where they are.
        language: Whether the model is a language model, which has a perplexity.
        confusion: Of maps of classes: how many positions of each example have a true and a
            predicted class, `[examples, classes, classes]` in float64, NaN where a logit is.
        teacher_confusion: That of the teacher.
    """

    student: Tensor | None
    teacher: Tensor | None = None
    labels: Any = None
    domains: Sequence[str] | None = None
    rows: Rows | None = None
    predictions: Sequence[Any] | None = None
    scores: TokenScores | None = None
    language: bool = False
    confusion: Tensor | None = None
    teacher_confusion: Tensor | None = None

    @property
    def given(self) -> Any:
        """What a user's metric is given: scores where there are any, else outputs or boxes."""
        if self.scores is not None:
            return self.scores
        return self.predictions if self.student is None else self.student

    @property
    def examples(self) -> int:
        """The number of examples."""
        given = self.given if self.rows is None else self.rows.counts
        return 0 if given is None else len(given)

    @property
    def comparable_teacher(self) -> Tensor | None:
        """The teacher's outputs where they are of the student's shape, else None."""
        if self.student is None or self.teacher is None:
            return None
        return self.teacher if self.teacher.shape == self.student.shape else None

    @property
    def known(self) -> Tensor | None:
        """Which examples, or rows, have a label; None where labels are no tensor with one each."""
        labels = self.labels
        if not isinstance(labels, Tensor):
            return None
        of_examples = self.rows is not None and len(labels) != len(self.rows)
        return None if of_examples else by_example(is_known(labels))

    def __getitem__(self, examples: Sequence[int]) -> Outputs:
        """Return the outputs for some examples."""
        own = torch.as_tensor(examples, dtype=torch.int64)
        chosen = own if self.rows is None else self.rows.selected(own.tolist())

        def part(values: Any, places: Tensor) -> Any:
            return None if values is None else index_rows(values, places)

        return Outputs(
            part(self.student, chosen),
            part(self.teacher, chosen),
            part(self.labels, own if self.known is None else chosen),
            None,
            None if self.rows is None else self.rows[own],
            part(self.predictions, own),
            None if self.scores is None else self.scores[chosen],
            self.language,
            part(self.confusion, own),
            part(self.teacher_confusion, own),
        )

    def read_by(self, objective: Objective) -> Outputs:
        """Return the same with the predictions that an objective reads in both models' outputs."""
        student, teacher = (
            None if each is None else objective.prediction(each)
            for each in (self.student, self.teacher)
        )
        return replace(self, student=student, teacher=teacher)

    def of_teacher(self) -> Outputs:
        """Return the teacher's outputs as those of the evaluated model."""
        return replace(
            self,
            student=self.teacher,
            teacher=None,
            confusion=self.teacher_confusion,
            teacher_confusion=None,
        )

    def labelled(self) -> Outputs:
        """Return those of the labelled examples, or rows, without domains and teacher."""
        labels, rows, student, scores = self.labels, self.rows, self.student, self.scores
        known = self.known
        if known is not None and (student is not None or scores is not None):
            student = None if student is None else student[known]
            scores = None if scores is None else scores[known]
            labels = labels[known]
            if rows is not None:
                counts = rows.examples[known].bincount(minlength=self.examples)
                rows = Rows.counted(counts)
        return Outputs(
            student, None, labels, None, rows, self.predictions, scores, confusion=self.confusion
        )

    def counts(self, metric: CountedMetric) -> tuple[Tensor, Tensor] | None:
        """Return which examples have a label, and what a metric counts of each; None without."""
        known = self.known
        if known is None:
            return None
        if self.confusion is not None and reads_confusion(metric):
            chosen = ~(self.confusion.flatten(1) == 0).all(dim=1)
            return chosen.nonzero().ravel(), self.confusion[chosen]
        found = self.labelled()
        counts = metric.counts(found.given, found.labels, found.rows)
        if self.rows is not None:
            known = self.rows.padded(known).flatten(1).any(dim=1)
            counts = counts[known]
        return known.nonzero().ravel(), counts

    def by_domain(self) -> dict[str, Outputs]:
        """Return the outputs of each domain; empty where the data has no domains."""
        return {name: self[own] for name, own in positions_of(self.domains or ()).items()}


def positions_of(names: Iterable[Name]) -> dict[Name, list[int]]:
    """Return the positions of each name, in order of first occurrence."""
    found: dict[Name, list[int]] = {}
    for position, name in enumerate(names):
        found.setdefault(name, []).append(position)
    return found


def on_grid(rows: Rows) -> tuple[Rows, Tensor | None]:
    """Return the rows on an even grid of positions, and which of all they are, `[rows]` of bool.

    Of positions of one dimension, and where there are few, these are all rows, and None. Of an
    example with few rows, as of labels at single points, they are all; of one with more, none of
    them on the grid, they are evenly spaced among its rows.

    >>> kept, which = on_grid(Rows(torch.ones(1, 64, 96, dtype=torch.bool)))
    >>> len(kept), int(which.sum())
    (672, 672)
    """
    positions = rows.positions
    number, dimensions = math.prod(positions), len(positions)
    if dimensions < 2 or number <= MOST_POSITIONS:  # noqa: PLR2004 - a text has one
        return rows, None
    stride = math.ceil((number / MOST_POSITIONS) ** (1 / dimensions))
    grid = torch.zeros(positions, dtype=torch.bool, device=rows.mask.device)
    grid[tuple(slice((min(stride, size) - 1) // 2, None, stride) for size in positions)] = True
    mask, kept = rows.mask.flatten(1), (rows.mask & grid).flatten(1)
    apart = (rows.counts + MOST_POSITIONS - 1) // MOST_POSITIONS  # 1 takes all rows
    spaced = mask & ((mask.cumsum(dim=1) - 1) % apart[:, None].clamp(min=1) == 0)
    few = (apart <= 1) | ~kept.any(dim=1)
    chosen = torch.where(few[:, None], spaced, kept).view_as(rows.mask)
    return Rows(chosen), rows.of(chosen)
