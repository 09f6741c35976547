"""Binary labels from end to end: several labels of an example, or a single logit."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError, DataError, ModelError

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(240, 6, generator=GENERATOR)
LABELS = (X[:, :3] + 0.3 * torch.randn(240, 3, generator=GENERATOR) > 0).long()
DATA = TensorDataset(X, LABELS)
ONE = TensorDataset(X, LABELS[:, 0])
QUIET = tl.Engine(progress=False)
FAST = {"engine": QUIET, "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.02)}


def network(outputs=3, width=8):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, outputs))


@pytest.fixture(scope="module")
def teacher():
    return tl.fit(
        network(width=32), train=DATA, objective=tl.BinaryLabels(), epochs=20, **FAST
    ).student


def test_several_labels_are_trained_and_judged(teacher):
    objective = 0.5 * tl.BinaryLabels() + 0.5 * tl.BinaryTargets()
    run = tl.distill(
        teacher, network(), train=DATA, val=DATA, objective=objective, epochs=15, **FAST
    )
    last = run.history[-1]
    assert {each for each in last if each.startswith("val/")} == {
        f"val/{each}"
        for each in ("loss", "label_accuracy", "f1_micro", "f1_macro", "average_precision",
                     "agreement")
    }  # fmt: skip
    assert min(last["val/f1_micro"], last["val/average_precision"], last["val/agreement"]) > 0.85
    kept = max(run.history, key=lambda each: each["val/average_precision"])["epoch"]
    assert run.best_epoch == kept


def test_a_single_logit_is_trained_and_judged():
    model = network(1)
    run = tl.fit(model, train=ONE, val=ONE, objective=tl.BinaryLabels(), epochs=10, **FAST)
    assert run.history[-1]["val/accuracy"] > 0.85
    assert {"val/f1", "val/average_precision"} < run.history[-1].keys()
    two = tl.fit(network(2), train=ONE, val=ONE, epochs=10, **FAST)
    assert two.history[-1]["val/accuracy"] == pytest.approx(
        run.history[-1]["val/accuracy"], abs=0.05
    )


def test_a_student_learns_from_the_teacher_alone(teacher):
    run = tl.distill(
        teacher, network(), train=TensorDataset(X), val=TensorDataset(X),
        objective=tl.BinaryTargets(), epochs=15, **FAST,
    )  # fmt: skip
    assert run.history[-1]["val/agreement"] > 0.9
    assert set(run.history[-1]) >= {"val/loss", "val/agreement"}
    assert "val/label_accuracy" not in run.history[-1]


@pytest.mark.parametrize("kind", ["integers", "floats"])
def test_labels_may_be_missing_one_by_one(kind):
    """A student of a third of the labels learns all of them; of the others nothing is learned."""
    hidden = torch.rand(240, 3, generator=torch.Generator().manual_seed(2)) < 0.67
    hidden[:, 2] = True
    labels = LABELS.masked_fill(hidden, -100)
    if kind == "floats":
        labels = LABELS.float().masked_fill(hidden, math.nan)
    model = network()
    before = model[2].weight[2].clone()
    run = tl.fit(
        model, train=TensorDataset(X, labels), val=DATA, objective=tl.BinaryLabels(),
        epochs=15, engine=QUIET, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
    )  # fmt: skip
    assert torch.equal(model[2].weight[2], before)
    right = (run.student(X) > 0) == LABELS.bool()
    assert right[:, :2].float().mean() > 0.85


def test_labelled_and_unlabelled_examples_mix(teacher):
    labelled = TensorDataset(X[:40], LABELS[:40].float())
    both = ConcatDataset([labelled, tl.data.unlabelled(X[40:], values=(3,))])
    run = tl.distill(
        teacher, network(), train=both, val=DATA,
        objective=0.2 * tl.BinaryLabels() + tl.BinaryTargets(), epochs=10, **FAST,
    )  # fmt: skip
    assert run.history[-1]["val/label_accuracy"] > 0.85


def test_data_without_a_single_label_are_refused():
    with pytest.raises(DataError, match=r"no example of the whole epoch has one.*label some"):
        tl.fit(
            network(), train=TensorDataset(X, torch.full((240, 3), -100)),
            objective=tl.BinaryLabels(), epochs=1, engine=QUIET,
        )  # fmt: skip


def test_floats_are_mixed_and_integers_are_refused_in_mixup():
    settings = {"epochs": 8, "transform": tl.data.Mixup(), "objective": tl.BinaryLabels(), **FAST}
    run = tl.fit(network(), train=TensorDataset(X, LABELS.float()), val=DATA, **settings)
    assert run.history[-1]["val/label_accuracy"] > 0.8
    with pytest.raises(DataError, match=r"to be mixed, got int64.*binary labels as floats"):
        tl.fit(network(), train=DATA, **settings)
    single = tl.fit(network(1), train=ONE, val=ONE, **settings)
    assert single.history[-1]["val/accuracy"] > 0.8


def test_layers_first_then_the_labels(teacher):
    stages = [
        tl.Stage(tl.FeatureMatch({"1": "1"}), epochs=2),
        tl.Stage(tl.BinaryTargets(), epochs=10),
    ]
    run = tl.distill(teacher, network(), train=DATA, val=DATA, stages=stages, **FAST)
    assert run.history[-1]["val/label_accuracy"] > 0.85


def test_a_single_logit_may_learn_layers_first():
    wide = tl.fit(network(1, 32), train=ONE, objective=tl.BinaryLabels(), epochs=10, **FAST).student
    stages = [
        tl.Stage(tl.FeatureMatch({"1": "1"}) + tl.LogitRegression(center=False), epochs=2),
        tl.Stage(tl.BinaryTargets(), epochs=8),
    ]
    run = tl.distill(wide, network(1), train=ONE, val=ONE, stages=stages, **FAST)
    assert run.history[0]["val/accuracy"] > 0.5
    assert run.history[-1]["val/accuracy"] > 0.85


class TestStores:
    def test_a_store_teaches_as_its_teacher_does(self, teacher, tmp_path):
        store = tl.label(teacher, DATA, out=tmp_path / "targets", dtype="float32")
        settings = {"train": DATA, "objective": tl.BinaryTargets(), "epochs": 3, **FAST}
        live, stored = (tl.distill(each, network(), **settings) for each in (teacher, store))
        for one, other in zip(live.student.parameters(), stored.student.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kept", [{"top_k": 2}, {"sampled_classes": 2}])
    def test_some_of_the_labels_are_refused_at_once(self, teacher, kept, tmp_path):
        with pytest.raises(ArgumentError, match=r"needs the logit of every label; leave them out"):
            tl.label(teacher, DATA, out=tmp_path / "targets", fields=tl.BinaryTargets(), **kept)
        assert not (tmp_path / "targets").exists()

    def test_a_store_of_some_classes_is_refused(self, teacher, tmp_path):
        store = tl.label(teacher, DATA, out=tmp_path / "targets", top_k=2)
        with pytest.raises(ModelError, match=r"all labels, got CoarseLogits.*without `top_k`"):
            tl.distill(
                store, network(), train=DATA, objective=tl.BinaryTargets(), epochs=1, engine=QUIET
            )


class TestWhatDoesNotFit:
    def test_labels_that_do_not_fit_the_usual_objective_name_the_other(self):
        with pytest.raises(DataError, match=r"class ids of shape \[64\].*use BinaryLabels"):
            tl.fit(network(), train=DATA, epochs=1, engine=QUIET)
        floats = TensorDataset(X, LABELS.float())
        with pytest.raises(DataError, match=r"BinaryLabels, and for values.*LabelRegression"):
            tl.fit(network(), train=floats, epochs=1, engine=QUIET)
        with pytest.raises(ModelError, match=r"at least two classes, got 1; .*BinaryLabels"):
            tl.fit(network(1), train=ONE, epochs=1, engine=QUIET)

    @pytest.mark.parametrize("objective", [tl.SoftTargets(), tl.LogitRegression()], ids=repr)
    def test_a_softmax_of_one_logit_is_refused(self, objective):
        with pytest.raises(ModelError, match="at least two classes, got 1"):
            tl.distill(
                network(1), network(1), train=ONE, objective=objective, epochs=1, engine=QUIET
            )

    def test_a_softmax_over_binary_labels_is_refused_where_labels_tell(self, teacher):
        with pytest.raises(DataError, match=r"must be class ids.*use BinaryLabels"):
            tl.distill(
                teacher, network(), train=DATA, val=DATA, objective=tl.SoftTargets(), epochs=1,
                engine=QUIET,
            )  # fmt: skip

    def test_class_ids_are_refused(self):
        classes = TensorDataset(X, LABELS.sum(dim=1))
        with pytest.raises(DataError, match=r"0 or 1 .*got \[2, 3\].*HardLabels"):
            tl.fit(network(1), train=classes, objective=tl.BinaryLabels(), epochs=1, engine=QUIET)
