import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tutelage.errors import ModelError
from tutelage.objectives import crd
from tutelage.objectives._crd import unit

GRID = st.integers(-8, 8).map(lambda k: k / 4)
EMBEDDINGS = arrays(np.float64, (3, 4), elements=GRID)
MEMORY = arrays(np.float64, (5, 4), elements=GRID)
NEGATIVES = arrays(np.bool_, (3, 8))
TEMPERATURES = st.floats(0.05, 10)


def cosine(a, b):
    lengths = np.sqrt((a**2).sum() * (b**2).sum())
    return (a * b).sum() / lengths if lengths else 0.0


def reference(student, teacher, memory, negatives, temperature):
    others = [*teacher, *memory]
    values = []
    for i, ours in enumerate(student):
        scores = [cosine(ours, theirs) / temperature for theirs in others]
        against = [scores[k] for k in range(len(others)) if negatives[i, k] and k != i]
        values.append(np.logaddexp.reduce([scores[i], *against]) - scores[i])
    return np.array(values)


def tensors(*tables):
    return [torch.from_numpy(table) for table in tables]


def test_value_by_hand():
    # Cosines 1 with the own and 0 with the other: log(1 + e⁻¹); the memory adds e or 1 more.
    both = torch.tensor([[3.0, 0.0], [0.0, 5.0]]).double()
    assert crd(both, both, temperature=1.0).tolist() == pytest.approx(
        [math.log(1 + math.exp(-1))] * 2
    )
    values = crd(both, both, torch.tensor([[1.0, 0.0]]).double(), temperature=1.0)
    assert values.tolist() == pytest.approx(
        [math.log(2 + math.exp(-1)), math.log(1 + 2 * math.exp(-1))]
    )


@given(EMBEDDINGS, EMBEDDINGS, MEMORY, NEGATIVES, TEMPERATURES)
def test_equals_plain_loops(student, teacher, memory, negatives, temperature):
    ours, theirs, rows, which = tensors(student, teacher, memory, negatives)
    values = crd(ours, theirs, unit(rows), which, temperature)
    expected = reference(student, teacher, memory, negatives, temperature)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(EMBEDDINGS, EMBEDDINGS, MEMORY, TEMPERATURES)
def test_all_are_negatives_without_a_mask(student, teacher, memory, temperature):
    ours, theirs, rows = tensors(student, teacher, memory)
    every = torch.ones(3, 8, dtype=torch.bool)
    torch.testing.assert_close(
        crd(ours, theirs, unit(rows), temperature=temperature),
        crd(ours, theirs, unit(rows), every, temperature),
    )


@pytest.mark.parametrize(("batch", "memory"), [(1, 0), (4, 0), (4, 12), (1, 100)])
def test_uniform_embeddings_cost_the_log_of_how_many_there_are(batch, memory):
    """log(K + 1) for K negatives: whatever is found by chance."""
    alike = torch.ones(batch, 6).double()
    rows = unit(torch.ones(memory, 6).double()) if memory else None
    values = crd(alike, alike, rows)
    assert values.tolist() == pytest.approx([math.log(batch + memory)] * batch)


def test_an_example_is_never_its_own_negative():
    student, teacher = torch.randn(2, 4, 6, dtype=torch.float64)
    none, own = torch.zeros(4, 4).bool(), torch.eye(4).bool()
    assert crd(student, teacher, negatives=none).tolist() == [0.0] * 4
    assert crd(student, teacher, negatives=own).tolist() == [0.0] * 4


def test_a_negative_that_is_left_out_gets_no_gradient():
    student, teacher = torch.randn(2, 3, 6, dtype=torch.float64)
    which = torch.tensor([[0, 1, 0], [1, 0, 0], [1, 1, 0]]).bool()
    teacher.requires_grad_()
    values = crd(student, teacher, negatives=which)
    (gradient,) = torch.autograd.grad(values[:2].sum(), teacher)
    assert gradient[2].abs().max() == 0
    assert gradient[:2].abs().sum(dim=1).min() > 0


@given(EMBEDDINGS, EMBEDDINGS, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_ignores_the_length_of_embeddings(student, teacher, one, other):
    ours, theirs = tensors(student, teacher)
    torch.testing.assert_close(crd(one * ours, other * theirs), crd(ours, theirs))


@given(EMBEDDINGS, EMBEDDINGS, MEMORY)
def test_every_negative_more_costs_more(student, teacher, memory):
    ours, theirs, rows = tensors(student, teacher, memory)
    few = crd(ours, theirs, unit(rows[:2]))
    assert (crd(ours, theirs, unit(rows)) > few).all()
    assert (few > 0).all()


def test_the_nearer_to_the_own_the_less():
    teacher = torch.randn(8, 6, dtype=torch.float64)
    noise = torch.randn(8, 6, dtype=torch.float64)
    values = [crd(teacher + k * noise, teacher).mean() for k in (0.0, 0.3, 1.0, 3.0)]
    assert values == sorted(values)


def test_the_bound_of_mutual_information_is_below_the_truth():
    """log(K + 1) − loss ≤ I = log 4, for four equally probable kinds of example, over 4,000 others.

    Both sides contain the kind and nothing else, so that the best critic reaches the bound.
    """
    kinds = torch.arange(4).repeat(1000)
    embeddings = torch.eye(4)[kinds]
    loss = crd(embeddings[:400], embeddings[:400], embeddings, temperature=0.01)
    bound = math.log(4400) - loss.mean().item()
    assert bound == pytest.approx(math.log(4), abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_unit_computes_in_float32(dtype):
    vectors = torch.tensor([[3e3, 4e3], [0, 0]], dtype=dtype)
    assert unit(vectors).dtype == torch.float32
    assert unit(vectors)[1].tolist() == [0.0, 0.0]
    assert unit(vectors)[0].tolist() == pytest.approx([0.6, 0.8], rel=1e-2)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_neither_vanish_nor_overflow(scale):
    student, teacher = torch.randn(2, 4, 6)
    torch.testing.assert_close(crd(scale * student, teacher), crd(student, teacher))


def test_embeddings_of_other_widths_are_refused():
    with pytest.raises(ModelError, match=r"same number of dimensions, got 4 \(stud.* 5 \(teacher"):
        crd(torch.zeros(2, 4), torch.zeros(2, 5))
    with pytest.raises(ModelError, match=r"must both be \[batch, dimensions\]"):
        crd(torch.zeros(2, 4), torch.zeros(3, 4))
