"""Models that work in place on their inputs do not affect other models."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.layers import observe
from tutelage.signals import Batch
from tutelage.teachers import Ensemble, Live, Predictor, Specialists
from tutelage.wants import OUTPUT

X = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


class Normalized(nn.Module):
    """A linear layer behind a normalization that writes into its input."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, x, extra=None):
        if extra is not None:
            extra[0].zero_()
        return self.layer(x.sub_(1).div_(2))


def numpy_in_place(inputs):
    inputs -= 1
    return inputs


def expected(model):
    return model.layer((X - 1) / 2).detach()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_inputs_do_not_change(side, inference):
    model = Normalized()
    with torch.inference_mode(inference):
        x = X.clone()
        output = observe(model, x, OUTPUT, side).output
        torch.testing.assert_close(output, expected(model))
        assert torch.equal(x, X)


@pytest.mark.parametrize("kind", [dict, tuple])
def test_inputs_in_tuples_and_dicts_do_not_change(kind):
    extra = (torch.ones(6, 1),)
    inputs = {"x": X.clone(), "extra": extra} if kind is dict else (X.clone(), extra)
    Live(Normalized()).signals(Batch(inputs), OUTPUT)
    first = inputs["x"] if kind is dict else inputs[0]
    assert torch.equal(first, X)
    assert extra[0].sum() == 6


@pytest.mark.parametrize("make", [
    lambda one, other: Ensemble([one, other], weights=[0, 1]),
    lambda _one, other: Ensemble([Predictor(numpy_in_place), other], weights=[0, 1]),
    lambda one, other: Specialists({"a": one, "b": other}),
])  # fmt: skip
def test_members_do_not_change_each_others_inputs(make):
    other = Normalized()
    x = X.clone()
    batch = Batch(x, domain=["b"] * 6)
    output = make(Normalized(), other).signals(batch, OUTPUT).output
    torch.testing.assert_close(output, expected(other))
    assert torch.equal(x, X)


def test_the_student_is_given_the_original_inputs():
    teacher = Normalized()
    student = nn.Linear(3, 3)
    losses = tl.Distiller(student, teacher, tl.LogitRegression())(Batch(X.clone()))
    torch.testing.assert_close(losses.student.output, student(X))
    torch.testing.assert_close(losses.teacher.output, expected(teacher))


def test_gradients_reach_inputs_that_require_them():
    x = X.clone().requires_grad_()
    observe(nn.Linear(3, 3), x, OUTPUT, "student").output.sum().backward()
    assert x.grad is not None
