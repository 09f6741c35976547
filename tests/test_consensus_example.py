"""The iteration of examples/consensus.py, against the loss it minimizes and a generic optimizer."""

import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.signals import Batch
from tutelage.teachers import Teacher
from tutelage.wants import OUTPUT

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "consensus.py"))
Consensus = EXAMPLE["Consensus"]
CLASSES, ROWS = 6, 3
X = torch.zeros(ROWS, 1)


class Constant(Teacher):
    def __init__(self, output):
        self.output = output

    def signals(self, batch, fields):
        return tl.Signals(self.output if fields.output else None)

    def fingerprint(self):
        return "constant"


def sample(seed, members=3):
    """Teachers of different classes, in another order for each row, one of all, and weights."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    teachers = []
    for _ in range(members):
        known = int(torch.randint(1, CLASSES, (), generator=generator))
        ids = torch.stack([torch.randperm(CLASSES, generator=generator) for _ in range(ROWS)])
        teachers.append(CoarseLogits(ids[:, :known], normal(ROWS, known), normal(ROWS)))
    teachers.append(CoarseLogits.of(normal(ROWS, CLASSES)))
    return teachers, (torch.rand(members + 1, generator=generator) + 0.1).tolist()


def consensus(teachers, weights=None, tolerance=1e-12, max_steps=20000):
    named = {str(number): Constant(each) for number, each in enumerate(teachers)}
    teacher = Consensus(named, CLASSES, weights, tolerance, max_steps)
    return teacher.signals(Batch(X), OUTPUT).output


def cost(log_q, teachers, weights):
    """Σ_k w_k KL(p_k ‖ q_k) by the loss that students learn from."""
    each = torch.stack([tl.objectives.soft_targets(log_q, one, 1.0) for one in teachers])
    weights = torch.tensor(weights, dtype=torch.float64)
    return ((weights / weights.sum()).unsqueeze(1) * each).sum(dim=0)


@given(st.integers(0, 10**6))
@settings(max_examples=20)
def test_no_step_makes_the_objective_larger(seed):
    teachers, weights = sample(seed)
    costs = [
        cost(consensus(teachers, weights, max_steps=steps), teachers, weights)
        for steps in range(1, 15)
    ]
    assert torch.stack(costs).diff(dim=0).max() <= 1e-12


@pytest.mark.parametrize("seed", range(4))
def test_the_optimum_equals_that_of_a_generic_optimizer(seed):
    teachers, weights = sample(seed)
    logits = torch.zeros(ROWS, CLASSES, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [logits], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, history_size=30,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        optimizer.zero_grad()
        total = cost(logits, teachers, weights).sum()
        total.backward()
        return total

    optimizer.step(closure)
    found = consensus(teachers, weights)
    theirs = cost(logits.detach(), teachers, weights)
    torch.testing.assert_close(cost(found, teachers, weights), theirs, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.exp(), logits.detach().softmax(dim=1), rtol=0, atol=1e-5)


def test_disjoint_specialists_of_all_classes_recover_the_distribution():
    log_p = torch.randn(ROWS, CLASSES, dtype=torch.float64).log_softmax(dim=1)
    teachers = []
    for part in ([0, 1], [2, 3], [4, 5]):
        inside = log_p[:, part]
        rest = (1 - inside.exp().sum(dim=1)).log()
        teachers.append(CoarseLogits(torch.tensor([part] * ROWS), inside, rest))
    torch.testing.assert_close(consensus(teachers), log_p, rtol=0, atol=1e-8)


def test_the_program():
    result = EXAMPLE["main"]()
    assert min(result.values()) > 0.9
