import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, Formula, LayerSample
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import SKD, skd

SAMPLES = [
    Formula(skd, (TOKENS, MAPS)),
    LayerSample(
        lambda pairs=1: SKD(LAYER_MAPS[pairs], 2),
        lambda _, s, t, mask: skd(s, t, 2, mask),
        "SKD({'mix': 'mix'}, grid=2)",
    ),
]

# On a grid, so that a node is either plainly something or nothing at all.
GRID = st.integers(-8, 8).map(lambda k: k / 2)
FEATURES = st.tuples(
    arrays(np.float64, (2, 2, 2, 4), elements=GRID), arrays(np.float64, (2, 3, 4, 2), elements=GRID)
)
SCALES = st.floats(1e-3, 1e3)


def nodes(feature, rows, columns):
    """Means of equal blocks of one map, `[channels, height, width]`, by loops."""
    _, height, width = feature.shape
    high, wide = height // rows, width // columns
    return [
        feature[:, i * high : (i + 1) * high, j * wide : (j + 1) * wide].mean(axis=(1, 2))
        for i in range(rows)
        for j in range(columns)
    ]


def cosine(a, b):
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return a @ b / lengths if lengths else 0.0


def reference(student, teacher, rows, columns):
    values = []
    for f, g in zip(student, teacher, strict=True):
        ours, theirs = nodes(f, rows, columns), nodes(g, rows, columns)
        errors = [
            (cosine(ours[i], ours[j]) - cosine(theirs[i], theirs[j])) ** 2
            for i in range(rows * columns)
            for j in range(rows * columns)
        ]
        values.append(sum(errors) / (rows * columns) ** 2)
    return values


def test_value_by_hand():
    # Student: pixels (1, 0), (0, 2), of cosine 0. Teacher: (3, 4), (4, 3), of cosine 24/25.
    student = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])
    teacher = torch.tensor([[[[3.0, 4.0]], [[4.0, 3.0]]]])
    assert skd(student, teacher).item() == pytest.approx(2 * (24 / 25) ** 2 / 4)


@given(FEATURES)
def test_equals_a_plain_loop_for_any_two_widths_and_sizes(both):
    ours = skd(*map(torch.from_numpy, both), 2)
    np.testing.assert_allclose(ours.numpy(), reference(*both, 2, 2), rtol=1e-9, atol=1e-12)


def test_each_pixel_is_a_node_where_the_grid_has_room():
    student, teacher = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    expected = reference(student.numpy(), teacher.numpy(), 5, 6)
    for grid in (6, 8, 100):
        np.testing.assert_allclose(skd(student, teacher, grid).numpy(), expected, rtol=1e-9)


def test_has_no_more_nodes_than_the_smaller_map():
    student, teacher = torch.randn(3, 4, 4, 2), torch.randn(3, 7, 8, 8)
    pooled = torch.nn.functional.adaptive_avg_pool2d(teacher, (4, 2))
    torch.testing.assert_close(skd(student, teacher), skd(student, pooled))


@given(FEATURES, SCALES, SCALES)
def test_ignores_the_scale_of_each_side(both, scale, other):
    student, teacher = map(torch.from_numpy, both)
    torch.testing.assert_close(skd(scale * student, other * teacher, 2), skd(student, teacher, 2))


def test_ignores_a_rotation_of_the_channels():
    student, teacher = torch.randn(3, 4, 5, 6), torch.randn(3, 7, 5, 6)
    rotation = torch.linalg.qr(torch.randn(4, 4))[0]
    rotated = torch.einsum("dc,bchw->bdhw", rotation, student)
    torch.testing.assert_close(skd(rotated, teacher), skd(student, teacher))
    assert skd(rotated, student).max() < 1e-10


@given(FEATURES)
def test_lies_between_0_and_4_and_is_symmetric(both):
    student, teacher = map(torch.from_numpy, both)
    values = skd(student, teacher, 2)
    assert values.min() >= 0
    assert values.max() <= 4 + 1e-9
    torch.testing.assert_close(values, skd(teacher, student, 2))


def test_tokens_are_nodes_like_pixels():
    student, teacher = torch.randn(4, 3, 2, 5), torch.randn(4, 6, 2, 5)
    tokens = (side.flatten(2).transpose(1, 2) for side in (student, teacher))
    torch.testing.assert_close(skd(*tokens), skd(student, teacher))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_squares_neither_vanish_nor_overflow(scale):
    student, teacher = torch.randn(4, 3, 2, 5), torch.randn(4, 6, 2, 5)
    torch.testing.assert_close(skd(scale * student, teacher), skd(student, teacher))


def test_pixels_of_zeros_have_no_direction_and_a_finite_gradient():
    student = torch.randn(2, 3, 2, 2)
    student[:, :, 0, 0] = 0
    student.requires_grad_()
    values = skd(student, torch.randn(2, 5, 2, 2))
    (ours,) = torch.autograd.grad(values.sum(), student)
    assert values.isfinite().all()
    assert ours.isfinite().all()
    assert ours.abs().max() < 10
    similarity = skd(student.detach(), torch.zeros(2, 5, 2, 2))  # that of the teacher is 0
    unit = torch.nn.functional.normalize(student.detach().flatten(2), dim=1)
    torch.testing.assert_close(similarity, (unit.mT @ unit).square().mean(dim=(1, 2)))


def test_a_node_is_the_mean_of_its_valid_pixels():
    student, teacher = torch.randn(2, 1, 3, 2, 4, dtype=torch.float64)
    mask = torch.tensor([[[1, 1, 0, 0], [0, 1, 0, 0]]]).bool()
    # Two columns of nodes at grid 2, and two rows: the right ones have no valid pixel.
    kept = [torch.stack([f[0, :, 0, :2].mean(1), f[0, :, 1, 1]]) for f in (student, teacher)]
    expected = skd(kept[0].unsqueeze(0), kept[1].unsqueeze(0))
    torch.testing.assert_close(skd(student, teacher, 2, mask), expected)


@pytest.mark.parametrize("grid", [0, -1, 2.0, True])
def test_a_grid_that_is_no_positive_integer_is_refused(grid):
    with pytest.raises(ArgumentError, match=r"`grid` must be .*8 gives at most 64 nodes"):
        SKD({"a": "b"}, grid)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((2, 3), (2, 3)),
        ((2, 3, 4), (2, 3, 4, 4)),
        ((2, 3, 4), (2, 5, 4)),
        ((2, 3, 4, 4), (1, 3, 4, 4)),
        ((), ()),
    ],
)
def test_features_that_cannot_be_compared_are_refused(student, teacher):
    with pytest.raises(ModelError, match=r"similarities are compared between .* got \[.*one kind"):
        skd(torch.zeros(student), torch.zeros(teacher))
