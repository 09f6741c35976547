import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from objective_samples import Sample, gradient, logits
from tutelage.errors import ArgumentError
from tutelage.objectives import DIST, dist

SAMPLES = [
    Sample(
        DIST(0.5, 2, 3),
        lambda z, v, _: dist(z, v, 0.5, 2.0, 3.0),
        "DIST(beta=0.5, gamma=2, temperature=3)",
    ),
]

# On a grid, so that rows and columns either vary plainly or not at all.
LOGITS = arrays(np.float64, (4, 5), elements=st.integers(-8, 8).map(lambda k: k / 2))
TEMPERATURES = st.floats(0.5, 10)
WEIGHTS = st.floats(0, 10)


def correlation(a, b):
    if min(np.ptp(a) / a.max(), np.ptp(b) / b.max()) < 1e-12:
        return 0.0
    return np.corrcoef(a, b)[0, 1]


def parts(z, v, temperature):
    """1 − ρ of each row, and the mean over the columns."""
    q, p = (softmax(side / temperature, axis=1) for side in (z, v))
    rows = np.array([1 - correlation(a, b) for a, b in zip(p, q, strict=True)])
    columns = np.mean([1 - correlation(a, b) for a, b in zip(p.T, q.T, strict=True)])
    return rows * temperature**2, columns * temperature**2


def test_value_by_hand():
    # Probabilities (⅔, ⅓), (⅓, ⅔) against (⅔, ⅓), (⅔, ⅓): with two classes ρ is 1 or −1 in rows;
    # the student's columns do not vary.
    student = torch.tensor([[2.0, 1], [2, 1]]).log()
    teacher = torch.tensor([[2.0, 1], [1, 2]]).log()
    values = dist(student, teacher, beta=3.0, gamma=5.0)
    assert values.tolist() == pytest.approx([5.0, 11.0], abs=1e-5)


def test_value_by_hand_in_the_columns():
    # Column 0: (½, ¼, ¼) against (½, ½, ¼): centred (2, −1, −1)/12 and (1, 1, −2)/12: ρ = ½.
    student = torch.tensor([[1.0, 1], [1, 1], [1, 3]]).double().log()
    teacher = torch.tensor([[1.0, 1], [1, 3], [1, 3]]).double().log()
    values = dist(student, teacher, beta=0.0)
    assert values.tolist() == pytest.approx([0.5, 0.5, 0.5])


@given(LOGITS, LOGITS, WEIGHTS, WEIGHTS, TEMPERATURES)
def test_equals_a_plain_numpy_reference(z, v, beta, gamma, temperature):
    rows, columns = parts(z, v, temperature)
    ours = dist(torch.from_numpy(z), torch.from_numpy(v), beta, gamma, temperature)
    np.testing.assert_allclose(ours.numpy(), beta * rows + gamma * columns, rtol=1e-7, atol=1e-6)


def test_mean_over_the_batch_is_the_published_loss():
    student, teacher = logits()
    rows, columns = parts(student.detach().numpy(), teacher.numpy(), 4.0)
    ours = dist(student, teacher, 2.0, 2.0, 4.0).mean()
    assert ours.item() == pytest.approx(2 * rows.mean() + 2 * columns)


@given(LOGITS, LOGITS)
def test_the_part_along_the_batch_is_the_same_for_every_example(z, v):
    values = dist(torch.from_numpy(z), torch.from_numpy(v), beta=0.0)
    assert len(set(values.tolist())) == 1


def test_the_part_along_the_batch_depends_on_the_batch_and_the_other_does_not():
    student, teacher = logits()
    half = dist(student[:32], teacher[:32], gamma=0.0)
    torch.testing.assert_close(half, dist(student, teacher, gamma=0.0)[:32])
    half = dist(student[:32], teacher[:32], beta=0.0)
    assert half[0].item() != pytest.approx(dist(student, teacher, beta=0.0)[0].item())


def test_at_equality_value_and_gradient_are_exactly_zero():
    student, _ = logits()
    values = dist(student, student.detach(), temperature=4.0)
    assert values.tolist() == [0.0] * 64
    assert gradient(values, student).abs().max() == 0


@given(LOGITS, st.floats(0.1, 1.0))
def test_ignores_a_positive_affine_map_of_the_probabilities(z, scale):
    p = softmax(z, axis=1)
    mapped = torch.from_numpy(np.log(scale * p + (1 - scale) / 5))
    # 0, but for the rows and columns that do not vary, and so are not correlated.
    rows, columns = parts(z, z, 1.0)
    ours = dist(mapped, torch.from_numpy(np.log(p)))
    np.testing.assert_allclose(ours.numpy(), rows + columns, atol=1e-9)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_sees_a_positive_affine_map_of_the_logits(scale):
    _, teacher = logits()
    assert dist(scale * teacher + 1, teacher).min() > 1e-3


def test_is_two_for_the_opposite_order():
    teacher = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]).double()
    opposite = (1 - teacher) / 2  # an affine map with a negative slope
    values = dist(opposite.log(), teacher.log(), gamma=0.0)
    assert values.tolist() == pytest.approx([2.0, 2.0])


@given(LOGITS, LOGITS, TEMPERATURES)
def test_lies_between_0_and_2_t_squared_for_each_part(z, v, temperature):
    values = dist(torch.from_numpy(z), torch.from_numpy(v), temperature=temperature)
    assert values.min() >= 0
    assert values.max() <= 4 * temperature**2 * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 7.3, 1e4])
def test_rows_that_do_not_vary_have_no_correlation_and_no_gradient(dtype, level):
    student = torch.full((3, 7), level, dtype=dtype, requires_grad=True)
    teacher = torch.randn(3, 7).to(dtype)
    values = dist(student, teacher)
    assert values.tolist() == [2.0] * 3
    assert gradient(values, student).tolist() == [[0.0] * 7] * 3


def test_rows_that_hardly_vary_have_bounded_gradients():
    noise = torch.randn(3, 7) * 1e-7
    student = noise.requires_grad_()
    assert gradient(dist(student, torch.randn(3, 7)), student).abs().max() < 1e7


def test_a_batch_of_one_has_no_correlation_along_the_batch():
    student, teacher = logits(rows=1)
    values = dist(student, teacher)
    rows, _ = parts(student.detach().numpy(), teacher.numpy(), 1.0)
    assert values.item() == pytest.approx(rows[0] + 1)
    torch.testing.assert_close(
        gradient(values, student),
        gradient(dist(student, teacher, gamma=0.0), student),
    )


@pytest.mark.parametrize("offset", [-10, -20, -26, -27, -30, -80])
def test_a_class_that_is_improbable_throughout_weighs_as_much_as_the_others(offset):
    student, teacher = (side.detach() for side in logits())
    usual = dist(student, teacher, beta=0.0)
    # The third class at e⁻¹⁰ to e⁻⁸⁰ of its probability: down to where float32 has no squares.
    offsets = torch.zeros(10).double()
    offsets[2] = offset
    whole, teacher = (student + offsets).requires_grad_(), teacher + offsets
    half = whole.detach().float().requires_grad_()
    rare = dist(half, teacher.float(), beta=0.0)
    known = parts(whole.detach().numpy(), teacher.numpy(), 1.0)[1]
    assert rare[0].item() == pytest.approx(known, rel=1e-5)
    assert rare[0].item() == pytest.approx(usual[0].item(), rel=0.2)
    slopes = gradient(dist(whole, teacher, beta=0.0), whole)
    np.testing.assert_allclose(
        gradient(rare, half).numpy(), slopes.numpy(), atol=1e-5 * slopes.abs().max().item()
    )


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
@pytest.mark.parametrize("name", ["beta", "gamma"])
def test_a_negative_weight_is_refused(name, weight):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be .*, got .*; it weighs the "):
        DIST(**{name: weight})
