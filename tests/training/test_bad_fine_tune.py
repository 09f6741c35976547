"""Arguments of fine_tune that are refused."""

import pytest
import torch
from torch import nn

from fine_tuned import net, tuned
from tutelage.errors import ArgumentError, ModelError
from tutelage.training.parts import parameters_at


class TestBadInput:
    @pytest.mark.parametrize("settings", [{"frozen": ["embd"]}, {"lr_factors": {"embd": 0.5}}])
    def test_a_path_that_names_nothing(self, settings):
        with pytest.raises(ArgumentError, match="no layer 'embd'; nearest are 'embed'"):
            tuned(**settings)

    @pytest.mark.parametrize(
        "settings",
        [
            {"lr_factors": {"body": 0.5, "body.1": 0.1}},
            {"lr_factors": {"body.1": 0.1, "body": 0.5}},
            {"lr_factors": {"embed": 0.1, "embed.weight": 0.5}},
            {"lr_factors": {"embed.weight": 0.5}, "frozen": ["embed"]},
        ],
        ids=str,
    )
    def test_paths_that_overlap(self, settings):
        with pytest.raises(ArgumentError, match="must have one factor or be frozen"):
            tuned(**settings)

    @pytest.mark.parametrize("factor", [0, -1, float("nan"), "0.1", None])
    def test_factors_out_of_range(self, factor):
        with pytest.raises(ArgumentError, match=r"lr_factors\['embed'\]"):
            tuned(lr_factors={"embed": factor})

    def test_rates_that_are_no_dict(self):
        with pytest.raises(ArgumentError, match=r"`lr_factors` must be a dict by name, got \['em"):
            tuned(lr_factors=["embed"])

    @pytest.mark.parametrize("decay", [0, -0.5, 1.5, "0.8"])
    def test_decays_out_of_range(self, decay):
        with pytest.raises(ArgumentError, match="layer_decay"):
            tuned(layer_decay=decay)

    def test_a_decay_without_blocks(self):
        with pytest.raises(ArgumentError, match=r"repeated blocks.*give `lr_factors` by path"):
            tuned(nn.Linear(6, 3), layer_decay=0.8)

    def test_parts_without_parameters(self):
        for settings in ({"frozen": ["body.0.2"]}, {"lr_factors": {"body.0.2": 0.5}}):
            with pytest.raises(ArgumentError, match="without any; leave it out"):
                tuned(**settings)
        assert len(parameters_at(net(), "shift")) == 1

    def test_everything_frozen(self):
        with pytest.raises(ModelError, match="must have parameters to train"):
            tuned(frozen=[""])

    @pytest.mark.parametrize(
        "make",
        [
            lambda groups: torch.optim.SGD([p for g in groups for p in g["params"]], lr=0.1),
        ],
        ids=["makes its own"],
    )
    def test_an_optimizer_without_groups(self, make):
        with pytest.raises(ArgumentError, match="must keep the groups of parameters"):
            tuned(optimizer=make, lr_factors={"embed": 0.1})

    @pytest.mark.parametrize("make", [3, lambda _: 3])
    def test_an_optimizer_that_is_none(self, make):
        with pytest.raises(ArgumentError, match="from parameters to an optimizer"):
            tuned(optimizer=make, lr_factors={"embed": 0.1})
