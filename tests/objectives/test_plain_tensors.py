"""Objectives called with tensors, as in a training loop of one's own."""

import pytest
import torch
import torch.nn.functional as F

import tutelage as tl
from objective_samples import Sample, found
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch, Signals

EACH = found(Sample)


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("sample", EACH.values(), ids=EACH)
def test_values_are_those_of_signals(sample):
    student, teacher, objective = normal(0, 6, 4), normal(1, 6, 4), sample.objective
    expected = objective(Signals(student), Signals(teacher), Batch(student, sample.labels))
    wants = objective.wants
    if wants.teacher and wants.labels:
        values = objective(student, teacher, sample.labels)
    elif wants.teacher:
        values = objective(student, teacher)
    else:
        values = objective(student, labels=sample.labels)
    assert torch.equal(values, expected)


def test_sums_are_those_of_their_terms_at_a_progress():
    student, teacher, labels = normal(0, 6, 4), normal(1, 6, 4), torch.tensor([0, 1, -100, 3, 2, 1])
    both = 0.1 * tl.HardLabels() + tl.schedules.Linear(0, 1) * tl.SoftTargets(4)
    expected = 0.1 * tl.HardLabels()(student, labels=labels) + 0.5 * tl.SoftTargets(4)(
        student, teacher
    )
    torch.testing.assert_close(both(student, teacher, labels, progress=0.5), expected)
    student.requires_grad_()
    both(student, teacher, labels).mean().backward()
    assert student.grad.abs().sum() > 0


def test_of_tokens_it_is_the_mean_over_those_that_count():
    student, teacher = normal(0, 2, 5, 4), normal(1, 2, 5, 4)
    labels = torch.tensor([[0, 1, 2, -100, -100], [3, 3, 3, 3, 3]])
    values = tl.HardLabels()(student, labels=labels)
    assert values[0].item() == pytest.approx(F.cross_entropy(student[0], labels[0]).item())
    mask = labels >= 0
    soft = tl.SoftTargets(2)(student, teacher, row_mask=mask)
    plain = tl.objectives.soft_targets(student[0, :3], teacher[0, :3], 2.0).mean()
    assert soft[0].item() == pytest.approx(plain.item())
    torch.testing.assert_close(tl.SoftTargets(2)(student, teacher, labels), soft)
    pixels = tl.HardLabels()(student.permute(0, 2, 1)[..., None], labels=labels[..., None])
    torch.testing.assert_close(pixels, values)


def test_what_is_missing_is_named():
    logits = torch.zeros(2, 3)
    with pytest.raises(ArgumentError, match=r"learns from a teacher, got none; pass its outputs"):
        tl.SoftTargets(4)(logits)
    with pytest.raises(ArgumentError, match=r"from labels, got none; .*labels=labels"):
        tl.HardLabels()(logits, torch.tensor([0, 1]))
    with pytest.raises(ArgumentError, match="reads layers or a loss of the student, got tensors"):
        tl.FeatureMatch({"a": "b"})(logits, logits)
    with pytest.raises(DataError, match="must lie from 0 to 2"):
        tl.HardLabels()(logits, labels=torch.tensor([0, 3]))


def test_embeddings_are_compared_after_build():
    student, teacher = normal(0, 6, 4), normal(1, 6, 5)
    objective = tl.FeatureMatch()
    with pytest.raises(ArgumentError, match="build"):
        objective(student, teacher)
    objective.build(Signals(student), Signals(teacher))
    assert objective(student, teacher).shape == (6,)
    assert tl.RKD()(student, teacher).shape == (6,)
