import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch
from tutelage.teachers import Consensus, Specialist, Teacher
from tutelage.teachers.consensus import Targets, pooled, step
from tutelage.wants import OUTPUT, Fields

CLASSES, ROWS = 6, 3
X = torch.randn(ROWS, 3, generator=torch.Generator().manual_seed(1))


class Constant(Teacher):
    """Says what it was given."""

    def __init__(self, output):
        self.output = output

    def signals(self, batch, fields):
        return tl.Signals(self.output if fields.output else None)

    def fingerprint(self):
        return "saying"


def sample(seed, members=3):
    """Teachers of different classes, some in another order for each row, and weights."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    teachers = []
    for _ in range(members):
        known = int(torch.randint(1, CLASSES, (), generator=generator))
        ids = torch.stack([torch.randperm(CLASSES, generator=generator) for _ in range(ROWS)])
        teachers.append(CoarseLogits(ids[:, :known], normal(ROWS, known), normal(ROWS)))
    weights = torch.rand(members + 1, generator=generator, dtype=torch.float64) + 0.1
    return teachers, CoarseLogits.of(normal(ROWS, CLASSES)), weights / weights.sum()


def cost(log_q, teachers, weights):
    """Σ_k w_k KL(p_k ‖ q_k) by the loss that students learn from."""
    each = torch.stack([tl.objectives.coarse_soft_targets(log_q, one, 1.0) for one in teachers])
    return (weights.unsqueeze(1) * each).sum(dim=0)


def search(teachers, weights, begin=None, tolerance=1e-12, steps=20000):
    return pooled(Targets.of(teachers, CLASSES), weights, begin, tolerance, steps)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_no_step_makes_the_objective_larger(seed):
    teachers, generalist, weights = sample(seed)
    members = [*teachers, generalist]
    targets = Targets.of(members, CLASSES)
    log_q = torch.randn(ROWS, CLASSES, dtype=torch.float64).log_softmax(dim=1)
    costs = []
    for _ in range(30):
        costs.append(cost(log_q, members, weights))
        log_q = step(targets, weights.log().reshape(-1, 1, 1), log_q)
        torch.testing.assert_close(log_q.logsumexp(dim=1), torch.zeros(ROWS).double())
    falls = torch.stack(costs).diff(dim=0)
    assert falls.max() <= 1e-12
    assert falls.min() < 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("with_generalist", [True, False])
def test_the_optimum_equals_that_of_a_generic_optimizer(seed, with_generalist):
    teachers, generalist, weights = sample(seed)
    members = [*teachers, generalist] if with_generalist else teachers
    weights = weights[: len(members)] / weights[: len(members)].sum()
    logits = torch.zeros(ROWS, CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        total = cost(logits, members, weights).sum()
        total.backward()
        return total

    optimizer.step(closure)
    found = search(members, weights, generalist.logits if with_generalist else None)
    theirs = cost(logits.detach(), members, weights)
    torch.testing.assert_close(cost(found, members, weights), theirs, rtol=0, atol=1e-9)
    if with_generalist:  # then the optimum is one point
        expected = logits.detach().softmax(dim=1)
        torch.testing.assert_close(found.exp(), expected, rtol=0, atol=1e-5)


def test_the_consensus_of_equal_teachers_is_their_output():
    """All coarse views of one distribution, with the whole of it among them: nothing to search."""
    log_p = torch.randn(ROWS, CLASSES, dtype=torch.float64).log_softmax(dim=1)
    ids = torch.tensor([[0, 3], [1, 2], [4, 5]])
    inside = log_p.gather(1, ids)
    rest = (1 - inside.exp().sum(dim=1)).log()
    found = search([CoarseLogits(ids, inside, rest), CoarseLogits.of(log_p)],
                   torch.tensor([0.3, 0.7]).double())  # fmt: skip
    torch.testing.assert_close(found, log_p)


def test_disjoint_specialists_of_all_classes_recover_the_distribution():
    log_p = torch.randn(ROWS, CLASSES, dtype=torch.float64).log_softmax(dim=1)
    teachers = []
    for part in ([0, 1], [2, 3], [4, 5]):
        inside = log_p[:, part]
        rest = (1 - inside.exp().sum(dim=1)).log()
        teachers.append(CoarseLogits(torch.tensor([part] * ROWS), inside, rest))
    found = search(teachers, torch.full((3,), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(found, log_p, rtol=0, atol=1e-8)


def test_ratios_of_classes_that_no_teacher_distinguishes_stay_as_at_the_start():
    known = CoarseLogits(
        torch.tensor([[0]]), torch.tensor([[0.0]]).double(), torch.zeros(1).double()
    )
    begin = torch.tensor([[5.0, 1, 2, 3, 3, 3]]).double()
    one = torch.ones(1, dtype=torch.float64)
    even = search([known], one).exp()
    assert even[0].tolist() == pytest.approx([0.5] + [0.1] * 5)
    found = search([known], one, begin).exp()
    torch.testing.assert_close(found[0, 1:], 0.5 * begin[0, 1:].softmax(dim=0))


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_outputs_stay_finite(scale):
    known = CoarseLogits(torch.tensor([[0, 1]]), torch.tensor([[scale, 0.0]]), torch.tensor([0.0]))
    begin = torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf, -torch.inf, -torch.inf]])
    found = search([known, CoarseLogits.of(begin)], torch.tensor([0.5, 0.5]), begin, 1e-6, 100)
    assert not found.isnan().any()
    assert found.exp().sum() == pytest.approx(1)


class TestTeacher:
    def test_its_output_has_all_classes(self):
        teachers, generalist, weights = sample(5)
        consensus = Consensus(
            {f"k{position}": Constant(each) for position, each in enumerate(teachers)},
            Constant(generalist.logits), None, weights.tolist(), 1e-12, 20000,
        )  # fmt: skip
        output = consensus.signals(Batch(X), OUTPUT).output
        torch.testing.assert_close(
            output, search([*teachers, generalist], weights, generalist.logits)
        )

    def test_modules_and_features_of_named_members(self):
        models = {"ab": nn.Sequential(nn.Linear(3, 3)), "cd": nn.Sequential(nn.Linear(3, 3))}
        named = {
            "ab": Specialist(models["ab"], [0, 1]),
            "cd": Specialist(models["cd"], [3, 2]),
        }
        wanted = Fields(True, frozenset({"ab/0", "generalist/0"}))
        general = nn.Sequential(nn.Linear(3, 4))
        signals = Consensus(named, general).signals(Batch(X), wanted)
        assert signals.output.shape == (ROWS, 4)
        torch.testing.assert_close(signals.output.exp().sum(dim=1), torch.ones(ROWS))
        assert signals.features.keys() == wanted.features
        only = Consensus(named, general).signals(Batch(X), Fields(features=wanted.features))
        assert only.output is None

    def test_a_student_can_learn_from_it_with_any_objective(self):
        named = [Specialist(nn.Linear(3, 3), [0, 1]), Specialist(nn.Linear(3, 3), [2, 3])]
        student = nn.Linear(3, 4)
        objective = tl.LogitRegression() + tl.SoftTargets(2.0)
        losses = tl.Distiller(student, Consensus(named, classes=4), objective)(Batch(X))
        losses.total.backward()
        assert losses.total.isfinite()

    def test_fingerprint_changes_with_its_settings(self):
        one, all_ = Constant(sample(0)[0][0]), Constant(X)
        prints = {
            Consensus([one], classes=6).fingerprint(),
            Consensus([one], classes=7).fingerprint(),
            Consensus([one], all_).fingerprint(),
            Consensus([one, all_]).fingerprint(),
            Consensus([one], all_, weights=[1, 2]).fingerprint(),
            Consensus([one], classes=6, max_steps=3).fingerprint(),
        }
        assert len(prints) == 6


class TestBadInput:
    ONE = Constant(
        CoarseLogits(torch.tensor([[0, 4]] * ROWS), torch.zeros(ROWS, 2), torch.zeros(ROWS))
    )

    def test_a_teacher_without_an_other_class(self):
        teacher = Specialist(nn.Linear(3, 2), [0, 1], other_class=False)
        with pytest.raises(ModelError, match=r"neither of \['1'\]; .*other_class=True"):
            Consensus([self.ONE, teacher], classes=6).signals(Batch(X), OUTPUT)

    def test_the_number_of_classes_is_not_known(self):
        with pytest.raises(ModelError, match=r"classes=None and no teacher of all .*set `classes`"):
            Consensus([self.ONE]).signals(Batch(X), OUTPUT)

    def test_different_numbers_of_classes(self):
        with pytest.raises(ModelError, match=r"classes=7 and \{'generalist': 6\}"):
            Consensus([self.ONE], nn.Linear(3, 6), 7).signals(Batch(X), OUTPUT)

    def test_a_class_id_out_of_range(self):
        with pytest.raises(ModelError, match=r"class ids from 0 to 2, got 4"):
            Consensus([self.ONE], classes=3).signals(Batch(X), OUTPUT)

    def test_a_generalist_of_some_classes(self):
        with pytest.raises(ModelError, match="generalist must know all classes"):
            Consensus([self.ONE], self.ONE, 6).signals(Batch(X), OUTPUT)

    def test_two_generalists(self):
        with pytest.raises(ArgumentError, match=r"none named 'generalist' beside .*rename it"):
            Consensus({"generalist": self.ONE}, self.ONE)

    @pytest.mark.parametrize(
        "wrong",
        [{"tolerance": 0}, {"max_steps": 0}, {"classes": 1}, {"weights": [1]}, {"weights": [0, 0]}],
    )
    def test_invalid_numbers(self, wrong):
        with pytest.raises(ArgumentError, match=f"`{next(iter(wrong))}` must be"):
            Consensus([self.ONE, self.ONE], **wrong)


def test_a_weight_of_zero_leaves_a_teacher_out():
    """What it alone knows is not used, and a class that the others rule out is impossible."""
    one = CoarseLogits(torch.tensor([[0, 1]]), torch.tensor([[1.0, 2.0]]), torch.tensor([0.5]))
    whole = Constant(torch.tensor([[1.0, 0.0, -torch.inf, -torch.inf]]))
    joined = Consensus([Constant(one), whole], weights=[0, 1]).signals(Batch(X[:1]), OUTPUT).output
    torch.testing.assert_close(joined.softmax(dim=1), whole.output.softmax(dim=1))


def test_a_teacher_of_weight_zero_needs_no_other_class():
    open_ = CoarseLogits(torch.tensor([[0]]), torch.tensor([[1.0]]), torch.tensor([-torch.inf]))
    whole = Constant(torch.tensor([[1.0, 0.0, 2.0]]))
    joined = Consensus({"open": Constant(open_), "all": whole}, weights=[0, 1])
    found = joined.signals(Batch(X[:1]), OUTPUT).output
    torch.testing.assert_close(found.softmax(dim=1), whole.output.softmax(dim=1))
    with pytest.raises(ModelError, match=r"got neither of \['open'\]"):
        Consensus({"all": whole, "open": Constant(open_)}).signals(Batch(X[:1]), OUTPUT)


def test_an_empty_batch_has_an_output_of_the_right_shape():
    teacher = Consensus([nn.Linear(3, CLASSES), nn.Linear(3, CLASSES)])
    assert teacher.signals(Batch(X[:0]), OUTPUT).output.shape == (0, CLASSES)
