"""Reverse KL, Jensen–Shannon, skewed KL and total variation, against plain numpy and SciPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax, rel_entr, softmax

import tutelage as tl
from objective_samples import Sample, gradient, logits
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import (
    jensen_shannon,
    reverse_kl,
    skew_kl,
    skew_reverse_kl,
    soft_targets,
    total_variation,
)
from tutelage.signals import Batch, Signals

SAMPLES = [
    Sample(tl.ReverseKL(2), lambda z, v, _: reverse_kl(z, v, 2.0), "ReverseKL(temperature=2)"),
    Sample(
        tl.JensenShannon(0.3), lambda z, v, _: jensen_shannon(z, v, 0.3),
        "JensenShannon(beta=0.3, temperature=1)",
    ),
    Sample(
        tl.SkewKL(0.2), lambda z, v, _: skew_kl(z, v, 0.2), "SkewKL(alpha=0.2, temperature=1)"
    ),
    Sample(
        tl.SkewReverseKL(), lambda z, v, _: skew_reverse_kl(z, v, 0.1),
        "SkewReverseKL(alpha=0.1, temperature=1)",
    ),
    Sample(
        tl.TotalVariation(), lambda z, v, _: total_variation(z, v),
        "TotalVariation(temperature=1)",
    ),
]  # fmt: skip

ALL = [reverse_kl, jensen_shannon, skew_kl, skew_reverse_kl, total_variation]
SQUARED = ALL[:4]  # those with the factor T²
LOGITS = arrays(np.float64, (3, 5), elements=st.floats(-20, 20))
TEMPERATURES = st.floats(0.5, 20)
INNER = st.floats(0.01, 0.99)


def kl(a, b):
    return rel_entr(a, b).sum(axis=1)


def sides(z, v, temperature=1.0):
    """q of the student and p of the teacher."""
    return softmax(z / temperature, axis=1), softmax(v / temperature, axis=1)


def check(ours, expected):
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-8, atol=1e-9)


@given(LOGITS, LOGITS, TEMPERATURES, INNER)
def test_each_equals_a_plain_reference(z, v, temperature, weight):
    q, p = sides(z, v, temperature)
    student, teacher, squared = torch.from_numpy(z), torch.from_numpy(v), temperature**2
    check(reverse_kl(student, teacher, temperature), squared * kl(q, p))
    m = weight * p + (1 - weight) * q
    check(
        jensen_shannon(student, teacher, weight, temperature),
        squared * (weight * kl(p, m) + (1 - weight) * kl(q, m)),
    )
    check(skew_kl(student, teacher, weight, temperature), squared * kl(p, m))
    reverse = weight * q + (1 - weight) * p
    check(skew_reverse_kl(student, teacher, weight, temperature), squared * kl(q, reverse))
    check(total_variation(student, teacher, temperature), np.abs(p - q).sum(axis=1) / 2)


def test_values_by_hand():
    # q = (¾, ¼), p = (½, ½), m = (5/8, 3/8)
    student, teacher = torch.tensor([[3.0, 1.0]]).double().log(), torch.zeros(1, 2).double()
    log = np.log
    assert reverse_kl(student, teacher).item() == pytest.approx(
        0.75 * log(1.5) + 0.25 * log(0.5), abs=1e-14
    )
    halves = (0.5 * log(0.8) + 0.5 * log(4 / 3)) / 2 + (0.75 * log(1.2) + 0.25 * log(2 / 3)) / 2
    assert jensen_shannon(student, teacher).item() == pytest.approx(halves, abs=1e-14)
    # α = ½ mixes to m as well
    assert skew_kl(student, teacher, 0.5).item() == pytest.approx(
        0.5 * log(0.8) + 0.5 * log(4 / 3), abs=1e-14
    )
    assert total_variation(student, teacher).item() == pytest.approx(0.25, abs=1e-14)


def test_the_gradient_of_reverse_kl():
    student, teacher = logits()
    q = softmax(student.detach().numpy(), axis=1)
    log_ratio = log_softmax(student.detach().numpy(), axis=1) - log_softmax(teacher.numpy(), axis=1)
    expected = q * (log_ratio - (q * log_ratio).sum(axis=1, keepdims=True))
    ours = gradient(reverse_kl(student, teacher), student)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-12)


def test_reverse_kl_is_forward_kl_with_the_sides_exchanged():
    student, teacher = logits()
    torch.testing.assert_close(
        reverse_kl(student, teacher, 3.0), soft_targets(teacher, student, 3.0)
    )


@given(LOGITS, LOGITS)
def test_jensen_shannon_is_symmetric_at_one_half_and_is_that_of_scipy(z, v):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    ours = jensen_shannon(student, teacher)
    torch.testing.assert_close(ours, jensen_shannon(teacher, student), rtol=1e-9, atol=1e-12)
    expected = np.nan_to_num(jensenshannon(*sides(z, v), axis=1)) ** 2
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-7, atol=1e-9)


@given(LOGITS, LOGITS, INNER)
def test_bounds(z, v, weight):
    student, teacher = torch.from_numpy(z), torch.from_numpy(v)
    entropy = -weight * np.log(weight) - (1 - weight) * np.log1p(-weight)
    assert jensen_shannon(student, teacher, weight).max() <= entropy + 1e-9
    assert skew_kl(student, teacher, weight).max() <= -np.log(weight) + 1e-9
    assert skew_reverse_kl(student, teacher, weight).max() <= -np.log(weight) + 1e-9
    assert total_variation(student, teacher).max() <= 1 + 1e-12
    for each in ALL:
        assert each(student, teacher).min() >= -1e-9


def test_limits_of_the_weights_are_the_kl_divergences():
    student, teacher = (each.detach() for each in logits())
    forward, reverse = soft_targets(student, teacher, 1.0), reverse_kl(student, teacher)
    limits = [
        (jensen_shannon(student, teacher, 1e-9) / 1e-9, forward),
        (jensen_shannon(student, teacher, 1 - 1e-9) / 1e-9, reverse),
        (skew_kl(student, teacher, 1e-9), forward),
        (skew_reverse_kl(student, teacher, 1e-9), reverse),
    ]
    for ours, expected in limits:
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_total_variation_is_how_often_speculative_decoding_rejects():
    generator = np.random.default_rng(0)
    z, v = generator.normal(size=(2, 1, 6))
    (q,), (p,) = sides(z, v)
    drawn = generator.choice(6, size=200_000, p=q)
    accepted = generator.random(200_000) < p[drawn] / q[drawn]
    ours = total_variation(torch.from_numpy(z), torch.from_numpy(v)).item()
    assert 1 - accepted.mean() == pytest.approx(ours, abs=0.005)


@pytest.mark.parametrize("formula", SQUARED)
def test_the_gradient_keeps_its_scale_as_the_temperature_grows(formula):
    student, teacher = logits()
    norms = [
        gradient(formula(student, teacher, temperature=t), student).norm().item()
        for t in (10.0, 100.0, 1000.0)
    ]
    assert max(norms) / min(norms) < 2


@pytest.mark.parametrize("formula", ALL)
def test_gradients_are_finite_where_either_side_rules_a_class_out(formula):
    """The reverse KL of other libraries has a finite loss and a gradient of NaN here."""
    out = -torch.inf
    student = torch.tensor([[1.0, out, 0.5, out], [1.0, 2.0, 3.0, 4.0], [1.0, -3e4, 0.0, 1.0]])
    student.requires_grad_()
    teacher = torch.tensor([[0.0, 1.0, out, out], [out, out, 0.0, 1.0], [1.0, 2.0, out, 0.0]])
    values = formula(student, teacher)
    assert values.isfinite().all()
    slope = gradient(values, student)
    assert slope.isfinite().all()
    # What the teacher rules out, the student is driven away from.
    assert (slope[1, :2] > 0).all()
    assert slope[2, 2] > 0 or formula is total_variation  # q exceeds p wherever it is not 0


@pytest.mark.parametrize("formula", ALL)
@given(st.integers(0, 10_000), TEMPERATURES)
def test_of_a_teachers_known_classes_it_is_that_of_coarsened_distributions(
    formula, seed, temperature
):
    generator = torch.Generator().manual_seed(seed)
    whole = 3 * torch.randn(2, 4, 7, generator=generator, dtype=torch.float64)
    student, teacher = whole[0].requires_grad_(), whole[1]
    ids = torch.stack([torch.randperm(7, generator=generator)[:3] for _ in range(4)])
    ids[1, 2] = -1  # a short row
    kept, coarse = [], []
    for row, known in enumerate([[c for c in each if c >= 0] for each in ids.tolist()]):
        rest = [each for each in range(7) if each not in known]
        kept.append([
            torch.cat([side[row, known], side[row, rest].logsumexp(0, keepdim=True)])
            for side in (student, teacher)
        ])  # fmt: skip
        logs = torch.full((3,), -torch.inf, dtype=torch.float64)
        logs[: len(known)] = teacher[row, known]
        coarse.append((logs, teacher[row, rest].logsumexp(0)))
    targets = tl.CoarseLogits(ids, *(torch.stack(each) for each in zip(*coarse, strict=True)))
    ours = formula(student, targets, temperature=temperature)
    expected = torch.cat([
        formula(z[None], v[None], temperature=temperature) for z, v in kept
    ])  # fmt: skip
    # The student's "other" class is summed at T = 1 and then softened, as in `soft_targets`.
    torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-9)
    slope = gradient(ours, student)
    assert slope.isfinite().all()
    torch.testing.assert_close(slope, gradient(expected, student), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("formula", ALL)
def test_with_all_classes_known_it_is_the_plain_one(formula):
    student, teacher = logits()
    torch.testing.assert_close(
        formula(student, tl.CoarseLogits.of(teacher)), formula(student, teacher)
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: each.shown)
def test_sampled_classes_are_refused_with_the_reason(sample):
    ids = torch.tensor([[0, 2]])
    sampled = tl.CoarseLogits(ids, torch.zeros(1, 2), torch.full((1,), -torch.inf), sampled_at=1.0)
    with pytest.raises(ModelError, match=r"got classes sampled from them.*SoftTargets alone"):
        sample.objective(Signals(torch.zeros(1, 4)), Signals(sampled), Batch(torch.zeros(1, 1)))


@pytest.mark.parametrize("weight", [0, 1, -0.1, float("nan"), "half"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [(tl.JensenShannon, "beta"), (tl.SkewKL, "alpha"), (tl.SkewReverseKL, "alpha")],
)
def test_weights_outside_their_range_are_refused(kind, name, weight):
    with pytest.raises(ArgumentError, match=rf"`{name}` must .*, got .*; .*ReverseKL"):
        kind(weight)


def test_a_class_that_is_ruled_out_by_minus_infinity_costs_as_much_as_by_a_low_logit():
    student = torch.zeros(1, 3).requires_grad_()
    values = [
        reverse_kl(student, torch.tensor([[0.0, 1.0, ruled_out]]))
        for ruled_out in (-80.0, -1e4, torch.finfo(torch.float32).min, -torch.inf)
    ]
    assert values[0] < values[1] == values[2] == values[3]
    [gradient] = torch.autograd.grad(values[3].sum(), student)
    assert gradient[0, 2] > 1
