"""What is kept of logits over a vocabulary, which are too many to keep: six numbers of each row."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError
from tutelage.heads import HeadLogits, chunks_of_rows, pieces_of_rows
from tutelage.labels import UNLABELLED
from tutelage.nested import describe
from tutelage.objectives._tensors import at_least_float32
from tutelage.tasks.metrics import check_class_ids

BATCH_OF_TEXTS = 8
"""How many texts language models are evaluated on at a time."""
_COLUMNS = ("nll", "predicted", "confidence", "teacher_predicted", "kl", "accepted")


@dataclass(frozen=True)
class TokenScores:
    """Scores of rows, such as the predicted tokens of texts, in place of their logits.

    With q the model's probabilities and p its teacher's, the columns are

    0. `nll`: −log q(label), in nats;
    1. `predicted`: the class of the largest logit;
    2. `confidence`: the largest probability of q;
    3. `teacher_predicted`: the class of the teacher's largest logit;
    4. `kl`: KL(p ‖ q), in nats;
    5. `accepted`: Σ min(p, q), the probability that speculative decoding accepts a token of q.

    A number that is not known is NaN: the first of a row without a label, and the last three
    without a teacher. Of one that knows some of the classes and the probability of all others
    together (`CoarseLogits`), `kl` and `accepted` are not known; its class of the largest logit is
    where that is more probable than all others together, and its `nll` where it knows the label.

    Args:
        table: `[rows, 6]` of float32, on the CPU.

    Raises:
        DataError: The table has another shape.
    """

    table: Tensor

    def __post_init__(self) -> None:
        if self.table.ndim != 2 or self.table.shape[1] != len(_COLUMNS):  # noqa: PLR2004
            raise DataError(
                f"scores of tokens must be [rows, {len(_COLUMNS)}], got {describe(self.table)}; "
                "make them by tutelage.evaluation.token_scores"
            )

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, rows: Tensor | slice) -> TokenScores:
        return TokenScores(self.table[rows])

    def column(self, name: str) -> Tensor:
        """Return a column by its name, `[rows]` in float64."""
        return self.table[:, _COLUMNS.index(name)].double()

    def right(self, labels: Tensor) -> Tensor:
        """Return 1 where the predicted class is the label, `[rows]`; NaN if a logit is NaN."""
        return _equal(self.column("predicted"), labels)

    def agree(self) -> Tensor:
        """Return 1 where the teacher predicts the same class, `[rows]`; NaN where not known."""
        return _equal(self.column("predicted"), self.column("teacher_predicted"))


def token_scores(
    student: Tensor | HeadLogits | CoarseLogits,
    teacher: Tensor | HeadLogits | CoarseLogits | None,
    labels: object,
) -> TokenScores:
    """Return the scores of rows; logits of `HeadLogits` are made for some rows at a time.

    Args:
        student: The model's logits, `[rows, classes]`, or what a teacher of some classes knows.
        teacher: The teacher's; None without one. One of other classes tells nothing.
        labels: Class ids of the rows, `[rows]`, −100 for none; anything else is no label.

    Raises:
        DataError: A class id is out of range.
    """
    if isinstance(student, CoarseLogits):
        own = _of_known(student, _ids(labels, len(student)))
        return TokenScores(torch.cat([own, torch.full_like(own, torch.nan)], dim=1))
    number, classes = student.shape
    ids = _ids(labels, number, classes).to(student.device)
    predicted = None
    if isinstance(teacher, CoarseLogits):
        predicted = _of_known(teacher, _ids(None, number))[:, 1]
        teacher = None
    elif teacher is not None and teacher.shape != student.shape:
        teacher = None
    ours, theirs = _computed(student), None if teacher is None else _computed(teacher)
    parts: list[Tensor] = []
    for rows in chunks_of_rows((number, classes), student.device):
        logits, targets = _logits(ours[rows]), None if theirs is None else _logits(theirs[rows])
        parts += [
            _of_piece(logits[few], None if targets is None else targets[few], ids[rows][few])
            for few in pieces_of_rows((len(logits), classes), student.device)
        ]
    table = torch.cat(parts) if parts else torch.empty(0, len(_COLUMNS))
    if predicted is not None:
        table[:, 3] = predicted
    return TokenScores(table)


def unknown_labels(scores: TokenScores, labels: object) -> str:
    """Return how many labels a teacher does not know, in words; "" if it knows all of them."""
    if not isinstance(labels, Tensor) or labels.shape != (len(scores),):
        return ""
    known = labels.long() != UNLABELLED
    missing = int(scores.column("nll")[known].isnan().sum())
    if not missing:
        return ""
    return (
        f"it has no probability of the text's own token for {missing:,} of {int(known.sum()):,} "
        "tokens, since it knows the most probable ones only"
    )


def _ids(labels: object, rows: int, classes: int | None = None) -> Tensor:
    """Return the label of each row, −100 where there is none."""
    if not isinstance(labels, Tensor) or labels.shape != (rows,) or labels.is_floating_point():
        return torch.full((rows,), UNLABELLED)
    if classes is not None:
        check_class_ids(labels, classes)
    return labels.long()


def _of_known(output: CoarseLogits, ids: Tensor) -> Tensor:
    """Return the first three scores of a teacher of some classes, `[rows, 3]`; NaN if not known."""
    unknown = torch.full((len(output), 3), torch.nan)
    if output.sampled_at is not None or not output.ids.shape[1]:
        return unknown  # frequencies of samples are no probabilities
    output, ids = output.to(torch.device("cpu")), ids.cpu()
    mass = torch.cat([output.logits, output.other[:, None]], dim=1).float().log_softmax(dim=1)
    known, other = mass[:, :-1], mass[:, -1]
    is_label = (output.ids == ids[:, None]) & (ids != UNLABELLED)[:, None]
    nll = -known.masked_fill(~is_label, -torch.inf).amax(dim=1)
    largest, place = known.max(dim=1)
    predicted = output.ids.gather(1, place[:, None])[:, 0].float()
    found = torch.stack([nll, predicted, largest.exp()], dim=1)
    certain = largest > other
    return found.where(torch.stack([is_label.any(dim=1), certain, certain], dim=1), unknown)


def _computed(output: Tensor | HeadLogits) -> Tensor | HeadLogits:
    return output.detached().as_computed() if isinstance(output, HeadLogits) else output.detach()


def _logits(output: Tensor | HeadLogits) -> Tensor:
    return at_least_float32(output.logits() if isinstance(output, HeadLogits) else output)


@torch.no_grad()
def _of_piece(logits: Tensor, theirs: Tensor | None, ids: Tensor) -> Tensor:
    """Return the scores of some rows, `[rows, 6]`."""
    log_q = F.log_softmax(logits, dim=1)
    labelled = ids != UNLABELLED
    nll = -log_q.gather(1, ids.clamp(min=0)[:, None])[:, 0].masked_fill(~labelled, torch.nan)
    found = [nll, _predicted(logits), log_q.amax(dim=1).exp()]
    if theirs is None:
        found += [torch.full_like(nll, torch.nan)] * 3
    else:
        log_p = F.log_softmax(theirs.to(logits.device), dim=1)
        p, q = log_p.exp(), log_q.exp()
        # What p rules out adds nothing, also where q does; what q alone rules out makes it ∞.
        kl = (p * (log_p - log_q)).masked_fill(p == 0, 0).sum(dim=1)
        found += [_predicted(theirs).to(nll.device), kl, torch.minimum(p, q).sum(dim=1)]
    return torch.stack([each.float() for each in found], dim=1).cpu()


def _predicted(logits: Tensor) -> Tensor:
    """Return the class of the largest logit of each row, `[rows]`; NaN where a logit is NaN."""
    largest, classes = logits.max(dim=1)  # NaN counts as the largest
    return classes.float().masked_fill(largest.isnan(), torch.nan)


def _equal(ours: Tensor, theirs: Tensor) -> Tensor:
    unknown = ours.isnan() | theirs.isnan()
    return (ours == theirs).double().masked_fill(unknown, torch.nan)
