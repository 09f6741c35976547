"""A loss term that does not train the student is refused at the first training batch."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import tutelage as tl
from tutelage.errors import ModelError

# Of the dry run that makes projectors, which runs without gradients.
pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
X = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
Y = torch.arange(8) % 3


class Checkpointed(nn.Module):
    """Three layers, the second of which is recomputed in the backward pass."""

    def __init__(self, reentrant, width=6):
        super().__init__()
        self.stem, self.body = nn.Linear(4, 6), nn.Sequential(nn.Linear(6, width), nn.ReLU())
        self.head, self.reentrant = nn.Linear(width, 3), reentrant

    def forward(self, x):
        x = self.stem(x)
        if self.reentrant is None:
            return self.head(self.body(x))
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant))


def distiller(student, objective):
    made = tl.Distiller(student, Checkpointed(None, width=7), objective)
    made.build(tl.Batch(X, Y))
    return made


@pytest.mark.parametrize("layer", ["body", "body.0", "body.1", "body.1:input"])
def test_a_feature_within_a_reentrant_checkpoint_is_refused(layer):
    student = Checkpointed(reentrant=True)
    whole = tl.HardLabels() + tl.FeatureMatch({layer: "body"})
    with pytest.raises(ModelError, match=r"must train the student|use_reentrant=False"):
        distiller(student, whole)(tl.Batch(X, Y))


def test_a_cut_off_layer_is_refused_beside_others_of_its_term():
    student = Checkpointed(reentrant=True)
    objective = tl.FeatureMatch({"body": "body", "stem": "stem"})
    with pytest.raises(ModelError, match=r"layer 'body' .*use_reentrant=False"):
        distiller(student, objective)(tl.Batch(X))


@pytest.mark.parametrize(("layer", "reentrant"), [("body", False), ("stem", True), ("head", True)])
def test_features_outside_of_it_and_in_other_checkpoints_train_the_student(layer, reentrant):
    student = Checkpointed(reentrant)
    distiller(student, tl.FeatureMatch({layer: layer}))(tl.Batch(X)).total.backward()
    assert student.stem.weight.grad.abs().sum() > 0


def test_a_term_on_frozen_layers_is_refused_although_others_train():
    student = Checkpointed(None)
    student.stem.requires_grad_(False)
    objective = tl.HardLabels() + tl.FeatureMatch({"stem": "body"})
    with pytest.raises(ModelError, match=r"term '\w+', which reads 'stem'.*unfreeze"):
        distiller(student, objective)(tl.Batch(X, Y))


def test_a_term_with_one_layer_after_the_frozen_ones_is_accepted():
    student = Checkpointed(None)
    student.stem.requires_grad_(False)
    objective = tl.FeatureMatch({"stem": "stem", "body": "body"})
    distiller(student, objective)(tl.Batch(X)).total.backward()
    assert student.body[0].weight.grad is not None


def test_a_stage_that_trains_only_later_blocks_than_its_objective_reads_is_refused():
    stage = tl.Stage(tl.FeatureMatch({"stem": "stem"}), epochs=1, trainable=["head"])
    data = torch.utils.data.TensorDataset(X, Y)
    with pytest.raises(ModelError, match=r"term '\w+', which reads 'stem'.*`trainable`"):
        tl.distill(Checkpointed(None), Checkpointed(None), train=data, stages=[stage])


def test_an_output_without_a_gradient_is_refused():
    student = Checkpointed(None)
    student.head.register_forward_hook(lambda *args: args[-1].detach())
    with pytest.raises(ModelError, match=r"term '\w+', which reads the output"):
        distiller(student, tl.SoftTargets(2))(tl.Batch(X))


def test_passes_without_gradients_are_not_checked():
    student = Checkpointed(None).requires_grad_(False)
    made = distiller(student, tl.SoftTargets(2))
    made.eval()
    assert not made(tl.Batch(X)).total.requires_grad
    made.train()
    with torch.no_grad():
        assert not made(tl.Batch(X)).total.requires_grad


def test_only_the_first_training_batch_is_checked(monkeypatch):
    made = distiller(Checkpointed(None), tl.SoftTargets(2))
    made(tl.Batch(X))
    monkeypatch.setattr("tutelage.distiller.check_gradients", None)
    made(tl.Batch(X))
