import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, VECTORS, Formula, LayerSample
from tutelage.errors import ModelError
from tutelage.layers.resolution import project
from tutelage.objectives import VkD, vkd

SAMPLES = [
    Formula(vkd, (VECTORS, TOKENS, MAPS), zero_at_equality=False),
    LayerSample(
        lambda pairs=1: VkD(LAYER_MAPS[pairs]),
        lambda o, s, t, mask: vkd(project(o.projectors[0], s, t), t, mask),
        "VkD({'mix': 'mix'})",
    ),
]

# On a grid, so that a teacher's position either varies plainly or not at all.
GRID = st.integers(-40, 40).map(lambda k: k / 2)
ROWS = st.tuples(*[arrays(np.float64, (3, 5), elements=GRID)] * 2)


def huber(error):
    return 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5


def reference(student, teacher):
    """Mean Huber error of one position, `[width]`, to the teacher's standardised."""
    deviation = np.sqrt(np.mean((teacher - teacher.mean()) ** 2))
    target = (teacher - teacher.mean()) / deviation if np.ptp(teacher) else 0 * teacher
    return np.mean([huber(a - b) for a, b in zip(student, target, strict=True)])


def test_value_by_hand():
    # (1, 3, 1, 3) has mean 2 and deviation 1: (−1, 1, −1, 1), from 0 by ½ each, from 4 by 4.5, 2.5.
    teacher = torch.tensor([[1.0, 3, 1, 3], [1, 3, 1, 3]])
    student = torch.tensor([[0.0, 0, 0, 0], [4, 4, 4, 4]])
    assert vkd(student, teacher).tolist() == pytest.approx([0.5, 3.5])


@given(ROWS)
def test_equals_a_plain_loop(both):
    expected = [reference(*rows) for rows in zip(*both, strict=True)]
    ours = vkd(*map(torch.from_numpy, both))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_positions_are_standardised_over_the_width_one_by_one():
    student, teacher = torch.randn(2, 4, 3, 6, dtype=torch.float64)  # [batch, tokens, d]
    expected = [
        np.mean([reference(*tokens) for tokens in zip(*example, strict=True)])
        for example in zip(student.numpy(), teacher.numpy(), strict=True)
    ]
    ours = vkd(student, teacher)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9)
    # The same numbers as maps: [batch, channels, 3, 1].
    maps = (side.transpose(1, 2).unsqueeze(3) for side in (student, teacher))
    torch.testing.assert_close(vkd(*maps), ours)


@given(ROWS, st.floats(0.01, 100), st.floats(-50, 50))
def test_ignores_level_and_scale_of_the_teacher(both, scale, shift):
    student, teacher = map(torch.from_numpy, both)
    torch.testing.assert_close(
        vkd(student, scale * teacher + shift),
        vkd(student, teacher),
        rtol=1e-9,
        atol=1e-9,
    )


def test_is_zero_where_the_student_says_the_layer_norm_of_the_teacher():
    teacher = torch.randn(6, 8, dtype=torch.float64)
    student = torch.nn.functional.layer_norm(teacher, (8,), eps=0)
    assert vkd(student, teacher).max() < 1e-28
    assert vkd(2 * student, teacher).min() > 0.01


@pytest.mark.parametrize("level", [0.0, 0.1, 7.3, 1e4])
def test_a_teacher_that_does_not_vary_asks_for_zeros(level):
    student = torch.randn(3, 7)
    values = vkd(student, torch.full((3, 7), level))
    torch.testing.assert_close(
        values, torch.nn.functional.huber_loss(student, 0 * student, reduction="none").mean(1)
    )


def test_other_shapes_are_refused():
    with pytest.raises(ModelError, match=r"must have one shape, got \[3, 4\].*use a projector"):
        vkd(torch.zeros(3, 4), torch.zeros(3, 5))
