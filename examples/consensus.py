"""Teachers that know different classes, joined where nobody knows an example's domain.

Three classifiers of digits each know four classes and one "other" class. For each example
`Consensus` computes the distribution q over all ten classes that minimizes Σ_k w_k KL(p_k ‖ q_k),
where q_k is q over the classes that teacher k knows, with the sum of the remaining ones as "other"
(Hinton, Vinyals and Dean 2015, section 5, https://arxiv.org/abs/1503.02531). It is also an example
of a teacher of one's own. Where an example's domain is known, `tl.teachers.Specialists` is better.

python examples/consensus.py
"""

import tempfile
from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.evaluation import accuracy

CLASSES = 10
GROUPS = ((0, 1, 2, 3), (3, 4, 5, 6), (6, 7, 8, 9))


class Consensus(tl.teachers.Teacher):
    """Teachers of different classes, all applied to each example.

    The fixed-point iteration

        q_i ← Σ_k w_k · p_k(i),

    with p_k(i) = p_k(other) · q_i / q_k(other) for a class i that teacher k does not know, never
    increases Σ_k w_k KL(p_k ‖ q_k). The ratios of classes that no teacher distinguishes stay equal.

    Args:
        teachers: By name; each a `Specialist` with an "other" class, or a teacher of all classes.
        classes: The number of the student's classes.
        weights: One for each teacher; None for equal weights.
        tolerance: The iteration ends when no probability changes by more.
        max_steps: Maximum number of iterations.
    """

    def __init__(
        self,
        teachers: Mapping[str, tl.teachers.Teacher | nn.Module],
        classes: int,
        weights: Sequence[float] | None = None,
        tolerance: float = 1e-6,
        max_steps: int = 200,
    ) -> None:
        self.names = tuple(teachers)
        self.members = tuple(map(tl.teachers.as_teacher, teachers.values()))
        given = torch.tensor(weights or [1.0] * len(self.names), dtype=torch.float64)
        self.classes, self.weights = classes, given / given.sum()
        self.tolerance, self.max_steps = tolerance, max_steps

    def signals(self, batch: tl.Batch, fields: tl.Fields) -> tl.Signals:
        """Return log q, `[batch, classes]`."""
        outputs = [tl.teachers.ask(each, batch, fields).targets for each in self.members]
        parts = [self._scattered(each) for each in outputs]
        known, log_p, other = (torch.stack(column) for column in zip(*parts, strict=True))
        return tl.Signals(self._iterate(known, log_p, other))

    def fingerprint(self) -> str:
        """Return a text that changes when the outputs may change."""
        prints = [each.fingerprint() for each in self.members]
        return f"Consensus({self.classes}, {self.weights.tolist()}, {self.names}, {prints})"

    def _iterate(self, known: Tensor, log_p: Tensor, other: Tensor) -> Tensor:
        """Return log q that minimizes Σ_k w_k KL(p_k ‖ q_k), `[batch, classes]`."""
        log_weights = self.weights.to(log_p).log().reshape(-1, 1, 1)
        log_q = F.log_softmax(torch.zeros_like(log_p[0]), dim=1)
        for _ in range(self.max_steps):
            outside = log_q.masked_fill(known, -torch.inf).logsumexp(dim=-1, keepdim=True)
            completed = torch.where(known, log_p, other + log_q - outside)
            last, log_q = log_q, F.log_softmax((log_weights + completed).logsumexp(dim=0), dim=1)
            if (log_q.exp() - last.exp()).abs().amax() <= self.tolerance:
                break
        return log_q

    def _scattered(self, output: Tensor | CoarseLogits) -> tuple[Tensor, Tensor, Tensor]:
        """Return a teacher's known classes and their log-probabilities, and that of "other"."""
        coarse = CoarseLogits.of(output) if isinstance(output, Tensor) else output
        log_p = F.log_softmax(torch.cat([coarse.logits, coarse.other.unsqueeze(1)], dim=1), dim=1)
        ids = coarse.ids
        empty = log_p.new_full((len(ids), self.classes), -torch.inf)
        known = torch.zeros_like(empty, dtype=torch.bool).scatter(1, ids, True)
        return known, empty.scatter(1, ids, log_p[:, :-1]), log_p[:, -1:]


def network(outputs: int) -> nn.Sequential:
    """Return a classifier of 8 × 8 pixels."""
    return nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, outputs))


def main() -> dict[str, float]:
    """Train the teachers, distil their consensus without labels, and return the accuracies."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images, classes = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    order = torch.randperm(len(images))
    train, test = order[:1200], order[1200:]
    adam = partial(torch.optim.AdamW, lr=1e-2)
    teachers = {}
    for group in GROUPS:
        own = torch.full_like(classes, len(group))  # "other"
        for position, each in enumerate(group):
            own[classes == each] = position
        model = network(len(group) + 1)
        tl.fit(model, train=TensorDataset(images[train], own[train]), epochs=10, optimizer=adam)
        teachers[str(group)] = tl.teachers.Specialist(model, list(group))
    consensus = Consensus(teachers, CLASSES)
    inputs = TensorDataset(images[train])
    store = tl.label(consensus, inputs, out=tempfile.mkdtemp())  # each example is asked for once
    student = tl.distill(
        store, network(CLASSES), train=inputs, objective=tl.SoftTargets(1), epochs=15,
        optimizer=adam,
    ).student  # fmt: skip
    joined = consensus.signals(tl.Batch(images[test]), tl.Fields(output=True)).output
    found = {"consensus": joined, "student": student(images[test])}
    result = {name: accuracy(each, classes[test]) for name, each in found.items()}
    print(*(f"{name} {value:.3f}" for name, value in result.items()))
    return result


if __name__ == "__main__":
    main()
