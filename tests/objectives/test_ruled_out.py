"""Classes that a teacher rules out by a logit of −∞: their probability is exactly 0."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import NonFiniteError
from tutelage.objectives import binary_targets, soft_targets, wttm

QUIET = tl.Engine(device="cpu", progress=False)
INF = math.inf


def plain_softmax(logits):
    found = [math.exp(each - max(logits)) for each in logits]
    return [each / sum(found) for each in found]


def plain_kl(q, p):
    return sum(b * math.log(b / a) for a, b in zip(q, p, strict=True) if b > 0)


@st.composite
def both(draw):
    """Logits of a student and a teacher, which rules out some classes; sometimes both do."""
    numbers = st.floats(-20, 20)
    size = draw(st.integers(2, 6))
    student, teacher = (draw(st.lists(numbers, min_size=size, max_size=size)) for _ in range(2))
    ruled_out = draw(st.sets(st.integers(0, size - 1), min_size=1, max_size=size - 1))
    shared = draw(st.booleans())
    for place in ruled_out:
        teacher[place] = -INF
        student[place] = -INF if shared else student[place]
    return student, teacher


@given(both(), st.sampled_from([0.5, 1.0, 4.0]))
@settings(deadline=None, max_examples=60)
def test_soft_targets_are_those_of_a_plain_reference(logits, temperature):
    """Value Σ p log(p/q) over the classes with p > 0, gradient T (q − p)."""
    q, p = (plain_softmax([each / temperature for each in side]) for side in logits)
    student = torch.tensor([logits[0]], dtype=torch.float64, requires_grad=True)
    found = soft_targets(student, torch.tensor([logits[1]], dtype=torch.float64), temperature)
    assert found.item() == pytest.approx(temperature**2 * plain_kl(q, p), rel=1e-9, abs=1e-9)
    [gradient] = torch.autograd.grad(found.sum(), student)
    expected = temperature * (np.array(q) - np.array(p))
    np.testing.assert_allclose(gradient[0].numpy(), expected, atol=1e-9)


@given(both(), st.sampled_from([0.1, 0.5, 1.0]))
@settings(deadline=None, max_examples=40)
def test_wttm_is_that_of_a_plain_reference(logits, gamma):
    q, p = map(plain_softmax, logits)
    powers = [each**gamma if each else 0.0 for each in p]
    flat = [each / sum(powers) for each in powers]
    student = torch.tensor([logits[0]], dtype=torch.float64, requires_grad=True)
    found = wttm(student, torch.tensor([logits[1]], dtype=torch.float64), gamma)
    assert found.item() == pytest.approx(sum(powers) * plain_kl(q, flat), rel=1e-9, abs=1e-9)
    [gradient] = torch.autograd.grad(found.sum(), student)
    expected = sum(powers) * (np.array(q) - np.array(flat))
    np.testing.assert_allclose(gradient[0].numpy(), expected, atol=1e-9)


def test_a_binary_label_that_is_ruled_out():
    """−log(1 − q), with the gradient q."""
    student = torch.tensor([[0.7, -0.2]], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([[-INF, -0.2]], dtype=torch.float64)
    found = binary_targets(student, teacher, 1.0)
    q = 1 / (1 + math.exp(-0.7))
    assert found.item() == pytest.approx(-math.log(1 - q) / 2)
    [gradient] = torch.autograd.grad(found.sum(), student)
    assert gradient[0].tolist() == pytest.approx([q / 2, 0.0])


DIVERGENCES = [
    tl.SoftTargets(2), tl.WTTM(), tl.JensenShannon(), tl.SkewKL(), tl.TotalVariation(), tl.DKD(),
    tl.NKD(), tl.OFA(),
]  # fmt: skip


@pytest.mark.parametrize("objective", DIVERGENCES, ids=repr)
def test_it_is_the_limit_of_ever_lower_logits(objective):
    """At −200 a class has a probability of 0 in float32, so that the loss is the same."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 6, 5, generator=generator)
    labels = torch.arange(6) % 3

    def loss(lowest):
        own = student.clone().requires_grad_()
        theirs = teacher.clone()
        theirs[:, 3:] = lowest
        values = objective(tl.Signals(own), tl.Signals(theirs), tl.Batch(own, labels))
        return values.detach(), *torch.autograd.grad(values.sum(), own)

    for found, expected in zip(loss(-INF), loss(-200.0), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=1e-5)


@pytest.mark.parametrize("batch", [6, 1])
@pytest.mark.parametrize("objective", [*DIVERGENCES, tl.ReverseKL(), tl.DIST()], ids=repr)
def test_a_class_that_both_sides_rule_out_counts_for_nothing(objective, batch):
    """Value and gradient are those of the other classes alone, where classes are summed over."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, batch, 5, generator=generator).index_fill(
        2, torch.tensor([4]), -INF
    )
    labels = torch.arange(batch) % 3

    def loss(classes):
        own = student[:, :classes].clone().requires_grad_()
        signals = tl.Signals(own), tl.Signals(teacher[:, :classes])
        values = objective(*signals, tl.Batch(own, labels))
        [gradient] = torch.autograd.grad(values.sum(), own)
        return values.detach(), gradient[:, :4], gradient[:, 4:]

    *found, beyond = loss(5)
    assert all(each.isfinite().all() for each in found)
    assert not beyond.any()
    if not isinstance(objective, tl.DIST):  # which is a mean over the classes
        torch.testing.assert_close(found, list(loss(4)[:2]))


@pytest.mark.parametrize("objective", [tl.DKD(), tl.NKD(), tl.OFA()], ids=repr)
def test_the_true_class_may_be_one_that_both_sides_rule_out(objective):
    student, teacher = torch.randn(2, 3, 5).index_fill(2, torch.tensor([1]), -INF)
    own = student.requires_grad_()
    values = objective(tl.Signals(own), tl.Signals(teacher), tl.Batch(own, torch.tensor([0, 1, 1])))
    [gradient] = torch.autograd.grad(values.sum(), own)
    assert bool(values.isfinite().all() & gradient.isfinite().all())


class Masked(nn.Linear):
    """A classifier of 4 classes that rules out the last."""

    value = -INF

    def forward(self, x):
        return super().forward(x).index_fill(1, torch.tensor([3]), self.value)


X = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))


def trained(objective, teacher, student=None, **settings):
    torch.manual_seed(1)
    student = nn.Linear(5, 4) if student is None else student
    return tl.distill(
        teacher, student, train=TensorDataset(X), val=TensorDataset(X), objective=objective,
        epochs=2, batch_size=8, engine=QUIET, **settings,
    )  # fmt: skip


def masked(value=-INF):
    torch.manual_seed(0)
    found = Masked(5, 4)
    found.value = value
    return found


def test_training_by_such_a_teacher():
    found, expected = (trained(tl.SoftTargets(2), masked(each)) for each in (-INF, -1e4))
    torch.testing.assert_close(found.student.state_dict(), expected.student.state_dict())


def test_training_of_a_student_that_rules_out_the_same():
    history = trained(tl.SoftTargets(2), masked(), Masked(5, 4)).history
    assert 0 < history[-1]["val/loss"] < history[0]["val/loss"]


@pytest.mark.parametrize(
    ("objective", "teacher", "message"),
    [
        (tl.LogitRegression(), masked(), "`logit_regression` must be finite, .* logits of −∞"),
        (tl.LogitStandardization(), masked(), "`logit_standardization` .* logits of −∞"),
        (tl.SoftTargets(), masked(INF), "teacher's output must be finite, got NaN or inf"),
        (tl.SoftTargets(), masked(math.nan), "teacher's output must be finite, got NaN or inf"),
    ],
)
def test_what_is_not_defined_is_refused_with_its_reason(objective, teacher, message):
    with pytest.raises(NonFiniteError, match=message):
        trained(objective, teacher)


def test_a_row_without_any_class_is_refused():
    class Nothing(nn.Linear):
        def forward(self, x):
            return super().forward(x).index_fill(0, torch.tensor([2]), -INF)

    with pytest.raises(NonFiniteError, match=r"`soft_targets` .* a row without any class"):
        trained(tl.SoftTargets(), Nothing(5, 4))


def test_a_student_that_alone_rules_out_a_class_is_refused():
    with pytest.raises(NonFiniteError, match=r"`soft_targets` must be finite, got inf"):
        trained(tl.SoftTargets(), nn.Linear(5, 4), masked())


@pytest.mark.parametrize("form", [{}, {"top_k": 4}, {"sampled_classes": 50, "temperature": 2.0}])
def test_a_store_keeps_it(tmp_path, form):
    teacher = masked()
    store = tl.label(teacher, TensorDataset(X), out=tmp_path, engine=QUIET, **form)
    found = store.read("output", [0, 5])
    if not form:
        assert torch.equal(found[:, 3], torch.full((2,), -INF, dtype=found.dtype))
    else:
        known = found.ids.where(found.logits > -INF, -1)
        assert not bool((known == 3).any())
    run = trained(tl.SoftTargets(2), store)
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]


def test_a_store_refuses_a_row_of_nothing_and_what_does_not_fit(tmp_path):
    for place, (bad, error, message) in enumerate(
        [
            (-INF, NonFiniteError, "must be finite, got -inf in row 0"),
            (-1e6, tl.StoreError, "must fit float16, got -1e\\+06 in row 0"),
        ]
    ):
        logits = torch.full((4, 3), bad)
        logits[1:] = torch.randn(3, 3)
        logits[0, 0] = -INF
        with pytest.raises(error, match=message):
            tl.label(nn.Identity(), TensorDataset(logits), out=tmp_path / str(place), engine=QUIET)
