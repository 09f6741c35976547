import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, VECTORS, Formula, LayerSample
from tutelage.objectives import CKA, cka

SAMPLES = [
    Formula(cka, (VECTORS, TOKENS, MAPS), over_the_batch=True),
    LayerSample(
        lambda pairs=1: CKA(LAYER_MAPS[pairs]),
        lambda _, s, t, mask: cka(s, t, mask),
        "CKA({'mix': 'mix'})",
    ),
]

# On a grid, so that a feature either varies plainly or not at all.
GRID = st.integers(-8, 8).map(lambda k: k / 2)
ROWS = st.integers(2, 9)
# Fewer examples than widths and more: the loss chooses the cheaper of two ways to count.
FEATURES = ROWS.flatmap(
    lambda rows: st.tuples(
        arrays(np.float64, (rows, 2), elements=GRID), arrays(np.float64, (rows, 4), elements=GRID)
    )
)


def reference(x, y):
    """1 − CKA as Kornblith et al. define it: of centred Gram matrices (HSIC), by loops."""
    n = len(x)
    centring = np.eye(n) - np.full((n, n), 1 / n)

    def hsic(a, b):
        return np.trace(a @ a.T @ centring @ b @ b.T @ centring)

    norm = np.sqrt(hsic(x, x) * hsic(y, y))
    return 1 - hsic(x, y) / norm if norm > 1e-9 else 1.0


def features(batch=16, narrow=3, wide=5):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(batch, narrow, generator=generator, dtype=torch.float64)
    return student, torch.randn(batch, wide, generator=generator, dtype=torch.float64)


def rotation(width):
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0]


def test_value_by_hand():
    # Centred X = (−1, 2, −1), Y = ((−1, −4/3), (2, −4/3), (−1, 8/3)): XᵀY = (6, −4), XᵀX = 6,
    # YᵀY = ((6, −4), (−4, 32/3)).
    teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    expected = 1 - 52 / (6 * (36 + 16 + 16 + 32**2 / 9) ** 0.5)
    values = cka(teacher[:, :1], teacher)
    assert values.tolist() == pytest.approx([expected] * 3, rel=1e-6)


@given(FEATURES)
def test_equals_a_plain_reference_for_any_two_widths(both):
    ours = cka(*map(torch.from_numpy, both))
    np.testing.assert_allclose(ours.numpy(), reference(*both), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("batch", [2, 5, 16, 200])
def test_both_ways_to_compute_agree(batch):
    student, teacher = features(batch, 12, 30)
    expected = reference(student.numpy(), teacher.numpy())
    assert cka(student, teacher)[0].item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("batch", [4, 64])
def test_both_ways_to_compute_have_the_same_gradient(batch):
    student, teacher = features(batch)
    assert torch.autograd.gradcheck(lambda each: cka(each, teacher), student.requires_grad_())


@given(FEATURES)
def test_is_one_value_from_0_to_1_for_all_examples(both):
    values = cka(*map(torch.from_numpy, both))
    assert len(values) == len(both[0])
    assert len(set(values.tolist())) == 1
    assert -1e-12 <= values[0] <= 1 + 1e-12


@given(FEATURES)
def test_is_symmetric(both):
    student, teacher = map(torch.from_numpy, both)
    torch.testing.assert_close(cka(student, teacher), cka(teacher, student))


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.sampled_from(["student", "teacher"]))
def test_ignores_orthogonal_maps_scale_and_shift_of_either_side(scale, shift, side):
    student, teacher = features()
    values = cka(student, teacher)
    if side == "student":
        student = scale * student @ rotation(3) + shift * torch.randn(3)
    else:
        teacher = scale * teacher @ rotation(5) + shift * torch.randn(5)
    torch.testing.assert_close(cka(student, teacher), values, rtol=1e-6, atol=1e-6)


def test_is_zero_for_a_copy_that_is_moved_turned_scaled_and_wider():
    _, teacher = features()
    student = torch.cat([7 - 3 * teacher @ rotation(5), torch.ones(16, 4)], dim=1)
    assert cka(student, teacher).abs().max() < 1e-12


def test_sees_other_linear_maps():
    _, teacher = features()
    assert cka(teacher * torch.tensor([5.0, 1, 1, 1, 1]), teacher)[0] > 0.05


def test_is_one_where_the_sides_are_uncorrelated():
    student = torch.tensor([[1.0], [-1], [1], [-1]])
    teacher = torch.tensor([[1.0], [1], [-1], [-1]])
    assert cka(student, teacher).tolist() == [1.0] * 4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("level", [0.0, 0.1, 7.3, 1e4])
def test_a_side_that_does_not_vary_is_not_aligned_and_has_no_gradient(dtype, level):
    student = torch.full((3, 7), level, dtype=dtype, requires_grad=True)
    values = cka(student, torch.randn(3, 4).to(dtype))
    assert values.tolist() == [1.0] * 3
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e-6, 1e-5, 1e-4, 1e3, 1e4, 1e5, 1e12, 1e30])
def test_squares_neither_vanish_nor_overflow(scale):
    student, teacher = (side.float() for side in features())
    torch.testing.assert_close(cka(scale * student, teacher), cka(student, teacher))


def test_a_common_level_far_above_the_spread_does_not_spoil_the_value():
    student, teacher = (side.float() for side in features())
    torch.testing.assert_close(
        cka(student + 1000, teacher),
        cka(student, teacher),
        rtol=1e-3,
        atol=1e-3,
    )
