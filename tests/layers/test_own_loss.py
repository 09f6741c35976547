"""Students that return no loss in eval mode run a second time for it."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.layers.student import observe_student, returned_loss

LOSS = tl.Fields(loss=returned_loss)
BATCH = tl.Batch(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.ones(8))


class Detector(nn.Module):
    """Returns a loss in training only, as its part `head` does."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = Head()
        self.modes = []

    def forward(self, x, targets=None):
        parts = self.modules()
        self.modes.append({type(each).__name__ for each in parts if each.training})
        return self.head(self.body(x), targets)


class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 1)

    def forward(self, hidden, targets):
        out = self.out(hidden).squeeze(1)
        if self.training:
            return {"error": (out - targets).square().mean()}
        return [{"value": each} for each in out]


def observed(model, fields=LOSS):
    return observe_student(model, BATCH, fields, "student")


def test_modules_with_parts_are_in_training_mode_and_the_rest_is_not():
    model = Detector().eval()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    losses = observed(model).losses
    assert model.modes == [set(), {"Detector", "Sequential", "Head"}]
    assert not any(part.training for part in model.modules())
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name]), name
    # Batch norm uses its statistics and dropout is off: the loss is that of the predictions.
    values = torch.stack([each["value"] for each in model(BATCH.inputs)])
    torch.testing.assert_close(losses["loss"], (values - 1).square().mean().expand(8))


def test_in_training_mode_it_runs_once():
    model = Detector()
    assert set(observed(model).losses) == {"error", "loss"}
    assert len(model.modes) == 1


def test_modes_are_restored_after_an_error():
    model = Detector().eval()
    with pytest.raises(tl.ModelError, match="refused its inputs"):
        observe_student(model, tl.Batch(BATCH.inputs, torch.ones(3)), LOSS, "student")
    assert not any(part.training for part in model.modules())


def test_parts_that_are_frozen_stay_in_eval_mode():
    model = Detector().eval()
    model.body.requires_grad_(False)
    observed(model)
    assert model.modes[1] == {"Detector", "Head"}


def test_predictions_and_layers_are_those_of_eval_mode():
    model = Detector().eval()
    signals = observed(model, tl.Fields(True, frozenset({"body"}), returned_loss))
    torch.testing.assert_close(signals.features["body"], model.body(BATCH.inputs))
    values = torch.stack([each["value"] for each in signals.predictions])
    torch.testing.assert_close(values, torch.stack([x["value"] for x in model(BATCH.inputs)]))
    with pytest.raises(tl.ModelError, match=r"must return a tensor.*use tl.OwnLoss"):
        _ = signals.logits


def test_boxes_made_by_an_output_function():
    """A model that returns loss and logits can have its predictions chosen."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 1)

        def forward(self, x, labels=None):
            logits = self.layer(x)
            loss = None if labels is None else (logits.squeeze(1) - labels).square().mean()
            return {"logits": logits, "loss": loss}

    def boxes(result):
        return [{"box": each} for each in result["logits"]]

    model = tl.layers.Output(Both(), boxes).eval()
    signals = observed(model, tl.Fields(output=True, loss=returned_loss))
    assert len(signals.predictions) == 8
    assert signals.losses["loss"].shape == (8,)


def test_without_a_loss_it_is_as_any_other_model():
    model = nn.Linear(3, 2)
    signals = observed(model, tl.Fields(output=True))
    torch.testing.assert_close(signals.output, model(BATCH.inputs))
    assert not signals.losses
