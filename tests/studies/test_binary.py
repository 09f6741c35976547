"""Studies of binary labels: what they are judged by, their controls, and their reports."""

import re
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError
from tutelage.results.record import read_record
from tutelage.studies.arm import readings
from tutelage.studies.eval_data import read_eval_data
from tutelage.tasks import TASKS, Outputs, infer_task

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(500, 6, generator=GENERATOR)
LABELS = (X[:, :3] + 0.5 * torch.randn(500, 3, generator=GENERATOR) > 0.5).long()
QUIET = tl.Engine(device="cpu", progress=False)
FAST = tl.Training(engine=QUIET, optimizer=partial(torch.optim.Adam, lr=0.02))
CLASSES = TensorDataset(X, LABELS.sum(dim=1))


def part(labels, first, last):
    return TensorDataset(X[first:last], labels[first:last])


def network(outputs=3, width=3):
    return nn.Sequential(nn.Linear(6, width), nn.Tanh(), nn.Linear(width, outputs))


def study(labels=LABELS, outputs=3, **changes):
    torch.manual_seed(0)
    teacher = network(outputs, 24)
    train = part(labels, 0, 200)
    tl.fit(teacher, train=train, objective=tl.BinaryLabels(), epochs=10, engine=QUIET)
    options = {
        "train": train,
        "val": part(labels, 200, 300),
        "test": part(labels, 300, 500),
        "arms": {"both": 0.5 * tl.BinaryLabels() + 0.5 * tl.BinaryTargets()},
        "seeds": 2,
        "epochs": 3,
        "training": FAST,
        "progress": False,
    }
    return tl.study(teacher, lambda: network(outputs), **(options | changes))


def fitted(trial):
    settings = {**trial.settings, "train": trial.train, "val": trial.val, "out": trial.out}
    return tl.fit(trial.student, objective=tl.BinaryLabels(), **settings)


@pytest.fixture(scope="module")
def several():
    return study(report=tl.ReportOptions(class_names=("red", "green", "blue")))


@pytest.fixture(scope="module")
def single():
    return study(LABELS[:, 0], 1, sweep={"learning_rate": [1e-3, 1e-2]}, margin=0.05)


def test_several_labels_are_judged_by_average_precision(several):
    record = several.results
    assert (record.metric.name, record.metric.higher, record.task) == (
        "average_precision", True, "binary",
    )  # fmt: skip
    assert {each.name for each in record.controls} == {"labels", "smoothed labels"}
    assert record.arm("labels").settings["objective"] == "BinaryLabels()"
    assert record.arm("smoothed labels").settings["objective"] == "BinaryLabels(smoothing=0.1)"
    names = {"label_accuracy", "f1_micro", "f1_macro", "average_precision", "agreement", "kl"}
    assert record.arm("both").metrics.keys() == names
    assert record.teacher.metrics.keys() == names - {"agreement", "kl"}
    assert all(trial.calibration.temperature > 0 for trial in record.arm("both").trials)
    assert record.arm("both").by_class.keys() == {0, 1, 2}
    assert record.arm("both").trials[0].train.keys() == {"agreement", "kl"}


def test_average_precision_has_an_interval_over_seeds_and_examples(several):
    """By the jackknife over folds, since it is no mean over examples."""
    found = several.results.comparisons[0]
    assert found.interval is not None
    assert found.over == "seeds and examples"
    assert found.interval.half_width > 0


def test_accuracies_have_intervals_over_their_examples(several, single):
    assert several.results.arm("both").intervals.keys() == {"label_accuracy", "agreement"}
    assert single.results.arm("both").intervals.keys() == {"accuracy", "agreement"}
    for each in (several, single):
        for name, interval in each.results.arm("both").intervals.items():
            mean = np.mean(each.results.arm("both").values(name))
            assert interval.mean == pytest.approx(mean)


def test_the_scores_are_those_of_the_outputs(several):
    """The deciding metric of the first student, computed anew."""
    student, test = several.student("both", 0), part(LABELS, 300, 500)
    output = tl.evaluation.predict(student, test)
    expected = tl.evaluation.binary_metrics(output, test.tensors[1])
    trial = several.results.arm("both").trials[0]
    assert {name: trial.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    calibrated = tl.evaluation.calibration(output, test.tensors[1], binary=True)
    assert trial.calibration.ece == pytest.approx(calibrated.ece, abs=1e-6)


def test_a_single_label_is_judged_by_accuracy_with_parts_by_class(single):
    record = single.results
    assert record.metric.name == "accuracy"
    assert record.comparisons[0].over == "seeds and examples"
    assert {(each.kind, each.name) for each in record.parts} == {("class", "0"), ("class", "1")}
    assert record.against_teacher[0].non_inferiority is not None
    assert record.arm("both").metrics.keys() > {"accuracy", "f1", "average_precision"}


def test_with_labels_missing_one_by_one_accuracy_is_no_mean_over_examples():
    hidden = torch.rand(LABELS.shape, generator=torch.Generator().manual_seed(3)) < 0.3
    found = study(LABELS.masked_fill(hidden, -100), monitor="label_accuracy")
    record = found.results
    assert "label_accuracy" not in record.arm("both").intervals
    assert record.comparisons[0].interval is not None


def test_reports_speak_of_labels(several, single, tmp_path):
    page = several.report(tmp_path / "several.html").read_text(encoding="utf-8")
    text = page.replace("\xa0", " ")
    assert "average precision" in several.verdict
    for words in (
        "Micro F1",
        "Label accuracy",
        "fraction of true labels",
        "Label by label",
        "fraction of labels that student and teacher predict alike",
        "Training data: up to 2,048 examples, spread evenly. Means over seeds.",
        "green",
    ):
        assert words in text, words
    assert "predicted class" not in text
    assert "wrong classes" not in text
    assert "recall" not in text.lower().replace("precision and recall", "")
    again = read_record(tmp_path / "several.json")
    assert again == several.results
    text = single.report(tmp_path / "single.html").read_text(encoding="utf-8")
    assert re.search(r"accuracy", single.verdict)
    assert "Class by class" in text


def note(labels):
    return TASKS["binary"].note_on_labels(Outputs(torch.zeros(len(labels), 3), None, labels))


def test_labels_that_are_never_true_are_named():
    labels = LABELS.clone()
    labels[:, 1] = 0
    assert note(labels) == (
        "Of 3 labels, these are never true in the test examples: 1. Average precision and macro F1 "
        "leave them out."
    )
    assert note(LABELS) == ""
    assert note(LABELS[:, :1] * 0) == ""


def kind_of(arms, controls, test):
    told, others = (readings(each.values()) for each in (arms, controls))
    return infer_task(told, others, test.labels, language=test.of_tokens).name


class TestWhatOutputsHold:
    FLOATS = TensorDataset(X, LABELS.float())

    @pytest.mark.parametrize(
        ("arms", "kind"),
        [
            ({"a": tl.BinaryTargets()}, "binary"),
            ({"a": tl.FeatureMatch({"0": "0"}) + tl.BinaryLabels()}, "binary"),
            ({"a": tl.LabelRegression()}, "values"),
            ({"a": tl.SoftTargets()}, "classes"),
        ],
    )
    def test_the_objectives_tell(self, arms, kind):
        arms = {name: tl.Arm(objective=each) for name, each in arms.items()}
        assert kind_of(arms, {}, read_eval_data("test", self.FLOATS)) == kind

    def test_swept_objectives_stages_and_what_a_function_reads_tell(self):
        known, run = read_eval_data("test", self.FLOATS), fitted
        stages = [tl.Stage(tl.FeatureMatch({"0": "0"}), 1), tl.Stage(tl.BinaryTargets(), 1)]
        for arm in (
            tl.Arm(sweep={"objective": [tl.BinaryTargets(1), tl.BinaryTargets(4)]}),
            tl.Arm(stages=stages),
            tl.Arm(sweep={"stages": [stages]}),
            tl.Arm(run=run, reads=tl.BinaryLabels()),
        ):
            assert kind_of({"arm": arm}, {}, known) == "binary"

    def test_controls_tell_where_arms_do_not(self):
        function = {"mine": tl.Arm(run=fitted)}
        controls = {"labels": tl.Arm(objective=tl.BinaryLabels())}
        assert kind_of(function, controls, read_eval_data("test", self.FLOATS)) == "binary"

    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (TensorDataset(X, LABELS), "binary"),
            (CLASSES, "classes"),
            (TensorDataset(X), "classes"),
            (TensorDataset(X, X), "values"),
            (TensorDataset(X, torch.arange(len(X))[:, None] % 5 + LABELS), "classes"),  # tags
        ],
    )
    def test_without_objectives_the_labels_tell(self, data, kind):
        assert kind_of({"mine": tl.Arm(run=fitted)}, {}, read_eval_data("test", data)) == kind

    def test_floats_of_zero_and_one_alone_do_not_tell(self):
        with pytest.raises(ArgumentError, match=r"only 0 and 1, which may be either; .*reads="):
            kind_of({"mine": tl.Arm(run=fitted)}, {}, read_eval_data("test", self.FLOATS))

    @pytest.mark.parametrize("other", [tl.SoftTargets(), tl.OutputRegression()], ids=repr)
    def test_arms_that_read_outputs_differently_are_refused(self, other):
        arms = {"a": tl.Arm(objective=tl.BinaryTargets()), "b": tl.Arm(objective=other)}
        with pytest.raises(ArgumentError, match=r"read the outputs alike.*but not in"):
            kind_of(arms, {}, read_eval_data("test", self.FLOATS))

    def test_a_function_is_read_as_it_says(self):
        found = study(
            LABELS.float(), arms={"mine": tl.Arm(run=fitted, reads=tl.BinaryLabels())}, epochs=5
        ).results
        assert found.metric.name == "average_precision"
        assert found.arm("mine").metrics["label_accuracy"] > 0.7

    @pytest.mark.parametrize("arm", [
        {"objective": tl.BinaryLabels(), "reads": tl.BinaryLabels()},
        {"reads": tl.BinaryLabels()},
        {"run": fitted, "reads": "binary"},
    ])  # fmt: skip
    def test_reads_is_an_objective_for_a_function(self, arm):
        with pytest.raises(ArgumentError, match="`reads` must be an objective, and is for an arm"):
            tl.Arm(**arm)

    def test_another_monitor_is_refused_with_those_that_there_are(self):
        with pytest.raises(ArgumentError, match=r"metric 'mse' must be one of .*'f1_macro'"):
            study(monitor="mse")
        with pytest.raises(ArgumentError, match=r"metric 'f1_micro' must be one of .*'f1'"):
            study(LABELS[:, 0], 1, monitor="f1_micro")
