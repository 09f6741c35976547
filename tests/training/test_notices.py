"""Lines of log about runs whose result is doubtful; studies say these things themselves."""

from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.training.notices import without_notices

X = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(X, (X[:, 0] > 0).long())


class Teacher(nn.Module):
    """Its logits differ by `scale` and more."""

    def __init__(self, scale):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, inputs):
        sides = torch.stack([-inputs[:, 0].sign(), inputs[:, 0].sign()], dim=1)
        return self.scale * sides / 2


def lines(caplog, scale=1.0, temperature=1.0, val=DATA, **options):
    caplog.clear()
    tl.distill(
        Teacher(scale),
        nn.Linear(4, 2),
        train=DATA,
        val=val,
        objective=tl.SoftTargets(temperature),
        optimizer=partial(torch.optim.SGD, lr=0.1),
        **{"epochs": 50, "batch_size": 50} | options,
    )
    return caplog.messages


def test_a_run_of_200_steps_on_200_examples_says_nothing(caplog):
    assert not lines(caplog)


def test_few_steps_few_examples_and_a_certain_teacher_are_told_in_a_line_each(caplog):
    [line] = lines(caplog, epochs=49)
    assert "This run has 196 optimizer steps" in line
    [line] = lines(caplog, val=torch.utils.data.Subset(DATA, range(50)))
    assert "Validation has 50 examples" in line
    assert "the best epoch is chosen by the loss" in line
    [line] = lines(caplog, scale=20)
    assert "The teacher is certain of the first training rows" in line
    assert not lines(caplog, scale=20, temperature=8.0)
    with without_notices():
        assert not lines(caplog, epochs=1)
