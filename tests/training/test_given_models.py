"""What a student and its parts bring with them to a run."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

X = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(12) % 3
QUIET = tl.Engine(device="cpu", progress=False)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def trained(student, objective, **changes):
    settings = {"epochs": 2, "batch_size": 5, "engine": QUIET} | changes
    return tl.fit(student, train=TensorDataset(X, LABELS), objective=objective, **settings).student


@pytest.mark.parametrize("accumulation", [1, 2])
def test_gradients_from_before_the_run_are_no_part_of_its_first_step(accumulation):
    engine = tl.Engine(device="cpu", progress=False, accumulation=accumulation)
    expected = trained(network(), tl.HardLabels(), engine=engine)
    student = network()
    (100 * student(X).sum()).backward()
    found = trained(student, tl.HardLabels(), engine=engine)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=0, atol=0)


class Shallow(tl.Objective):
    """Labels from an earlier layer too, through the student's own last layer."""

    wants = tl.Wants(student=tl.Fields(features=frozenset({"0"})), labels=True)

    def __init__(self, head):
        super().__init__()
        self.head, self.own = head, nn.Linear(5, 5)

    def forward(self, student, teacher, batch):
        logits = self.head(self.own(student.feature("0")))
        return F.cross_entropy(logits, batch.labels, reduction="none")


@pytest.mark.parametrize("in_stages", [False, True])
def test_an_objective_with_a_layer_of_the_student_trains_that_layer(in_stages):
    student = network()
    objective = Shallow(student[2])
    before, own = copy.deepcopy(student[2].weight), copy.deepcopy(objective.own.weight)
    if in_stages:
        stages = [tl.Stage(objective, 1), tl.Stage(objective, 1)]
        tl.distill(
            None, student, train=TensorDataset(X, LABELS), stages=stages, batch_size=5, engine=QUIET
        )
    else:
        trained(student, objective)
    assert not torch.equal(student[2].weight, before)
    assert torch.equal(objective.own.weight, own)  # what is its own is trained in a copy


def test_such_a_run_is_resumed_and_found_again(tmp_path):
    for epochs in (2, 2, 3):
        student = network()
        trained(student, Shallow(student[2]), out=tmp_path, epochs=epochs)
    expected = network()
    trained(expected, Shallow(expected[2]), epochs=3)
    torch.testing.assert_close(student.state_dict(), expected.state_dict(), rtol=0, atol=0)


def test_a_parameter_that_only_the_optimizer_holds_gets_each_step_its_own_gradient():
    def run(make):
        student, scale = network(), nn.Parameter(torch.ones(()))

        def loss(student, batch):
            losses = F.cross_entropy(student(batch.inputs), batch.labels, reduction="none")
            return (scale - 2).square() * losses

        make(student, scale, loss)
        return [*student.parameters(), scale]

    def ours(student, scale, loss):
        trained(student, tl.OwnLoss(loss), epochs=4, batch_size=12,
                optimizer=lambda each: torch.optim.SGD([*each, scale], lr=0.1))  # fmt: skip

    def plain(student, scale, loss):
        optimizer = torch.optim.SGD([*student.parameters(), scale], lr=0.1)
        for _ in range(4):
            optimizer.zero_grad()
            loss(student, tl.Batch(X, LABELS)).mean().backward()
            optimizer.step()

    for found, expected in zip(run(ours), run(plain), strict=True):
        torch.testing.assert_close(found, expected)


class Detached(nn.Sequential):
    """Runs its large first layer without gradients, as by mistake."""

    def forward(self, inputs):
        with torch.no_grad():
            hidden = self[0](inputs)
        return self[2](self[1](hidden))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_student_of_which_most_gets_no_gradient_is_told(frozen, caplog):
    student = Detached(*network())
    student[0].requires_grad_(not frozen)
    trained(student, tl.HardLabels())
    found = [each for each in caplog.messages if "gradient" in each]
    assert len(found) == (not frozen)
    if found:
        assert "Of 43 parameters of the student that are to be trained, 25 got no" in found[0]
        assert "such as those of '0.weight'" in found[0]
    caplog.clear()
    trained(network(), tl.HardLabels())
    assert "gradient" not in caplog.text
