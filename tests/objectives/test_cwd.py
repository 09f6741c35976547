import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import tutelage as tl
from objective_samples import LAYER_MAPS, MAPS, TOKENS, Formula, LayerSample
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.resolution import project
from tutelage.objectives import CWD, cwd, soft_targets
from tutelage.schedules import Linear
from tutelage.signals import Batch, Signals

SAMPLES = [
    Formula(cwd, (TOKENS, MAPS)),
    LayerSample(
        lambda pairs=1: CWD(LAYER_MAPS[pairs], 2.0),
        lambda o, s, t, mask: cwd(project(o.projectors[0], s, t), t, 2.0, mask),
        "CWD({'mix': 'mix'}, temperature=2)",
    ),
]

GRID = st.integers(-8, 8).map(lambda k: k / 2)
PAIRS = st.tuples(*[arrays(np.float64, (2, 3, 2, 4), elements=GRID)] * 2)
TEMPERATURES = st.sampled_from([0.5, 1.0, 4.0])


def distribution(channel, temperature):
    """The softmax over the pixels of one channel, `[height, width]`, by loops."""
    powers = [[np.exp(value / temperature) for value in row] for row in channel]
    total = sum(map(sum, powers))
    return [power / total for row in powers for power in row]


def reference(student, teacher, temperature):
    values = []
    for ours, theirs in zip(student, teacher, strict=True):
        total = 0.0
        for z, v in zip(ours, theirs, strict=True):
            q, p = distribution(z, temperature), distribution(v, temperature)
            total += sum(b * np.log(b / a) for a, b in zip(q, p, strict=True))
        values.append(temperature**2 * total / len(ours))
    return values


def test_value_by_hand():
    # One channel's positions are (½, ½) for the student and (¾, ¼) for the teacher; the other's
    # are equal on both sides. T²/C = 4/2.
    student = torch.tensor([[[[0.0, 0.0]], [[5.0, 1.0]]]])
    teacher = torch.tensor([[[[2 * np.log(3), 0.0]], [[7.0, 3.0]]]])
    expected = 2 * (0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert cwd(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-6)


@given(PAIRS, TEMPERATURES)
def test_equals_a_plain_loop(both, temperature):
    ours = cwd(*map(torch.from_numpy, both), temperature)
    np.testing.assert_allclose(ours.numpy(), reference(*both, temperature), rtol=1e-9, atol=1e-12)


@given(PAIRS, TEMPERATURES)
def test_mean_over_the_batch_is_the_sum_over_channels_and_positions_over_both_numbers(both, heat):
    """As published: T²/(C·N) times one sum over all examples, channels and positions."""
    z, v = (torch.from_numpy(each).reshape(2 * 3, -1) / heat for each in both)
    p = v.softmax(dim=1)
    expected = (p * (v.log_softmax(dim=1) - z.log_softmax(dim=1))).sum() * heat**2 / (3 * 2)
    torch.testing.assert_close(cwd(*map(torch.from_numpy, both), heat).mean(), expected)


@given(PAIRS, arrays(np.float64, (2, 3, 1, 1), elements=GRID))
def test_ignores_a_constant_that_is_added_to_a_channel(both, level):
    student, teacher = map(torch.from_numpy, both)
    level = torch.from_numpy(level)
    expected = cwd(student, teacher)
    torch.testing.assert_close(cwd(student + level, teacher), expected)
    torch.testing.assert_close(cwd(student, teacher - level), expected)


@given(PAIRS)
def test_the_gradient_of_each_channel_sums_to_zero(both):
    student, teacher = map(torch.from_numpy, both)
    student.requires_grad_()
    (ours,) = torch.autograd.grad(cwd(student, teacher).sum(), student)
    assert ours.sum(dim=(2, 3)).abs().max() < 1e-12


def test_is_soft_targets_with_the_positions_as_classes():
    student, teacher = torch.randn(2, 5, 3, 4, 6, dtype=torch.float64)
    rows = [side.flatten(2).flatten(0, 1) for side in (student, teacher)]
    expected = soft_targets(*rows, temperature=3.0).view(5, 3).mean(dim=1)
    torch.testing.assert_close(cwd(student, teacher, 3.0), expected)


def test_tokens_are_positions_like_pixels():
    student, teacher = torch.randn(2, 4, 3, 2, 5)
    tokens = (side.flatten(2).transpose(1, 2) for side in (student, teacher))
    torch.testing.assert_close(cwd(*tokens), cwd(student, teacher))


def test_a_channel_that_does_not_vary_is_uniform():
    student = torch.full((1, 1, 2, 2), 7.0, requires_grad=True)
    teacher = torch.tensor([[[[np.log(5.0), 0.0], [0.0, 0.0]]]], dtype=torch.float32)
    value = cwd(student, teacher, 1.0)
    expected = 5 / 8 * np.log(20 / 8) + 3 / 8 * np.log(4 / 8)
    assert value.item() == pytest.approx(expected, rel=1e-6)
    (ours,) = torch.autograd.grad(value.sum(), student)
    torch.testing.assert_close(ours, torch.tensor([[[[-0.375, 0.125], [0.125, 0.125]]]]))


def test_tends_to_half_the_squared_error_of_centred_channels_over_their_pixels():
    """For T → ∞, as soft_targets does: Σ (c(z) − c(v))² / (2n)."""
    student, teacher = torch.randn(2, 3, 2, 4, 5, dtype=torch.float64)
    error = student - teacher
    error = error - error.mean(dim=(2, 3), keepdim=True)
    expected = error.square().sum(dim=(2, 3)).mean(dim=1) / (2 * 20)
    torch.testing.assert_close(cwd(student, teacher, 1e4), expected, rtol=1e-3, atol=0)


def test_the_temperature_may_follow_a_schedule():
    objective = CWD({"a": "b"}, Linear(4, 2))
    student, teacher = torch.randn(2, 4, 3, 2, 5)
    sides = Signals(features={"a": student}), Signals(features={"b": teacher})
    objective.build(*sides)
    for progress, temperature in ((0.0, 4.0), (0.5, 3.0), (1.0, 2.0)):
        values = objective(*sides, Batch(student, progress=progress))
        torch.testing.assert_close(values, cwd(student, teacher, temperature))


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), "4"])
def test_a_temperature_out_of_range_is_refused(temperature):
    with pytest.raises(ArgumentError, match=r"`temperature` must be .*4 is usual"):
        CWD({"a": "b"}, temperature)


def test_features_without_positions_are_refused():
    with pytest.raises(ModelError, match=r"must have positions, .* got \[2, 3\]; choose a layer"):
        cwd(torch.zeros(2, 3), torch.zeros(2, 3))


def test_other_shapes_are_refused():
    with pytest.raises(ModelError, match=r"must have one shape, got \[2, 3, 4, 4\]"):
        cwd(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 5))


def test_a_run_on_maps_of_logits_brings_the_student_to_the_teachers_pixels():
    torch.manual_seed(0)

    def network(width):
        return torch.nn.Sequential(
            torch.nn.Conv2d(1, width, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Conv2d(width, 4, 1),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )

    run = tl.distill(
        network(12), network(4), train=torch.utils.data.TensorDataset(torch.randn(64, 1, 6, 6)),
        objective=3 * CWD({"2": "2"}, 1.0), epochs=12, batch_size=16, seed=0,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.03),
        engine=tl.Engine(progress=False),
    )  # fmt: skip
    losses = [each["train/cwd"] for each in run.history]
    assert losses[-1] < 0.5 * losses[0]
