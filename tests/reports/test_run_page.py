"""The report of a run: what it says for each kind of run."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from run_pages import CLASSES, INPUTS, LABELLED, UNLABELLED, VALUES, report, rows, verdict
from tutelage.reports.numbers import signed, significant
from tutelage.results.record import read_record

pytestmark = pytest.mark.usefixtures("charts_undrawn")


def test_a_distilled_classifier(tmp_path):
    teacher, student = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), nn.Linear(4, 2)
    tl.fit(teacher, train=LABELLED, epochs=5)
    objective = 0.5 * tl.HardLabels() + 0.5 * tl.SoftTargets(2)
    run = tl.distill(
        teacher, student, train=LABELLED, val=LABELLED, objective=objective, epochs=3, batch_size=10
    )
    html = report(tmp_path, run)
    ours = tl.evaluation.accuracy(tl.evaluation.predict(student, LABELLED), CLASSES)
    theirs = tl.evaluation.accuracy(tl.evaluation.predict(teacher, LABELLED), CLASSES)
    same = tl.evaluation.agreement(
        tl.evaluation.predict(student, LABELLED), tl.evaluation.predict(teacher, LABELLED)
    )
    assert f"has an accuracy of {100 * ours:.1f} %" in verdict(html)
    assert f"its teacher&#39;s {100 * theirs:.1f} %" in verdict(html)
    quality = rows(html, "Results")
    assert quality["student"]["Accuracy"] == f"{100 * ours:.2f}"
    assert quality["teacher"]["Accuracy"] == f"{100 * theirs:.2f}"
    fidelity = rows(html, "Fidelity to the teacher")["student"]
    assert fidelity["Agreement"] == significant(100 * same)
    cost = rows(html, "Cost")
    assert (cost["student"]["Parameters"], cost["teacher"]["Parameters"]) == ("10", "58")
    heads = re.findall(r"<figcaption>\s*<h3>([^<]*)", html) or re.findall(r"<h3[^>]*>([^<]*)", html)
    for head in ("Accuracy by confidence", "Loss", "Loss terms", "Quality on validation data"):
        assert head in heads
    assert len(html) < 2_000_000
    assert repr(objective) in html
    assert f"epoch {run.best_epoch}," in html


def test_confidence_is_measured_where_there_are_classes_and_labels(tmp_path):
    teacher, student = nn.Linear(4, 2), nn.Linear(4, 2)
    run = tl.distill(
        teacher, student, train=LABELLED, val=LABELLED, objective=tl.SoftTargets(2), epochs=1
    )
    html = report(tmp_path, run)
    said, taught = (tl.evaluation.predict(model, LABELLED) for model in (student, teacher))
    confidence = rows(html, "Calibration")
    for name, output in (("student", said), ("teacher", taught)):
        measured = tl.evaluation.calibration(output, CLASSES)
        assert list(confidence[name].values()) == [
            significant(100 * measured.ece),
            significant(measured.nll),
        ]
    kl = significant(tl.evaluation.mean_kl(said, taught))
    assert rows(html, "Fidelity to the teacher")["student"]["Mean KL"] == kl
    ours, theirs = (tl.evaluation.by_class(output, CLASSES) for output in (said, taught))
    changes = ", ".join(f"{k} {signed(100 * (ours[k] - theirs[k]))}" for k in ours)
    assert f"points of recall, student minus teacher. {changes}." in html


def test_without_labels_fidelity_is_left(tmp_path):
    run = tl.distill(
        nn.Linear(4, 2), nn.Linear(4, 2), train=UNLABELLED, val=UNLABELLED,
        objective=tl.SoftTargets(), epochs=1,
    )  # fmt: skip
    html = report(tmp_path, run)
    assert rows(html, "Fidelity to the teacher")["student"].keys() == {"Agreement", "Mean KL"}
    assert ">Calibration</h2>" not in html


def test_validation_data_may_come_as_batches_of_the_users(tmp_path):
    batches = DataLoader(LABELLED, batch_sampler=[range(30), range(30, 40)])
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=batches, epochs=1)
    assert "student" in rows(report(tmp_path, run), "Calibration")


def test_of_many_classes_none_is_drawn(tmp_path):
    data = DataLoader(TensorDataset(torch.randn(202, 4), torch.arange(202) % 101), 4)
    run = tl.distill(
        nn.Linear(4, 101),
        nn.Linear(4, 101),
        train=data,
        val=data,
        objective=tl.SoftTargets(),
        epochs=1,
    )
    html = report(tmp_path, run)
    assert "Accuracy by confidence" in html
    assert "Class by class" not in html


def test_outputs_that_rule_a_class_out_leave_the_rest_of_the_page(tmp_path):
    class Never(nn.Linear):
        def forward(self, inputs):
            logits = super().forward(inputs)
            return logits if self.training else logits.masked_fill(logits < 0, -torch.inf)

    run = tl.fit(Never(4, 2), train=LABELLED, epochs=1)
    html = report(tmp_path, replace(run, val=LABELLED))
    assert "accuracy" in html.lower()
    assert ">Calibration</h2>" not in html


def test_values_show_where_they_are_missed(tmp_path):
    values = TensorDataset(INPUTS, torch.cat([VALUES, -VALUES], dim=1))
    run = tl.distill(
        None, nn.Linear(4, 2), train=values, val=values, objective=tl.LabelRegression(), epochs=1
    )
    html = report(tmp_path, run)
    assert "Residuals" in html
    assert html.count("of 40 examples whose true") == 2
    assert "Output 2" in html
    assert ">Calibration</h2>" not in html


def test_markdown_and_json_hold_what_the_page_shows(tmp_path):
    run = tl.distill(
        nn.Linear(4, 2), nn.Linear(4, 2), train=LABELLED, val=LABELLED,
        objective=tl.SoftTargets(2), epochs=2,
    )  # fmt: skip
    html = report(tmp_path, run)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    quoted = " ".join(line[2:] for line in text.splitlines() if line.startswith(">"))
    assert verdict(html).replace("&#39;", "'") in " ".join(quoted.split())
    assert text.count("\n| **student** |") == 1
    record = read_record(tmp_path / "report.json")
    (student,) = record.arms
    assert student.settings == json.loads(json.dumps(run.settings, default=str))
    losses = [record["train/loss"] for record in run.history]
    assert list(student.trials[0].curves["train/loss"].values) == losses
    assert student.trials[0].best_epoch == run.best_epoch
    assert record.versions["tutelage"] == tl.__version__
    assert record.examples == {"val": 40}
    assert student.metrics.keys() == {"accuracy", "agreement", "kl"}
    assert record.models["teacher"].cost.parameters == 10


def test_a_wrong_ending_is_refused_before_anything_is_measured(tmp_path):
    run = replace(tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=1), val="no data set")
    with pytest.raises(tl.ArgumentError, match=r"must end in \.html"):
        run.report(tmp_path / "report.txt")


def test_a_metric_that_is_never_a_number_is_not_drawn(tmp_path):
    metrics = {"broken": lambda *_: float("nan")}
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=2, metrics=metrics)
    html = report(tmp_path, run)
    assert "broken" not in html
    assert "nan" not in verdict(html)


def test_training_modes_and_random_state_are_left_as_they_were(tmp_path):
    student = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 2))
    run = tl.fit(student, train=LABELLED, val=LABELLED, epochs=1)
    student.train()
    before = torch.get_rng_state()
    run.report(tmp_path / "report.html")
    assert student.training
    assert student[0].training
    assert torch.equal(torch.get_rng_state(), before)


def test_without_validation_nothing_is_said_of_quality(tmp_path):
    html = report(tmp_path, tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=2))
    assert verdict(html).startswith("The training loss went from")
    cost = rows(html, "Cost")
    assert cost.keys() == {"student"}
    assert cost["student"] == {"Parameters": "10", "File": re.search(r"\d+ B", html)[0]}
    assert ">Quality</h2>" not in html


@pytest.mark.parametrize(
    ("objective", "outputs", "says"),
    [
        (tl.SoftTargets(), 2, "agreement with the teacher"),
        (tl.OutputRegression(), 1, "distance from the teacher"),
    ],
)
def test_without_labels_the_teacher_is_the_measure(objective, outputs, says, tmp_path):
    run = tl.distill(
        nn.Linear(4, outputs),
        nn.Linear(4, outputs),
        train=UNLABELLED,
        val=DataLoader(UNLABELLED, 16),
        objective=objective,
        epochs=1,
    )
    assert says in verdict(report(tmp_path, run))


def test_names_of_own_metrics_are_escaped(tmp_path):
    metrics = {"<i>zeros</i>": lambda *_: 0.0}
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=1, metrics=metrics)
    html = report(tmp_path, run)
    assert "<i>" not in html
    assert "&lt;i&gt;zeros" in html


def test_it_prints_in_a_few_lines(tmp_path):
    """Its history and settings would fill many screens."""
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=3, out=tmp_path / "run")
    assert str(run) == repr(run)
    assert len(str(run)) < 400
    assert "Linear: 3 epochs" in str(run)
    assert f"val/accuracy {run.history[run.best_epoch - 1]['val/accuracy']:.4g}" in str(run)


def test_a_relative_path_is_taken_from_the_runs_folder(tmp_path):
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=1, out=tmp_path / "run")
    assert run.report() == tmp_path / "run" / "report.html"
    assert run.report().exists()


def test_a_store_of_features_only_leaves_the_teacher_unmeasured(tmp_path):
    teacher, student = (nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)) for _ in range(2))
    features = tl.FeatureMatch({"0": "0"})
    store = tl.label(teacher, LABELLED, out=tmp_path / "store", fields=features)
    run = tl.distill(
        store, student, train=LABELLED, val=LABELLED, objective=features + tl.HardLabels(), epochs=1
    )
    html = report(tmp_path, run)
    assert "The teacher&#39;s output was not measured: the store must contain" in html
    assert "the student has an accuracy of" in verdict(html)


def test_a_metric_of_ones_own_is_in_per_cent_only_where_it_can_be_a_fraction(tmp_path):
    metrics = {"f1": lambda *_: 85.0, "f1_macro": lambda *_: 0.85}
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=1, metrics=metrics)
    html = report(tmp_path, run)
    assert "F1: from 85 to 85" in html
    assert "macro F1: from 85 to 85" in html
    assert "8.5e+03" not in html
