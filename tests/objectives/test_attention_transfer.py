import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, Formula, LayerSample
from tutelage.errors import ModelError
from tutelage.objectives import AttentionTransfer, attention_transfer

SAMPLES = [
    Formula(attention_transfer, (TOKENS, MAPS)),
    LayerSample(
        lambda pairs=1: AttentionTransfer(LAYER_MAPS[pairs]),
        lambda _, s, t, mask: attention_transfer(s, t, mask),
        "AttentionTransfer({'mix': 'mix'})",
    ),
]

GRID = st.integers(-8, 8).map(lambda k: k / 2)
MAPS = arrays(np.float64, (3, 4, 2, 3), elements=GRID)
WIDER_MAPS = arrays(np.float64, (3, 7, 2, 3), elements=GRID)
SCALES = st.floats(1e-3, 1e3)


def attention(feature):
    """The map of one example, `[channels, height, width]`, as a row of length 1, by loops."""
    channels, height, width = feature.shape
    row = np.array(
        [
            sum(feature[c, y, x] ** 2 for c in range(channels)) / channels
            for y in range(height)
            for x in range(width)
        ]
    )
    length = np.sqrt((row**2).sum())
    return row / length if length else row


def reference(student, teacher):
    return np.array(
        [((attention(s) - attention(t)) ** 2).mean() for s, t in zip(student, teacher, strict=True)]
    )


def test_value_by_hand():
    # Mean squares (9, 16), of length √337, and (0, 4), of length 4.
    student = torch.tensor([[[[3.0, 4.0]]]])
    teacher = torch.tensor([[[[0.0, 2.0]], [[0.0, 2.0]]]])
    expected = ((9 / 337**0.5) ** 2 + (16 / 337**0.5 - 1) ** 2) / 2
    assert attention_transfer(student, teacher).item() == pytest.approx(expected)


@given(MAPS, WIDER_MAPS)
def test_equals_a_plain_loop_for_any_two_widths(student, teacher):
    ours = attention_transfer(torch.from_numpy(student), torch.from_numpy(teacher))
    np.testing.assert_allclose(ours.numpy(), reference(student, teacher), rtol=1e-9, atol=1e-12)


@given(MAPS, MAPS)
def test_mean_over_the_batch_is_the_published_code(student, teacher):
    """`F.normalize(x.pow(2).mean(1).view(x.size(0), -1))`, and the mean of squared differences."""
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    ours, theirs = (
        torch.nn.functional.normalize(x.pow(2).mean(1).view(x.size(0), -1))
        for x in (student, teacher)
    )
    expected = (ours - theirs).pow(2).mean()
    torch.testing.assert_close(attention_transfer(student, teacher).mean(), expected)


@given(MAPS, WIDER_MAPS, SCALES, SCALES)
def test_ignores_the_scale_of_a_feature_map(student, teacher, scale, other):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    torch.testing.assert_close(
        attention_transfer(scale * student, -other * teacher), attention_transfer(student, teacher)
    )


@given(MAPS)
def test_gradient_is_orthogonal_to_the_feature_map(student):
    """The loss does not depend on the scale, so the rescaling must have no gradient."""
    student = torch.from_numpy(student).requires_grad_()
    teacher = torch.rand(3, 2, 2, 3, dtype=torch.float64)
    (ours,) = torch.autograd.grad(attention_transfer(student, teacher).sum(), student)
    assert (ours * student).flatten(1).sum(dim=1).abs().max() < 1e-12


@given(
    MAPS, st.permutations(range(4)), st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4)
)
def test_is_zero_where_only_order_and_sign_of_channels_differ(maps, order, signs):
    teacher = torch.from_numpy(maps)
    student = teacher[:, order] * torch.tensor(signs).view(4, 1, 1)
    assert attention_transfer(student, teacher).max() < 1e-28


@given(MAPS, WIDER_MAPS)
def test_lies_between_0_and_2_over_the_number_of_positions(student, teacher):
    values = attention_transfer(torch.from_numpy(student), torch.from_numpy(teacher))
    assert values.min() >= 0
    assert values.max() <= 2 / 6 + 1e-12


def test_tokens_are_positions_like_pixels():
    student, teacher = torch.randn(4, 3, 2, 5), torch.randn(4, 6, 2, 5)
    tokens = (side.flatten(2).transpose(1, 2) for side in (student, teacher))
    torch.testing.assert_close(attention_transfer(*tokens), attention_transfer(student, teacher))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_squares_neither_vanish_nor_overflow(scale):
    student, teacher = torch.randn(4, 3, 2, 5), torch.randn(4, 6, 2, 5)
    torch.testing.assert_close(
        attention_transfer(scale * student, teacher), attention_transfer(student, teacher)
    )


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 3), (2, 3)),
        ((2, 3, 4), (2, 3, 4, 4)),
        ((2, 3, 4), (2, 5, 4)),
        ((2, 3, 4, 4), (2, 3, 4, 5)),
        ((2, 1, 1, 1, 1), (2, 1, 1, 1, 1)),
    ],
)
def test_features_without_the_same_positions_are_refused(student, teacher):
    with pytest.raises(ModelError, match=r"with the same positions, got \[2.*choose layers of one"):
        attention_transfer(torch.zeros(student), torch.zeros(teacher))
