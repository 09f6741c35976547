"""Sampled classes: unbiased, and the same when they are sampled again."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tutelage as tl
from tutelage.errors import ModelError
from tutelage.objectives import soft_targets
from tutelage.store.fields import counted, sample_classes, sampling_points

TEMPERATURES = (1.0, 4.0)


def drawn(logits, count, temperature, first_row=0):
    return counted(ids_of(logits, count, temperature, first_row).numpy(), temperature)


def ids_of(logits, count, temperature, first_row):
    points = sampling_points(len(logits), count, first_row)
    return sample_classes(logits, points, temperature)


def shares(answer, classes):
    """Of all classes, from the different ones with their logits."""
    full = torch.zeros(len(answer), classes + 1)
    columns = answer.ids.where(answer.ids >= 0, classes)
    return full.scatter_add_(1, columns, answer.logits.exp())[:, :-1]


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9), st.floats(0.3, 8))
def test_ids_are_counted_as_numpy_counts_them(seed, count, classes, temperature):
    logits = 3 * torch.randn(5, classes, generator=torch.Generator().manual_seed(seed))
    ids = ids_of(logits, count, temperature, seed)
    answer = counted(ids.numpy(), temperature)
    for row in range(5):
        names, times = np.unique(ids[row].numpy(), return_counts=True)
        kept = answer.ids[row] >= 0
        assert answer.ids[row][kept].tolist() == names.tolist()
        np.testing.assert_allclose(answer.logits[row][kept].exp(), times / count, rtol=1e-5)
        assert bool((answer.logits[row][~kept] == -torch.inf).all())
    assert (answer.sampled_at, answer.other.tolist()) == (temperature, [-torch.inf] * 5)


@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from(TEMPERATURES))
def test_no_frequency_differs_from_its_probability_by_more_than_two_samples(
    seed, count, temperature
):
    """So much for one draw from each k-th; independent draws would be further off."""
    logits = 2 * torch.randn(4, 6, generator=torch.Generator().manual_seed(seed))
    found = shares(drawn(logits, count, temperature, seed), 6)
    assert float((found - (logits / temperature).softmax(1)).abs().max()) <= 2 / count + 1e-5


def test_a_class_of_probability_zero_is_never_sampled():
    logits = torch.tensor([[-1e4, 0.0, -1e4, 0.0, -1e4]]).repeat(3000, 1)
    assert set(ids_of(logits, 4, 1.0, 0).flatten().tolist()) == {1, 3}


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("count", [1, 3])
def test_frequencies_and_gradients_are_unbiased(count, temperature):
    """Over 40,000 draws, within five of the standard errors that are seen."""
    generator, rows, classes = torch.Generator().manual_seed(5), 40_000, 6
    logits, student = 2 * torch.randn(2, classes, generator=generator)
    answer = drawn(logits.expand(rows, classes), count, temperature)
    theirs = student.repeat(rows, 1).requires_grad_()
    exact = student[None].clone().requires_grad_()
    (drawn_gradient,) = torch.autograd.grad(soft_targets(theirs, answer, temperature).sum(), theirs)
    (gradient,) = torch.autograd.grad(soft_targets(exact, logits[None], temperature).sum(), exact)
    for found, expected in (
        (shares(answer, classes), (logits / temperature).softmax(0)),
        (drawn_gradient, gradient[0]),
    ):
        error = found.std(dim=0) / rows**0.5
        assert bool(((found.mean(dim=0) - expected).abs() <= 5 * error + 1e-6).all())


@given(st.integers(0, 10**6), st.sampled_from(TEMPERATURES))
def test_the_loss_is_cross_entropy_with_the_frequencies_minus_their_entropy(seed, temperature):
    generator = torch.Generator().manual_seed(seed)
    logits, student = torch.randn(2, 4, 5, generator=generator)
    answer = drawn(logits, 3, temperature, seed)
    p = shares(answer, 5)
    cross = torch.nn.functional.cross_entropy(student / temperature, p, reduction="none")
    expected = temperature**2 * (cross - torch.special.entr(p).sum(1))
    found = soft_targets(student, answer, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_at_another_temperature_they_are_refused():
    answer = drawn(torch.zeros(2, 3), 2, 4.0)
    assert bool((soft_targets(torch.zeros(2, 3), answer, 4.0) >= 0).all())
    with pytest.raises(ModelError, match=r"`temperature` must be that .* got 2 instead of 4; set"):
        soft_targets(torch.zeros(2, 3), answer, 2.0)


def test_sampled_outputs_cannot_be_joined_with_others():
    answer, other = drawn(torch.zeros(2, 3), 2, 4.0), tl.CoarseLogits.of(torch.zeros(2, 3))
    assert answer[1:].sampled_at == answer.to(torch.device("cpu")).sampled_at == 4.0
    assert tl.CoarseLogits.joined([answer, answer]).sampled_at == 4.0
    for parts in ([answer, other], [other, drawn(torch.zeros(2, 3), 2, 1.0)]):
        with pytest.raises(ModelError, match="must all be sampled at one temperature, or none"):
            tl.CoarseLogits.joined(parts)
