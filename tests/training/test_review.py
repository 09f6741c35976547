"""All of the validation data, put together for an objective that looks at it."""

import torch

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.distiller import Losses
from tutelage.objectives import with_feedback
from tutelage.signals import Batch, Signals
from tutelage.training.review import reviewed

DENSE = torch.tensor([[1.0, 2.0, 3.0]])
COARSE = CoarseLogits(torch.tensor([[1, 2]]), torch.tensor([[4.0, 5.0]]), torch.tensor([6.0]))


class Looking(tl.Objective):
    """Keeps what it is shown."""

    wants = tl.Wants()

    def forward(self, student, teacher, batch):
        return torch.zeros(len(batch))

    def validation_metrics(self, student, teacher, batch):
        self.seen = student.output, teacher.output, batch
        return {"size": float(len(batch.labels))}

    def update(self, metrics):
        self.heard = metrics


def said(teacher, label, domain):
    losses = Losses(torch.zeros(()), {}, (), Signals(DENSE), Signals(teacher))
    return losses, Batch(None, torch.tensor([label]), domain=domain)


def test_all_batches_are_joined():
    objective = Looking()
    seen = [said(DENSE, 2, ["a"]), said(DENSE + 1, 0, torch.tensor([7]))]
    assert reviewed(objective, seen) == {"size": 2.0}
    student, teacher, batch = objective.seen
    assert torch.equal(student, torch.cat([DENSE, DENSE]))
    assert torch.equal(teacher, torch.cat([DENSE, DENSE + 1]))
    assert (batch.labels.tolist(), batch.domain) == ([2, 0], ["a", "7"])


def test_answers_about_some_classes_are_joined_with_those_about_all():
    objective = Looking()
    reviewed(objective, [said(DENSE, 2, None), said(COARSE, 0, ["a"])])
    _, teacher, batch = objective.seen
    assert teacher.ids.tolist() == [[0, 1, 2], [1, 2, -1]]
    assert teacher.rest.tolist() == [-torch.inf, 6.0]
    assert batch.domain is None  # not all examples have one


def test_who_does_not_ask_is_not_shown_anything():
    assert reviewed(tl.SoftTargets(), [said(DENSE, 2, None)]) == {}


def test_all_terms_of_a_sum_that_look_are_found():
    one, other = Looking(), Looking()
    both = one + 2 * (tl.HardLabels() + other)
    assert with_feedback(both) == [one, other]
    assert with_feedback(tl.HardLabels() + tl.SoftTargets()) == []
    assert reviewed(both, [said(DENSE, 2, None)]) == {"size": 1.0}
    for each in with_feedback(both):
        each.update({"size": 3.0})
    assert one.heard == other.heard == {"size": 3.0}
