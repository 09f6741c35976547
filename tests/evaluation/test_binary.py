"""Metrics of binary labels, against scikit-learn's and torchmetrics'."""

import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    f1_score,
    hamming_loss,
)
from torchmetrics.classification import MultilabelAveragePrecision

import tutelage as tl
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.evaluation import (
    Outputs,
    binary_agreement,
    binary_metrics,
    by_label,
    divergence,
    measure,
)
from tutelage.signals import Signals
from tutelage.tasks import TASKS
from tutelage.tasks.binary import right_labels

LOGITS = arrays(np.float32, (12, 3), elements=st.floats(-20, 20, width=32))
ANSWERS = arrays(np.int64, (12, 3), elements=st.integers(0, 1))
MASKED = arrays(np.int64, (12, 3), elements=st.sampled_from([0, 1, 1, -100]))
QUIET = tl.Engine(progress=False)


def both(logits, labels):
    return torch.from_numpy(logits), torch.from_numpy(labels)


@given(LOGITS, ANSWERS)
def test_metrics_of_several_labels_equal_scikit_learns(logits, labels):
    assume((labels.sum(axis=0) > 0).all())
    predicted = logits > 0
    assert binary_metrics(*both(logits, labels)) == pytest.approx({
        "label_accuracy": 1 - hamming_loss(labels, predicted),
        "f1_micro": f1_score(labels, predicted, average="micro", zero_division=0),
        "f1_macro": f1_score(labels, predicted, average="macro", zero_division=0),
        "average_precision": average_precision_score(labels, logits, average="macro"),
    })  # fmt: skip


@given(LOGITS, ANSWERS)
def test_metrics_of_a_single_label_equal_scikit_learns(logits, labels):
    logits, labels = logits[:, :1], labels[:, 0]
    assume(labels.sum() > 0)
    expected = {
        "accuracy": accuracy_score(labels, logits[:, 0] > 0),
        "f1": f1_score(labels, logits[:, 0] > 0, zero_division=0),
        "average_precision": average_precision_score(labels, logits[:, 0]),
    }
    assert binary_metrics(*both(logits, labels)) == pytest.approx(expected)
    assert binary_metrics(*both(logits, labels[:, None])) == pytest.approx(expected)


@given(LOGITS, MASKED)
def test_missing_labels_are_left_out_entry_by_entry(logits, labels):
    assume((labels == 1).any())
    known = labels != -100
    predicted, found = logits > 0, binary_metrics(*both(logits, labels))
    assert found["label_accuracy"] == pytest.approx((predicted == labels)[known].mean())
    assert found["f1_micro"] == pytest.approx(f1_score(labels[known], predicted[known]))
    columns = [each for each in range(3) if (labels[:, each] == 1).any()]
    rows = {each: known[:, each] for each in columns}
    f1 = [f1_score(labels[rows[c], c], predicted[rows[c], c], zero_division=0) for c in columns]
    ap = [average_precision_score(labels[rows[c], c], logits[rows[c], c]) for c in columns]
    assert found["f1_macro"] == pytest.approx(np.mean(f1))
    assert found["average_precision"] == pytest.approx(np.mean(ap))
    floats = np.where(known, labels, np.nan)
    assert binary_metrics(*both(logits, floats)) == pytest.approx(found)
    assert by_label(*both(logits, labels)) == pytest.approx(dict(zip(columns, ap, strict=True)))


def test_average_precision_equals_torchmetrics():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 5, generator=generator)
    labels = (torch.rand(200, 5, generator=generator) < 0.3).long()
    theirs = MultilabelAveragePrecision(num_labels=5)(logits, labels).item()
    assert binary_metrics(logits, labels)["average_precision"] == pytest.approx(theirs, abs=1e-6)


def test_a_label_that_is_never_true_is_left_out_of_the_means_but_its_errors_count_in_micro():
    logits = torch.tensor([[1.0, 1.0], [-1.0, 1.0]])
    labels = torch.tensor([[1, 0], [0, 0]])
    assert binary_metrics(logits, labels) == {
        "label_accuracy": 0.5,
        "f1_micro": 0.5,  # one true positive, two false ones
        "f1_macro": 1.0,
        "average_precision": 1.0,
    }


def test_without_a_true_label_only_accuracy_is_defined():
    assert binary_metrics(torch.zeros(2, 1), torch.zeros(2)) == {"accuracy": 1.0}
    assert binary_metrics(torch.ones(2, 2), torch.zeros(2, 2)) == {"label_accuracy": 0.0}


def test_a_soft_label_counts_as_true_above_one_half():
    logits, soft = torch.tensor([[1.0], [1.0], [-1.0]]), torch.tensor([0.6, 0.5, 0.2])
    assert binary_metrics(logits, soft) == binary_metrics(logits, torch.tensor([1, 0, 0]))


@pytest.mark.parametrize("columns", [1, 2])
def test_a_logit_of_nan_makes_all_metrics_nan_unless_its_label_is_missing(columns):
    logits = torch.ones(3, columns)
    logits[0, 0] = torch.nan
    labels = torch.ones(3, columns)
    assert all(map(math.isnan, binary_metrics(logits, labels).values()))
    labels[0, 0] = torch.nan
    assert set(binary_metrics(logits, labels).values()) == {1.0}


def test_infinite_logits_are_the_most_certain_ones():
    logits = torch.tensor([[torch.inf], [3.0], [-torch.inf]])
    found = binary_metrics(logits, torch.tensor([0, 1, 0]))
    assert found["average_precision"] == 0.5


def test_wrong_labels_are_refused():
    with pytest.raises(DataError, match=r"0 or 1 .*got \[2\]"):
        binary_metrics(torch.zeros(2, 1), torch.tensor([0, 2]))
    with pytest.raises(DataError, match=r"of shape \[2, 3\].*use HardLabels"):
        binary_metrics(torch.zeros(2, 3), torch.tensor([0, 2]))
    with pytest.raises(ModelError, match=r"must be \[batch, labels\]"):
        binary_metrics(torch.zeros(2), torch.tensor([0, 1]))


@given(LOGITS, LOGITS)
def test_agreement_is_accuracy_with_respect_to_the_teachers_predictions(student, teacher):
    ours = binary_agreement(*both(student, teacher))
    assert ours == pytest.approx(1 - hamming_loss(teacher > 0, student > 0))
    nan = torch.full((12, 3), torch.nan)
    assert math.isnan(binary_agreement(torch.from_numpy(student), nan))


@given(LOGITS, ANSWERS)
def test_the_mean_of_right_labels_is_the_accuracy(logits, labels):
    right, known = right_labels(*both(logits, labels))
    expected = binary_metrics(*both(logits, labels))["label_accuracy"]
    assert known.all()
    assert right.mean().item() == pytest.approx(expected)


def measured(objective, output, labels):
    return measure(objective, Outputs(output, labels=labels))


class TestWhatObjectivesSay:
    ONE, SEVERAL = torch.tensor([[2.0], [-1.0]]), torch.tensor([[2.0, -1.0], [-1.0, 1.0]])
    ANSWER, ANSWERS = torch.tensor([1, 1]), torch.tensor([[1, 1], [0, 1]])

    @pytest.mark.parametrize(
        "objective",
        [tl.BinaryLabels(), tl.BinaryTargets(), tl.FeatureMatch({"0": "0"}),
         tl.LogitRegression(center=False)],
        ids=repr,
    )  # fmt: skip
    def test_labels_for_each_output_are_binary(self, objective):
        """An objective that does not depend on what the output holds leaves it to the labels."""
        found = measured(objective, self.SEVERAL, self.ANSWERS)
        assert found == binary_metrics(self.SEVERAL, self.ANSWERS)
        assert found["label_accuracy"] == 0.75
        assert measured(objective, self.ONE, self.ANSWER)["accuracy"] == 0.5

    @pytest.mark.parametrize("objective", [tl.SoftTargets(), tl.LogitRegression()], ids=repr)
    def test_class_logits_with_binary_labels_are_refused(self, objective):
        for output, labels in ((self.ONE, self.ANSWER), (self.SEVERAL, self.ANSWERS)):
            with pytest.raises(DataError, match=r"must be class ids.*use BinaryLabels"):
                measured(objective, output, labels)

    def test_floats_are_refused_where_they_cannot_be_classes(self):
        """One-hot rows may be classes; rows with several ones, or none, cannot."""
        one_hot = torch.eye(2)
        assert measured(tl.SoftTargets(), self.SEVERAL, one_hot) == {}
        for row in ([1.0, 1.0], [0.0, 0.0]):
            labels = torch.stack([torch.tensor(row), one_hot[1]])
            with pytest.raises(DataError, match=r"must be class ids.*use BinaryLabels"):
                measured(tl.SoftTargets(), self.SEVERAL, labels)
            assert measured(tl.FeatureMatch({"0": "0"}), self.SEVERAL, labels) == {}

    def test_binary_logits_with_class_ids_are_refused(self):
        with pytest.raises(DataError, match=r"one for each logit.*HardLabels"):
            measured(tl.BinaryTargets(), self.SEVERAL, torch.tensor([0, 1]))

    def test_float_labels_are_never_taken_for_binary_ones_in_silence(self):
        floats = self.ANSWERS.float()
        assert measured(tl.FeatureMatch({"0": "0"}), self.SEVERAL, floats) == {}
        assert "mse" in measured(tl.OutputRegression(), self.SEVERAL, floats)

    def test_a_single_logit_that_is_no_class_has_no_agreement(self):
        """The largest of one logit is always the same."""
        outputs = Outputs(self.ONE, -self.ONE)
        assert measure(tl.FeatureMatch({"0": "0"}), outputs) == {}
        assert divergence(tl.FeatureMatch({"0": "0"}), outputs) == {}
        assert measure(tl.BinaryTargets(), outputs) == {"agreement": 0.0}

    def test_the_divergence_is_the_mean_over_labels(self):
        outputs = Outputs(self.SEVERAL, self.SEVERAL + 1)
        objective = tl.BinaryTargets(1.0)
        loss = objective(Signals(outputs.student), Signals(outputs.teacher), tl.Batch(self.SEVERAL))
        found = divergence(tl.BinaryTargets(4.0), outputs)
        assert found == {"kl": pytest.approx(loss.mean().item(), rel=1e-5)}

    def test_a_metric_of_ones_own_may_be_named_f1_unless_labels_are_binary(self):
        own = {"f1": lambda *_: 0.0}
        TASKS["classes"].check_names(own)
        with pytest.raises(ArgumentError, match=r"named as the standard metrics.*'f1'"):
            TASKS["binary"].check_names(own)
        data = torch.utils.data.TensorDataset(self.ONE, self.ANSWER)
        with pytest.raises(ArgumentError, match="named as the standard metrics"):
            tl.fit(
                torch.nn.Linear(1, 1), train=data, val=data, epochs=1, metrics=own,
                objective=tl.BinaryLabels(), engine=QUIET,
            )  # fmt: skip


@pytest.mark.parametrize(
    "measured",
    [
        tl.evaluation.accuracy,
        lambda logits, _: tl.evaluation.agreement(logits, logits),
        tl.evaluation.calibration,
        tl.evaluation.by_class,
    ],
    ids=["accuracy", "agreement", "calibration", "by_class"],
)
def test_metrics_of_classes_refuse_a_single_logit(measured):
    """The largest of one logit is always the first."""
    with pytest.raises(DataError, match=r"at least two classes, got float32 \[3, 1\]; .*binary_m"):
        measured(torch.zeros(3, 1), torch.zeros(3, dtype=torch.int64))
