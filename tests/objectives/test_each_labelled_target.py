"""Checks that every loss with a teacher and labels must pass."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tutelage.objectives import dkd, nkd, ofa

LOGITS = arrays(np.float64, (4, 5), elements=st.floats(-20, 20))
LABELS = st.lists(st.integers(0, 4), min_size=4, max_size=4)
LOSSES = {
    "decoupled": partial(dkd, temperature=3.0),
    "heterogeneous": ofa,
    "normalized": partial(nkd, temperature=3.0),
}


@pytest.fixture(params=LOSSES)
def loss(request):
    return LOSSES[request.param]


def logits(rows, classes):
    generator = torch.Generator().manual_seed(0)
    both = torch.randn(2, rows, classes, generator=generator, dtype=torch.float64) * 3
    return both[0].requires_grad_(), both[1]


def test_an_unlabelled_example_has_no_loss_and_no_gradient(loss):
    student, teacher = logits(rows=3, classes=10)
    values = loss(student, teacher, torch.tensor([1, -100, 3]))
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert (values == 0).tolist() == [False, True, False]
    assert gradient[1].abs().max() == 0
    assert gradient[[0, 2]].abs().min() > 0


@pytest.mark.parametrize("name", LOSSES)
@given(LOGITS, LOGITS, LABELS, st.permutations(range(4)), st.permutations(range(5)))
def test_follows_a_permutation_of_the_batch_and_ignores_one_of_the_classes(
    name, z, v, labels, rows, columns
):
    student, teacher, truth = torch.from_numpy(z), torch.from_numpy(v), torch.tensor(labels)
    renamed = torch.tensor([columns.index(label) for label in labels])
    torch.testing.assert_close(
        LOSSES[name](student[rows][:, columns], teacher[rows][:, columns], renamed[rows]),
        LOSSES[name](student, teacher, truth)[rows],
    )


def test_gradcheck(loss):
    student, teacher = logits(rows=3, classes=4)
    labels = torch.tensor([0, 3, -100])
    assert torch.autograd.gradcheck(lambda z: loss(z, teacher, labels), student)
