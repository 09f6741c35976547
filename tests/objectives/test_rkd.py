from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, VECTORS, Formula, LayerSample
from tutelage.objectives import RKD, rkd

SAMPLES = [
    Formula(
        lambda s, t, mask=None: rkd(s, t, mask=mask), (VECTORS, TOKENS, MAPS), over_the_batch=True
    ),
    LayerSample(
        lambda pairs=1: RKD(LAYER_MAPS[pairs], distance=2.0, angle=3.0),
        lambda _, s, t, mask: rkd(s, t, 2.0, 3.0, mask),
        "RKD({'mix': 'mix'}, distance=2, angle=3)",
    ),
]

# On a grid, so that examples are either clearly apart or equal.
GRID = st.integers(-8, 8).map(lambda k: k / 2)
NARROW = arrays(np.float64, (4, 2), elements=GRID)
WIDE = arrays(np.float64, (4, 5), elements=GRID)


def huber(error):
    return 0.5 * error**2 if abs(error) <= 1 else abs(error) - 0.5


def distances(rows):
    n = len(rows)
    table = np.array([[np.sqrt(((a - b) ** 2).sum()) for b in rows] for a in rows])
    mean = table.sum() / (n * (n - 1))
    return table / mean if mean else table


def cosine(rows, i, j, k):
    a, b = rows[j] - rows[i], rows[k] - rows[i]
    lengths = np.sqrt((a**2).sum() * (b**2).sum())
    return (a * b).sum() / lengths if lengths else 0.0


def reference(student, teacher, distance, angle):
    n = len(student)
    apart = distances(student), distances(teacher)
    values = []
    for i in range(n):
        far = np.mean([huber(apart[0][i, j] - apart[1][i, j]) for j in range(n)])
        turns = np.mean(
            [
                huber(cosine(student, i, j, k) - cosine(teacher, i, j, k))
                for j, k in product(range(n), repeat=2)
            ]
        )
        values.append(distance * far + angle * turns)
    return np.array(values)


def published(student, teacher):
    """The authors' loss for a batch, 25 and 50 times, in a few lines of torch."""
    huber_loss = torch.nn.functional.smooth_l1_loss

    def relations(rows):
        table = torch.cdist(rows, rows)
        table = table / table[table > 0].mean()
        unit = torch.nn.functional.normalize(rows.unsqueeze(0) - rows.unsqueeze(1), dim=2)
        return table, torch.bmm(unit, unit.transpose(1, 2))

    (far, turns), (wanted_far, wanted_turns) = relations(student), relations(teacher)
    return 25 * huber_loss(far, wanted_far) + 50 * huber_loss(turns, wanted_turns)


def embeddings(width=3, batch=8):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(batch, width, generator=generator, dtype=torch.float64)
    return student, torch.randn(batch, 5, generator=generator, dtype=torch.float64)


def rotation(width):
    return torch.linalg.qr(torch.randn(width, width, dtype=torch.float64))[0]


def test_distances_by_hand():
    # 1, 2, 1 apart, over their mean ¾, 1½, ¾; 3, 4, 5 apart, over their mean ¾, 1, 1¼.
    student = torch.tensor([[0.0], [1.0], [2.0]])
    teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    values = rkd(student, teacher, distance=3.0, angle=0.0)
    assert values.tolist() == pytest.approx([0.125, 0.125, 0.25])


def test_angles_by_hand():
    # Two of nine cosines at each corner: 1, −1, 1 on a line; 0, 0.6, 0.8 in a triangle 3, 4, 5.
    student = torch.tensor([[0.0], [1.0], [2.0]])
    teacher = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    values = rkd(student, teacher, distance=0.0, angle=4.5)
    assert values.tolist() == pytest.approx([0.5, 1.6 - 0.5, 0.2**2 / 2])


@given(NARROW, WIDE, st.floats(0, 50), st.floats(0, 50))
def test_equals_plain_loops_for_any_two_widths(student, teacher, distance, angle):
    ours = rkd(torch.from_numpy(student), torch.from_numpy(teacher), distance, angle)
    expected = reference(student, teacher, distance, angle)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


def test_mean_over_the_batch_is_the_published_loss_with_its_gradient():
    student, teacher = embeddings()
    student.requires_grad_()
    ours, expected = rkd(student, teacher).mean(), published(student, teacher)
    torch.testing.assert_close(ours, expected)
    gradients = (torch.autograd.grad(value, student)[0] for value in (ours, expected))
    torch.testing.assert_close(*gradients)


@given(st.floats(1e-3, 1e3), st.floats(-1e3, 1e3), st.sampled_from(["student", "teacher"]))
def test_ignores_translation_rotation_and_scale_of_either_side(scale, shift, side):
    student, teacher = embeddings()
    values = rkd(student, teacher)
    if side == "student":
        student = scale * student @ rotation(3) + shift * torch.randn(3)
    else:
        teacher = scale * teacher @ rotation(5) + shift * torch.randn(5)
    torch.testing.assert_close(rkd(student, teacher), values, rtol=1e-6, atol=1e-6)


def test_is_zero_for_a_copy_that_is_moved_turned_scaled_and_wider():
    _, teacher = embeddings()
    student = torch.cat([7 - 3 * teacher @ rotation(5), torch.ones(8, 4)], dim=1)
    assert rkd(student, teacher).max() < 1e-20


def test_sees_other_maps():
    _, teacher = embeddings()
    stretched = teacher * torch.tensor([5.0, 1, 1, 1, 1])
    assert rkd(stretched, teacher).min() > 0.01


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_distances_neither_vanish_nor_overflow(scale):
    student, teacher = (side.float() for side in embeddings())
    torch.testing.assert_close(rkd(scale * student, teacher), rkd(student, teacher))


@given(st.floats(1e-12, 1e-3))
def test_examples_that_nearly_coincide_have_bounded_gradients(gap):
    student, teacher = embeddings()
    student[1] = student[0] + gap
    student.requires_grad_()
    (ours,) = torch.autograd.grad(rkd(student, teacher).mean(), student)
    assert ours.abs().max() < 1e6


def test_a_batch_of_one_has_no_relations():
    assert rkd(torch.randn(1, 3), torch.randn(1, 4)).tolist() == [0.0]
