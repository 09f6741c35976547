"""What models return for a data set, with its labels and domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tutelage.nested import index_rows
from tutelage.objectives import Objective
from tutelage.rows import Rows
from tutelage.signals import Batch
from tutelage.tasks.metrics import places
from tutelage.tasks.token_scores import TokenScores


@dataclass(frozen=True)
class Outputs:
    """Model outputs for a data set, with labels and domains; all on the CPU.

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
    """

    student: Tensor | None
    teacher: Tensor | None = None
    labels: Any = None
    domains: Sequence[str] | None = None
    rows: Rows | None = None
    predictions: Sequence[Any] | None = None
    scores: TokenScores | None = None
    language: bool = False

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
        """Which examples, or rows, have a label; None where labels are no tensor."""
        labels = self.labels
        return Batch(labels, labels).labelled() if isinstance(labels, Tensor) else None

    def __getitem__(self, examples: Sequence[int]) -> Outputs:
        """Return the outputs for some examples."""
        own = torch.as_tensor(examples, dtype=torch.int64)
        chosen = own if self.rows is None else self.rows.selected(own.tolist())
        student, teacher, labels = (
            None if each is None else index_rows(each, chosen)
            for each in (self.student, self.teacher, self.labels)
        )
        rows = None if self.rows is None else self.rows[own]
        predictions = None if self.predictions is None else index_rows(self.predictions, own)
        scores = None if self.scores is None else self.scores[chosen]
        return Outputs(student, teacher, labels, None, rows, predictions, scores, self.language)

    def read_by(self, objective: Objective) -> Outputs:
        """Return the same with the predictions that an objective reads in both models' outputs."""
        student, teacher = (
            None if each is None else objective.prediction(each)
            for each in (self.student, self.teacher)
        )
        return replace(self, student=student, teacher=teacher)

    def of_teacher(self) -> Outputs:
        """Return the teacher's outputs as those of the evaluated model."""
        return replace(self, student=self.teacher, teacher=None)

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
        return Outputs(student, None, labels, None, rows, self.predictions, scores)

    def by_domain(self) -> dict[str, Outputs]:
        """Return the outputs of each domain; empty where the data has no domains."""
        return {name: self[own] for name, own in places(self.domains or ()).items()}
