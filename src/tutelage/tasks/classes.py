"""Class labels: one of several classes for each example, or row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tutelage._checks import positive
from tutelage.errors import ArgumentError, DataError
from tutelage.labels import is_known
from tutelage.nested import describe
from tutelage.objectives import HardLabels, Objective, soft_targets
from tutelage.tasks.calibration import (
    binned,
    check_several_logits,
    confidences,
    labelled,
)
from tutelage.tasks.metrics import check_class_ids, check_same_examples
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import MOST_CLASSES, NO_SUMMARY, Matrix, Summary, Task, Wording, means_of

SIMILARITY_TEMPERATURE = 4.0
"""At which class similarities of reports are softened."""
_LEAST_ENTRIES = 2
_FEWEST_CLASSES = 3  # of two there is no spread to correlate


class Classes(Task):
    """One of several classes: outputs are logits `[examples, classes]`, labels are class ids."""

    name = "classes"
    label_metrics = ("accuracy",)
    teacher_metrics = ("agreement", "kl")
    means = ("accuracy", "agreement")
    smooths = True
    is_classified = True
    words = Wording(
        calibration=(
            "ECE, the expected calibration error, is the mean distance of confidence and accuracy "
            "over 15 bins (Guo et al. 2017); with few examples chance alone makes it larger than "
            "0. NLL is the negative log-likelihood of the true class. Lower is better for both."
        ),
        diagram=(
            "Accuracy by confidence",
            "On the dashed line accuracy equals confidence; below it the model is overconfident. "
            "Larger marks stand for more examples.",
        ),
        axes=("confidence", "accuracy"),
        lesson=(
            "A label names one class. A teacher also gives probabilities for all other classes, "
            "from which a student can learn more than from the label."
        ),
        fidelity=(
            "Agreement is the fraction of examples for which student and teacher predict the same "
            "class; KL is the divergence of the student's probabilities from the teacher's at "
            "T = 1. Similarity is the correlation between student and teacher of the mean "
            "probabilities of wrong classes, on {data} at T = {temperature:g}."
        ),
    )

    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the cross-entropy with the labels."""
        return HardLabels(smoothing)

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return `accuracy`, and `agreement` with a teacher."""
        return self.found_means(self.means, outputs)

    def fidelity(self, outputs: Outputs) -> dict[str, float]:
        """Return `kl`, where outputs are finite logits."""
        student, teacher = outputs.student, outputs.comparable_teacher
        if student is None or teacher is None or student.ndim != 2 or _is_single(teacher):  # noqa: PLR2004
            return {}
        found = mean_kl(student, teacher)
        # Where the student alone rules out a class there is none.
        return {"kl": found} if math.isfinite(found) else {}

    def summarize(self, seeds: Sequence[Outputs]) -> Summary:
        """Return the reliability; of not too many classes similarities and recalls too."""
        if not all(map(self.has_probabilities, seeds)):
            return NO_SUMMARY
        pairs = [(each.student, each.labels) for each in seeds if each.student is not None]
        confidence, correct = zip(*(confidences(*each) for each in pairs), strict=True)
        found = NO_SUMMARY.copy()
        found["reliability"] = binned(torch.cat(confidence), torch.cat(correct))
        if pairs[0][0].shape[1] <= MOST_CLASSES:
            several = [class_similarity(*each, SIMILARITY_TEMPERATURE) for each in pairs]
            matrix = torch.stack(several).mean(dim=0).nan_to_num().tolist()
            found["similarity"] = tuple(map(tuple, matrix))
            found["by_class"] = means_of([_recalls(each) for each in seeds])
        return found

    def note_on_labels(self, outputs: Outputs) -> str:
        """Return that all examples are of one class."""
        if outputs.rows is not None or not self._has_ids(outputs):
            return ""
        classes = outputs.labels.unique()
        if len(classes) > 1:
            return ""
        return (
            f"All {len(outputs.labels):,} test examples are of class {int(classes[0])}, so a "
            "student that always predicts it has an accuracy of 100 %."
        )

    def row_values(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return 1 where a prediction is right, or the teacher's; else 0."""
        student, teacher = outputs.student, outputs.comparable_teacher
        if student is None or student.ndim != 2:  # noqa: PLR2004
            return None
        if name == "agreement" and teacher is not None and not _is_single(teacher):
            return torch.arange(len(student)), _same_class(student, teacher)
        if name != "accuracy" or not self._has_ids(outputs):
            return None
        check_class_ids(outputs.labels, student.shape[1])
        known = is_known(outputs.labels)
        return known.nonzero().ravel(), _correct(student, outputs.labels)[known]

    def sums(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return those of `row_values`; for the accuracy of maps those of all their positions."""
        if name != "accuracy" or outputs.confusion is None or outputs.labels is None:
            return super().sums(name, outputs)
        right = outputs.confusion.diagonal(dim1=1, dim2=2).sum(dim=1)
        return right, outputs.confusion.sum(dim=(1, 2))

    def pack(self, outputs: Outputs) -> Tensor | None:
        """Return the logits, with the confusion matrices of maps, if any, as further rows."""
        logits = super().pack(outputs)
        if logits is None or outputs.confusion is None:
            return logits
        return torch.cat([logits, outputs.confusion.flatten(0, 1).float()])

    def unpack(self, kept: Tensor, known: Outputs) -> Outputs:
        """Return logits that were kept, and confusion matrices where they were."""
        found, classes = super().unpack(kept, known), kept.shape[-1]
        if known.rows is None or len(kept) == len(known.rows):
            return found
        logits, counts = kept[: len(known.rows)], kept[len(known.rows) :]
        teacher = known.teacher
        their_counts = None
        if teacher is not None and teacher.shape == kept.shape:
            their_counts = teacher[len(logits) :].double().view(-1, classes, classes)
            teacher = teacher[: len(logits)]
        return replace(
            found,
            student=logits,
            teacher=teacher,
            confusion=counts.double().view(-1, classes, classes),
            teacher_confusion=their_counts,
        )

    def extremes(
        self, outputs: Outputs, among: Sequence[int] | None = None
    ) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Yield the classes with their logit above, and below, all others of an example."""
        logits = outputs.student
        if (
            logits is None
            or logits.ndim != 2  # noqa: PLR2004
            or outputs.rows is not None
            or not self._has_ids(outputs)
        ):
            return
        labels = outputs.labels if among is None else outputs.labels[torch.as_tensor(among)]
        ids, counts = labels[is_known(labels)].unique(return_counts=True)
        for name in ids[counts.argsort(stable=True)].tolist():
            own = (outputs.labels == name).nonzero().ravel()
            own = own if among is None else own[torch.isin(own, torch.as_tensor(among))]
            right, wrong = logits.clone(), logits.clone()
            right[own, name] = logits[own].amax(dim=1) + 1
            wrong[own, name] = logits[own].amin(dim=1) - 1
            yield own.tolist(), right, wrong

    def _has_ids(self, outputs: Outputs) -> bool:
        """Tell whether any example has a class id for a label."""
        labels, known = outputs.labels, outputs.known
        if known is None or labels.is_floating_point() or labels.ndim != 1:
            return False
        return bool(known.any())

    def has_probabilities(self, outputs: Outputs) -> bool:
        """Tell whether labels are classes that outputs have finite logits for."""
        logits = outputs.student
        if logits is None or logits.ndim != 2 or _is_single(logits) or not self._has_ids(outputs):  # noqa: PLR2004
            return False
        # A class that is ruled out by an infinite logit leaves no probabilities to speak of.
        return bool(logits.isfinite().all()) and int(outputs.labels.max()) < logits.shape[1]


def _recalls(outputs: Outputs) -> dict[int, float]:
    if outputs.confusion is None:
        return by_class(outputs.student, outputs.labels)  # pyright: ignore[reportArgumentType]
    counts = outputs.confusion.sum(dim=0)
    true = counts.sum(dim=1)
    recalls = counts.diagonal() / true
    return {each: recalls[each].item() for each in true.nonzero().ravel().tolist()}


def accuracy(output: Tensor, labels: Tensor) -> float:
    """Fraction of examples whose predicted class (largest logit) is the true one, in [0, 1].

    Args:
        output: Logits `[examples, classes]`.
        labels: Class ids `[examples]`; −100 is left out.

    Raises:
        DataError: Labels are not class ids `[examples]`, or there is a single logit, of which the
            largest says nothing.

    >>> accuracy(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, -100]))
    0.5
    """
    if labels.is_floating_point() or labels.shape != output.shape[:1]:
        raise DataError(
            f"labels of logits {list(output.shape)} must be class ids [{len(output)}], got "
            f"{describe(labels)}; give one integer for each example"
        )
    return _correct(output, labels)[is_known(labels)].mean().item()


def agreement(student: Tensor, teacher: Tensor) -> float:
    """Fraction of examples for which student and teacher predict the same class, in [0, 1].

    Shape:
        Logits of both, `[examples, classes]`.

    Raises:
        DataError: They are of other examples, or there is a single logit.
    """
    check_same_examples(student, teacher)
    return _same_class(student, teacher).mean().item()


def mean_kl(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> float:
    """Mean over the examples of KL(softmax(v/T) ‖ softmax(z/T)), in nats; computed in float64.

    Fidelity differs from accuracy: a student may be right where its teacher is wrong (Stanton et
    al. 2021, https://arxiv.org/abs/2106.05945).

    Args:
        student: Student logits z, `[examples, classes]`.
        teacher: Teacher logits v, `[examples, classes]`.
        temperature: T > 0; 1 compares the probabilities as they are.

    Raises:
        ArgumentError: `temperature` is not positive.
        ModelError: The shapes differ.

    >>> student, teacher = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.75, 0.25]])
    >>> round(mean_kl(student.log(), teacher.log()), 4)  # 0.75 log 1.5 + 0.25 log 0.5
    0.1308
    """
    positive("temperature", temperature, "1 compares the probabilities as they are")
    divergence = soft_targets(student.double(), teacher.double(), temperature)
    return divergence.mean().item() / temperature**2


def by_class(output: Tensor, labels: Tensor) -> dict[int, float]:
    """Return each class's recall: the fraction of its examples that are predicted as that class.

    Args:
        output: Logits, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.

    Returns:
        In [0, 1], by class id, ascending; classes without examples are left out.

    Raises:
        DataError: The shapes do not match, no example has a label, or a class id is out of range.
        NonFiniteError: A logit is NaN or infinite.

    >>> by_class(torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1, 1]))
    {0: 1.0, 1: 0.5}
    """
    logits, ids = labelled(output, labels)
    correct = (logits.argmax(dim=1) == ids).double()
    return {each: correct[ids == each].mean().item() for each in ids.unique().tolist()}


def class_similarity(output: Tensor, labels: Tensor, temperature: float = 1.0) -> Tensor:
    """Return S with S_{kj} the mean of softmax(z/T)_j over the examples of true class k.

    A label only names the class 1; a teacher's probabilities also show that this 1 resembles a 7
    more than a 4. This is what a student can learn beyond the labels ("dark knowledge").

    Source: Hinton, Vinyals and Dean 2015, https://arxiv.org/abs/1503.02531.

    Args:
        output: Logits z, `[examples, classes]`, finite.
        labels: Class ids, `[examples]`; −100 is left out.
        temperature: T > 0. Higher values emphasize the small probabilities.

    Returns:
        `[classes, classes]` of float64: each row sums to 1; the row of a class without examples is
        NaN.

    Raises:
        TutelageError: As `by_class`, or `temperature` is not positive.

    >>> class_similarity(torch.tensor([[0.75, 0.25], [0.25, 0.75]]).log(), torch.tensor([0, 0]))
    tensor([[0.5000, 0.5000],
            [   nan,    nan]], dtype=torch.float64)
    """
    positive("temperature", temperature, "4 emphasizes the small probabilities")
    logits, ids = labelled(output, labels)
    soft = (logits / temperature).softmax(dim=1)
    classes = soft.shape[1]
    total = soft.new_zeros(classes, classes).index_add_(0, ids, soft)
    return total / ids.bincount(minlength=classes)[:, None]


def similarity_correlation(student: Tensor, teacher: Tensor) -> float:
    """Pearson's r of the off-diagonal entries of two similarity matrices, in [−1, 1].

    The diagonal is left out: it only contains the confidence in the true class.

    Args:
        student: The student's `class_similarity`, `[classes, classes]`; NaN is left out.
        teacher: The teacher's, for the same examples and temperature.

    Returns:
        r; NaN if all entries of one matrix are equal, where r is not defined.

    Raises:
        ArgumentError: The two are not square and of one shape, or fewer than two entries are left.

    >>> teacher = torch.tensor([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
    >>> round(similarity_correlation(teacher**2, teacher), 3)
    0.993
    """
    if student.shape != teacher.shape or student.shape != (len(student), len(student)):
        raise ArgumentError(
            "`student` and `teacher` must both be [classes, classes], got "
            f"{list(student.shape)} and {list(teacher.shape)}; give the class_similarity of each"
        )
    diagonal = torch.eye(len(student), dtype=torch.bool, device=student.device)
    known = ~(student.isnan() | teacher.isnan() | diagonal)
    if known.sum() < _LEAST_ENTRIES:
        raise ArgumentError(
            f"at least {_LEAST_ENTRIES} off-diagonal entries must be known in both, got "
            f"{int(known.sum())}; give examples of more classes"
        )
    entries = torch.stack([student[known], teacher[known]]).double()
    if (entries == entries[:, :1]).all(dim=1).any():
        return torch.nan
    return torch.corrcoef(entries)[0, 1].item()


def resemblance(ours: Matrix, theirs: Matrix) -> float | None:
    """Return the correlation of two models' class similarities; None where there is none."""
    if len(ours) != len(theirs) or len(ours) < _FEWEST_CLASSES:
        return None
    both = (torch.tensor(each) for each in (ours, theirs))
    # A class without examples has zeros, where others add up to 1.
    known = (each.masked_fill(each.sum(dim=1, keepdim=True) == 0, math.nan) for each in both)
    value = similarity_correlation(*known)
    return value if math.isfinite(value) else None


def _is_single(logits: Tensor) -> bool:
    """Tell whether there is one logit for each example, of which the largest says nothing."""
    return logits.ndim == 2 and logits.shape[1] == 1  # noqa: PLR2004 - rows and columns


def _correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 or 0 for each example, or NaN if a logit is NaN, where argmax has no meaning."""
    check_several_logits(logits)
    correct = (logits.argmax(dim=1) == labels).double()
    return correct.masked_fill(logits.isnan().any(dim=1), torch.nan)


def _same_class(student: Tensor, teacher: Tensor) -> Tensor:
    """Return `_correct` with the teacher's classes for labels, NaN also where a logit of its is."""
    return _correct(student, teacher.argmax(dim=1)).masked_fill(
        teacher.isnan().any(dim=1), torch.nan
    )
