import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, mean_squared_error, r2_score
from torchmetrics.classification import MulticlassAccuracy

from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import (
    Outputs,
    accuracy,
    agreement,
    binary_agreement,
    evaluate_metric,
    measure,
    mse,
    r2,
)
from tutelage.objectives import LabelRegression
from tutelage.tasks import TASKS

LOGITS = arrays(np.float32, (12, 4), elements=st.floats(-20, 20, width=32))
CLASSES = arrays(np.int64, 12, elements=st.integers(0, 3))
VALUES = arrays(np.float64, (12, 2), elements=st.floats(-100, 100))


@given(LOGITS, CLASSES)
def test_accuracy_equals_scikit_learns(logits, labels):
    expected = accuracy_score(labels, logits.argmax(axis=1))
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(labels)) == pytest.approx(expected)


@given(LOGITS, CLASSES)
def test_accuracy_leaves_unlabelled_examples_out(logits, labels):
    hidden = labels.copy()
    hidden[::3] = -100
    known = hidden != -100
    expected = accuracy_score(labels[known], logits[known].argmax(axis=1))
    assert accuracy(torch.from_numpy(logits), torch.from_numpy(hidden)) == pytest.approx(expected)


@given(LOGITS, LOGITS)
def test_agreement_is_accuracy_with_respect_to_the_teachers_predictions(student, teacher):
    expected = accuracy_score(teacher.argmax(axis=1), student.argmax(axis=1))
    ours = agreement(torch.from_numpy(student), torch.from_numpy(teacher))
    assert ours == pytest.approx(expected)


@given(VALUES, VALUES)
def test_mse_equals_scikit_learns(output, labels):
    ours = mse(torch.from_numpy(output), torch.from_numpy(labels))
    assert ours == pytest.approx(mean_squared_error(labels, output), abs=1e-9)


def spread(seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.normal(size=(12, 2)) * [1, 50] + [0, 1000]
    return labels + generator.normal(size=(12, 2)), labels


@pytest.mark.parametrize("seed", range(5))
def test_r2_equals_scikit_learns(seed):
    output, labels = spread(seed)
    ours = r2(torch.from_numpy(output), torch.from_numpy(labels))
    assert ours == pytest.approx(r2_score(labels, output))


def test_r2_leaves_unknown_values_out_of_each_output():
    output, labels = spread()
    hidden = labels.copy()
    hidden[:3, 0], hidden[5, 1] = np.nan, np.nan
    known = ~np.isnan(hidden)
    scores = [
        r2_score(labels[known[:, place], place], output[known[:, place], place]) for place in (0, 1)
    ]
    ours = r2(torch.from_numpy(output), torch.from_numpy(hidden))
    assert ours == pytest.approx(np.mean(scores))


def test_mse_leaves_unknown_values_out():
    output, labels = torch.tensor([[1.0], [5.0], [7.0]]), torch.tensor([3.0, torch.nan, 7.0])
    assert mse(output, labels) == 2.0


def test_labels_of_one_output_may_be_one_dimensional_and_are_not_broadcast():
    output, labels = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1.0, 2.0, 4.0])
    assert mse(output, labels) == 0.0
    assert r2(output, labels) == 1.0


def test_sums_are_computed_in_float64():
    # In float32 the mean of these labels, and so their spread, is far off.
    labels = 1e6 + torch.arange(1000.0) / 10
    output = labels[:, None] + 0.5
    expected = r2_score(labels.double().numpy(), output[:, 0].double().numpy())
    assert r2(output, labels) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", [mse, r2])
def test_a_predicted_nan_is_no_perfect_value(metric):
    labels = torch.tensor([0.0, 1.0, 2.0, torch.nan])
    output = torch.tensor([[0.0], [torch.nan], [2.0], [3.0]])
    assert math.isnan(metric(output, labels))
    output[1] = 1.0
    output[3] = torch.nan  # where nothing is known
    assert metric(output, labels) == {mse: 0.0, r2: 1.0}[metric]


@pytest.mark.parametrize("metric", [mse, r2])
@pytest.mark.parametrize("shape", [(2, 3), (6,), (3,), (3, 2, 2)])
def test_labels_of_another_shape_are_refused(metric, shape):
    with pytest.raises(DataError, match=r"a label for each output, \[3, 2\], got float32"):
        metric(torch.zeros(3, 2), torch.ones(shape))


def test_labels_that_do_not_vary_have_no_r2():
    for labels in (torch.ones(3), torch.tensor([5.0, torch.nan, torch.nan])):
        output = torch.tensor([[1.0], [1.0], [2.0]])
        assert math.isnan(r2(output, labels))
        assert measure(LabelRegression(), Outputs(output, labels=labels)).keys() == {"mse"}
        output[0] = torch.nan
        assert all(
            map(math.isnan, measure(LabelRegression(), Outputs(output, labels=labels)).values())
        )


def test_an_integer_without_a_value_is_left_out():
    assert mse(torch.tensor([[1.0], [5.0]]), torch.tensor([3, -100])) == 4.0


@pytest.mark.parametrize(
    "labels", [torch.eye(3).long(), torch.zeros(3, 1).long(), torch.zeros(1).long(), torch.zeros(3)]
)
def test_class_ids_of_another_shape_are_refused(labels):
    with pytest.raises(DataError, match=r"must be class ids \[3\], got"):
        accuracy(torch.eye(3), labels)


@pytest.mark.parametrize("metric", [agreement, binary_agreement])
@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (3, 4)])
def test_logits_of_other_examples_do_not_agree(metric, shape):
    with pytest.raises(DataError, match=r"must be of one shape, got \[3, 2\] and"):
        metric(torch.zeros(3, 2), torch.zeros(shape))


class TestAnyMetric:
    OUTPUT = torch.tensor([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]])
    LABELS = torch.tensor([0, 1, 1])

    def value(self, metric):
        return evaluate_metric("mine", metric, self.OUTPUT, self.LABELS)

    def test_a_function_may_return_any_number(self):
        for number in (0.5, np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5])):
            value = self.value(lambda *_, number=number: number)
            assert type(value) is float
            assert value == 0.5

    def test_a_function_gets_outputs_and_labels(self):
        assert self.value(accuracy) == pytest.approx(2 / 3)

    def test_an_object_is_reset_before_it_is_used(self):
        metric = MulticlassAccuracy(2, average="micro")
        metric.update(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
        assert self.value(metric) == pytest.approx(2 / 3)
        assert self.value(metric) == pytest.approx(2 / 3)

    def test_nan_is_returned(self):
        assert math.isnan(self.value(lambda *_: math.nan))

    @pytest.mark.parametrize("result", [None, "much", torch.zeros(2), {"accuracy": 1.0}])
    def test_a_result_that_is_not_a_number_is_refused(self, result):
        with pytest.raises(ArgumentError, match=r"metric `mine` failed .*must return one number"):
            self.value(lambda *_: result)

    @pytest.mark.parametrize("metric", ["accuracy", None, 3])
    def test_an_invalid_metric_is_refused(self, metric):
        with pytest.raises(ArgumentError, match=r"metric `mine` failed .*not callable"):
            self.value(metric)


def test_outputs_of_nan_have_no_intervals_over_examples():
    """By argmax NaN would be a class: the metric is NaN, and so are its parts."""
    student, labels = torch.tensor([[torch.nan, 1.0], [2.0, 1.0]]), torch.tensor([1, 0])
    outputs = Outputs(student, torch.eye(2), labels)
    found = TASKS["classes"].metrics(outputs)
    assert found.keys() == {"accuracy", "agreement"}
    assert all(map(math.isnan, found.values()))
    assert all(TASKS["classes"].example_values(name, outputs) is None for name in found)
