import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, logsumexp

import tutelage as tl
from tutelage.errors import ModelError
from tutelage.objectives import soft_targets
from tutelage.signals import Batch, Signals

SEEDS, TEMPERATURES = st.integers(0, 10**6), st.floats(0.5, 20)


def draw(seed=0, rows=6, classes=7, scale=3.0):
    """A student, and a teacher that knows from none to all classes in each row, in any order."""
    rng = np.random.default_rng(seed)
    student = torch.from_numpy(rng.normal(0, scale, (rows, classes))).requires_grad_()
    counts = rng.integers(0, classes + 1, rows)
    ids, logits = np.full((rows, classes), -1), np.full((rows, classes), -np.inf)
    for row, count in enumerate(counts):
        chosen = rng.permutation(classes)[:count]  # the filling may stand anywhere
        ids[row, chosen] = rng.permutation(classes)[:count]
        logits[row, chosen] = rng.normal(0, scale, count)
    rest = rng.normal(0, scale, rows)
    nothing_left = (counts == classes) | ((counts > 0) & (rng.random(rows) < 0.3))
    rest[nothing_left] = -np.inf
    return student, tl.CoarseLogits(*map(torch.from_numpy, (ids, logits, rest)))


def reference(student, teacher, temperature):
    """Row by row, in plain numpy."""
    values = []
    for z, ids, logits, rest in zip(
        student.detach().numpy(), teacher.ids, teacher.logits, teacher.other, strict=True
    ):
        known = [int(each) for each in ids if each >= 0]
        others = [each for each in range(len(z)) if each not in known]
        log_q = log_softmax(z)
        q = [log_q[each] for each in known] + ([logsumexp(log_q[others])] if others else [])
        p = logits[ids >= 0].tolist() + ([float(rest)] if others else [])
        log_p = log_softmax(np.array(p) / temperature)
        log_q = log_softmax(np.array(q) / temperature)
        terms = [
            np.exp(one) * (one - other) for one, other in zip(log_p, log_q, strict=True)
            if one > -np.inf
        ]  # fmt: skip
        values.append(temperature**2 * sum(terms))
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss, student):
    return torch.autograd.grad(loss.sum(), student)[0]


def coarse(ids, logits, rest):
    logits = torch.tensor(logits, dtype=torch.float64)
    return tl.CoarseLogits(torch.tensor(ids), logits, torch.tensor(rest, dtype=torch.float64))


@given(SEEDS, TEMPERATURES)
def test_equals_a_plain_reference_for_any_known_classes(seed, temperature):
    student, teacher = draw(seed)
    ours = soft_targets(student, teacher, temperature)
    torch.testing.assert_close(ours, reference(student, teacher, temperature), rtol=1e-9, atol=1e-9)
    assert ours.min() > -1e-9


def test_value_by_hand():
    # q = (¼, ¾), p = (½, ½): ½ log(½/¼) + ½ log(½/¾) = ½ log(4/3)
    known = coarse([[2]], [[1.5]], [1.5])
    ours = soft_targets(torch.zeros(1, 4).double(), known, 1.0)
    assert ours.item() == pytest.approx(np.log(4 / 3) / 2, abs=1e-14)


@given(SEEDS, TEMPERATURES)
def test_without_another_class_it_is_soft_targets(seed, temperature):
    student, _ = draw(seed)
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(student.shape, generator=generator, dtype=torch.float64)
    order = torch.randperm(student.shape[1], generator=generator)
    known = tl.CoarseLogits.of(logits)
    shuffled = tl.CoarseLogits(known.ids[:, order], known.logits[:, order], known.other)
    expected = soft_targets(student, logits, temperature)
    slope = gradient(expected, student)
    for teacher in (known, shuffled):
        ours = soft_targets(student, teacher, temperature)
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradient(ours, student), slope, rtol=1e-12, atol=1e-11)


@given(SEEDS, TEMPERATURES, st.floats(-50, 50))
def test_is_zero_with_its_gradient_where_the_coarsened_student_is_the_teacher(
    seed, temperature, shift
):
    student, teacher = draw(seed)
    log_q = student.detach().log_softmax(dim=1)
    outside = torch.stack([
        torch.cat([row[[k for k in range(7) if k not in ids]], torch.tensor([-torch.inf])])
        .logsumexp(0) for row, ids in zip(log_q, teacher.ids.tolist(), strict=True)
    ])  # fmt: skip
    inside = log_q.gather(1, teacher.ids.clamp(min=0)).masked_fill(teacher.ids < 0, -torch.inf)
    same = tl.CoarseLogits(teacher.ids, inside + shift, outside + shift)
    values = soft_targets(student, same, temperature)
    assert values.abs().max() < 1e-10 * max(temperature**2, 1)
    assert gradient(values, student).abs().max() < 1e-11 * max(temperature, 1)


@given(SEEDS)
def test_gradient_at_temperature_one(seed):
    """q − p for known classes; the others share the gradient of the "other" class by their q."""
    student, teacher = draw(seed)
    ours = gradient(soft_targets(student, teacher, 1.0), student)
    q = student.detach().softmax(dim=1)
    p = torch.cat([teacher.logits, teacher.other.unsqueeze(1)], dim=1).softmax(dim=1)
    for row, ids in enumerate(teacher.ids.tolist()):
        others = [each for each in range(7) if each not in ids]
        for each in range(7):
            due = (
                p[row, ids.index(each)] if each in ids
                else p[row, -1] * q[row, each] / q[row, others].sum()
            )  # fmt: skip
            assert ours[row, each] == pytest.approx((q[row, each] - due).item(), abs=1e-12)


def test_without_mass_on_the_other_class_the_student_leaves_it_too():
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    inside = coarse([[3, 1]] * 4, [[0.5, 2.0]] * 4, [-np.inf] * 4)
    ours = gradient(soft_targets(student, inside, 1.0), student)
    q = student.detach().softmax(dim=1)
    torch.testing.assert_close(ours[:, [0, 2, 4]], q[:, [0, 2, 4]], rtol=1e-12, atol=0)


def test_a_restricted_softmax_has_no_gradient_outside_and_this_one_has():
    student = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    restricted = soft_targets(student[:, [3, 1]], torch.tensor([[0.5, 2.0]] * 4).double(), 1.0)
    assert gradient(restricted, student)[:, [0, 2, 4]].abs().max() == 0
    known = coarse([[3, 1]] * 4, [[0.5, 2.0]] * 4, [-3.0] * 4)
    ours = gradient(soft_targets(student, known, 1.0), student)
    assert ours[:, [0, 2, 4]].abs().min() > 1e-3


def test_disjoint_teachers_learnt_coarsely_fix_the_relative_heights_and_restricted_ones_do_not():
    """Outputs of two specialists for one distribution; each knows half of the classes."""
    truth = torch.tensor([0.3, 0.05, 0.05, 0.4, 0.15, 0.05]).double()
    halves = [0, 1, 2], [3, 4, 5]
    ids = torch.tensor(halves)
    log_p = truth.log()[ids]
    teacher = tl.CoarseLogits(ids, log_p, (1 - log_p.exp().sum(dim=1)).log())

    def coarsened(student):
        return soft_targets(student.expand(2, 6), teacher, 1.0)

    def restricted(student):
        return soft_targets(student.expand(2, 6).gather(1, ids), log_p, 1.0)

    found = {}
    for loss in (coarsened, restricted):
        start = torch.tensor([2.0, 2, 2, 0, 0, 0]).double()
        student = start.clone().requires_grad_()
        optimizer = torch.optim.SGD([student], lr=2.0)
        for _ in range(300):
            optimizer.zero_grad()
            loss(student).sum().backward()
            optimizer.step()
        found[loss] = student.detach().softmax(dim=0)
    torch.testing.assert_close(found[coarsened], truth, rtol=0, atol=1e-6)
    assert found[restricted].argmax() != truth.argmax()


def test_gradcheck():
    student, teacher = draw(3, rows=4)
    assert torch.autograd.gradcheck(lambda z: soft_targets(z, teacher, 3.0), student)


@given(SEEDS, st.permutations(range(6)), st.floats(-50, 50))
def test_follows_a_permutation_of_the_batch_and_ignores_a_shift_of_either_side(seed, rows, shift):
    student, teacher = draw(seed)
    expected = soft_targets(student, teacher)
    ours = soft_targets(student[rows], teacher[torch.tensor(rows)])
    torch.testing.assert_close(ours, expected[rows])
    moved = tl.CoarseLogits(teacher.ids, teacher.logits + shift, teacher.other + shift)
    torch.testing.assert_close(soft_targets(student + shift, moved), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = draw(5)
    student = student.detach().to(dtype)
    teacher = tl.CoarseLogits(teacher.ids, teacher.logits.to(dtype), teacher.other.to(dtype))
    ours = soft_targets(student, teacher, 2.0)
    assert ours.dtype == torch.float32
    exact = tl.CoarseLogits(teacher.ids, teacher.logits.double(), teacher.other.double())
    np.testing.assert_allclose(
        ours.numpy(), reference(student.double(), exact, 2.0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("rest", [1e4, -1e4, -np.inf])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_extreme_logits_give_finite_values_and_gradients(dtype, rest, temperature):
    extremes = [[1e4, -1e4, 0.0, -1e4], [-1e4, 1e4, 1e4, 1e4], [-1e4, -1e4, -1e4, 1e4]]
    student = torch.tensor(extremes, dtype=dtype, requires_grad=True)
    known = coarse([[0, 1], [0, -1], [2, 1]], [[-1e4, 1e4], [1e4, -np.inf], [0, 0]], [rest] * 3)
    teacher = tl.CoarseLogits(known.ids, known.logits.to(dtype), known.other.to(dtype))
    values = soft_targets(student, teacher, temperature)
    assert values.isfinite().all()
    assert gradient(values, student).isfinite().all()


def test_a_class_with_probability_0_adds_no_loss_and_still_has_a_gradient():
    student = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    teacher = coarse([[0, 1]], [[0.0, -np.inf]], [0.0])
    values = soft_targets(student, teacher, 1.0)
    assert values.item() == pytest.approx(np.log(1.5))
    assert gradient(values, student)[0].tolist() == pytest.approx([-1 / 6, 1 / 3, -1 / 6])


class TestBadInput:
    @pytest.mark.parametrize("wrong", [7, -2, 100])
    def test_classes_that_the_student_does_not_have(self, wrong):
        with pytest.raises(ModelError, match=rf"0 to 6, got \[{wrong}\]; correct the labels"):
            soft_targets(torch.zeros(1, 7), coarse([[0, wrong]], [[0.0, 0.0]], [0.0]))

    def test_a_class_named_twice(self):
        with pytest.raises(ModelError, match="must differ within a row, got one twice"):
            soft_targets(torch.zeros(1, 7), coarse([[4, -1, 4]], [[0, -np.inf, 0.0]], [0.0]))

    def test_mass_where_the_student_has_no_class(self):
        with pytest.raises(ModelError, match=r"knows all 2 classes .*other_class=False"):
            soft_targets(torch.zeros(1, 2), coarse([[1, 0]], [[0.0, 0.0]], [0.0]))

    def test_a_row_without_any_mass(self):
        with pytest.raises(ModelError, match="must have mass somewhere"):
            soft_targets(torch.zeros(1, 2), coarse([[-1]], [[-np.inf]], [-np.inf]))

    @pytest.mark.parametrize("shape", [(1, 7), (2,), (2, 7, 1)])
    def test_other_shapes(self, shape):
        with pytest.raises(ModelError, match=r"must be \[2, classes\] .*let the student return"):
            soft_targets(torch.zeros(shape), coarse([[0]] * 2, [[0.0]] * 2, [0.0] * 2))


class TestObjectives:
    def test_soft_targets_learns_from_both_forms(self):
        student, teacher = draw(1)
        objective = tl.SoftTargets(3.0)
        ours = objective(Signals(student), Signals(teacher), Batch(student))
        assert torch.equal(ours, soft_targets(student, teacher, 3.0))

    @pytest.mark.parametrize("objective", [tl.LogitRegression(), tl.DKD(), tl.DIST()])
    def test_others_refuse_and_name_the_one_that_does_not(self, objective):
        student, teacher = draw(1)
        batch = Batch(student, torch.zeros(6, dtype=torch.int64))
        with pytest.raises(ModelError, match=r"for all classes, got CoarseLogits.*SoftTargets"):
            objective(Signals(student), Signals(teacher), batch)
