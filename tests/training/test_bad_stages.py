"""What is no list of stages is refused before anything trains."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

DATA = TensorDataset(torch.randn(48, 5), torch.arange(48) % 3)
SOFT = tl.SoftTargets(2)


def student():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3))


def distill(stages):
    return tl.distill(nn.Linear(5, 3), student(), stages=stages, train=DATA)


GOOD = tl.Stage(SOFT, 1)


class TestArguments:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"stages": [GOOD], "objective": SOFT}, "`stages` have objectives .*got `objective`"),
            ({"stages": [GOOD], "epochs": 3}, "`stages` have .*got `epochs` beside them"),
            ({}, r"an `objective` and either .*, or `stages`, got neither"),
            ({"objective": SOFT}, r"or `stages`, got `objective`; for instance"),
            ({"epochs": 2}, r"or `stages`, got `epochs`; for instance"),
            ({"stages": []}, r"`stages` must be a list of tl\.Stage, at least one, got \[\]"),
            ({"stages": GOOD}, r"`stages` must be a list of tl\.Stage, at least one, got Stage"),
            ({"stages": [SOFT]}, r"`stages` must be a list of tl\.Stage"),
            ({"stages": (each for each in [GOOD])}, r"`stages` must be a list of tl\.Stage"),
            ({"stages": "soft"}, r"`stages` must be a list of tl\.Stage"),
        ],
    )
    def test_of_distill(self, options, message):
        with pytest.raises(tl.ArgumentError, match=message):
            tl.distill(nn.Linear(5, 3), student(), train=DATA, **options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epochs": 0}, "`epochs` must be at least 1, got 0"),
            ({"epochs": 1.5}, "`epochs` must be an integer"),
            ({"trainable": "layer3"}, r"`trainable` must be a list of paths.*write \['layer3'\]"),
        ],
    )
    def test_of_a_stage(self, options, message):
        with pytest.raises(tl.ArgumentError, match=message):
            tl.Stage(**({"objective": SOFT, "epochs": 1} | options))

    def test_a_trainable_without_parameters(self):
        with pytest.raises(tl.ModelError, match="must have parameters to train"):
            distill([tl.Stage(SOFT, 1, ["2"])])

    def test_a_later_stage_that_wants_a_teacher_where_there_is_none(self):
        stages = [tl.Stage(tl.HardLabels(), 1), tl.Stage(SOFT, 1)]
        ours = student()
        with pytest.raises(tl.ArgumentError, match="learns from a teacher, got none"):
            tl.distill(None, ours, stages=stages, train=DATA)
        first = student().state_dict()
        assert all(torch.equal(each, first[name]) for name, each in ours.state_dict().items())
