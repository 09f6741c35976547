"""The page of a run: what it says for each kind of run."""

import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.reports.numbers import points, significant
from tutelage.reports.run_account import read_figures

INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
CLASSES = (INPUTS[:, 0] > 0).long()
VALUES = INPUTS[:, :1] * 2
LABELLED, UNLABELLED = TensorDataset(INPUTS, CLASSES), TensorDataset(INPUTS)


def report(tmp_path, run):
    path = run.report(tmp_path / "report.html")
    assert path == tmp_path / "report.html"
    return path.read_text(encoding="utf-8")


def verdict(html):
    return re.search(r'id="verdict">Verdict</h2>\n<p>(.*)</p>', html)[1].replace("\xa0", " ")


def rows(html, number=0):
    """Return the cells of the models in a table of the page, by default in its first."""
    table = html.split("<table")[number + 1]
    found = re.findall(
        r'<th scope="row">(\d+ teachers|Teacher|Student)</th>\n((?:<td.*\n)+)', table
    )
    return {name: re.findall(r">([^<]*)</td>", cells) for name, cells in found}


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
    assert f"{100 * ours:.1f} % of 40 validation examples" in verdict(html)
    assert f"names {100 * theirs:.1f} %" in verdict(html)
    assert rows(html)["Student"][:3] == [f"{100 * ours:.1f}", f"{100 * same:.1f}", "10"]
    assert rows(html)["Teacher"][:3] == [f"{100 * theirs:.1f}", "–", "58"]
    assert html.count("<figure>") == 5  # confidence, classes, losses, parts, quality
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
    confidence = rows(html, 1)
    for name, output in (("Student", said), ("Teacher", taught)):
        measured = tl.evaluation.calibration(output, CLASSES)
        assert confidence[name][:2] == [significant(measured.nll), f"{100 * measured.ece:.1f}"]
    kl = significant(tl.evaluation.mean_kl(said, taught))
    assert [confidence[name][2] for name in ("Student", "Teacher")] == [kl, "–"]
    assert f"probabilities are {kl} nats from the teacher" in html
    ours, theirs = (tl.evaluation.by_class(output, CLASSES) for output in (said, taught))
    changes = ", ".join(f"{k} {points(ours[k] - theirs[k]).replace('+0.0', '0.0')}" for k in ours)
    assert f"accuracy, student less teacher, points. {changes}." in html


def test_without_labels_fidelity_is_left(tmp_path):
    run = tl.distill(
        nn.Linear(4, 2), nn.Linear(4, 2), train=UNLABELLED, val=UNLABELLED,
        objective=tl.SoftTargets(), epochs=1,
    )  # fmt: skip
    html = report(tmp_path, run)
    assert set(rows(html, 1)["Student"][:2]) == {"–"}
    assert rows(html, 1)["Student"][2] != "–"
    assert "run-reliability" not in html


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
    assert "As sure as right?" in html
    assert "Class by class" not in html


def test_outputs_that_rule_a_class_out_leave_the_rest_of_the_page(tmp_path):
    class Never(nn.Linear):
        def forward(self, inputs):
            logits = super().forward(inputs)
            return logits if self.training else logits.masked_fill(logits < 0, -torch.inf)

    run = tl.fit(Never(4, 2), train=LABELLED, epochs=1)
    html = report(tmp_path, replace(run, val=LABELLED))
    assert "accuracy" in html.lower()
    assert "Confidence" not in html


def test_values_show_where_they_are_missed(tmp_path):
    values = TensorDataset(INPUTS, torch.cat([VALUES, -VALUES], dim=1))
    run = tl.distill(
        None, nn.Linear(4, 2), train=values, val=values, objective=tl.LabelRegression(), epochs=1
    )
    html = report(tmp_path, run)
    assert "Where it misses" in html
    assert html.count("of 40 examples whose true") == 2
    assert "Output 2" in html
    assert "Confidence" not in html


def test_markdown_and_json_hold_what_the_page_shows(tmp_path):
    run = tl.distill(
        nn.Linear(4, 2), nn.Linear(4, 2), train=LABELLED, val=LABELLED,
        objective=tl.SoftTargets(2), epochs=2,
    )  # fmt: skip
    html = report(tmp_path, run)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert verdict(html).replace("&#39;", "'") in text
    assert text.count("\n| **Student** |") == 2
    record = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert record["run"] == json.loads(json.dumps(run.settings, default=str))
    assert record["history"] == run.history
    assert record["best_epoch"] == run.best_epoch
    assert record["made_with"]["tutelage"] == tl.__version__
    assert record["figures"]["examples"] == 40
    assert record["figures"]["student"]["quality"].keys() == {"accuracy", "agreement"}
    assert record["figures"]["teacher"]["cost"]["parameters"] == 10


def test_a_wrong_ending_is_refused_before_anything_is_measured(tmp_path):
    run = replace(tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=1), val="no data set")
    with pytest.raises(tl.ArgumentError, match=r"must end in \.html"):
        run.report(tmp_path / "report.txt")


def test_a_figure_that_is_never_a_number_is_not_drawn(tmp_path):
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
    assert rows(html)["Student"] == ["10", re.search(r"\d+ B", html)[0]]
    assert "Teacher" not in rows(html)


def test_a_teacher_that_is_no_module_has_no_size(tmp_path):
    teacher = tl.teachers.Predictor(lambda inputs: inputs[:, 0] * 2)
    values = TensorDataset(INPUTS, VALUES)
    objective = tl.LabelRegression() + tl.OutputRegression()
    run = tl.distill(
        teacher, nn.Linear(4, 1), train=values, val=values, objective=objective, epochs=2
    )
    html = report(tmp_path, run)
    assert verdict(html).startswith("On 40 validation examples the student's mean squared".replace(
        "'", "&#39;"))  # fmt: skip
    assert rows(html)["Teacher"][:2] == ["0", "1.00"]
    assert set(rows(html)["Teacher"][2:]) == {"–"}
    assert "no PyTorch module" in html


def test_the_size_of_several_teachers_is_that_of_all_together(tmp_path):
    teachers = {"a": nn.Linear(4, 2), "b": [nn.Linear(4, 2), nn.Linear(4, 2, bias=False)]}
    data = tl.data.domains({"a": LABELLED, "b": LABELLED})
    run = tl.distill(
        teachers, nn.Linear(4, 2), train=data, val=data, objective=tl.SoftTargets(), epochs=1
    )
    html = report(tmp_path, run)
    assert rows(html)["3 teachers"][2] == str(10 + 10 + 8)
    says = "the 3 teachers together have 2.8× the student&#39;s parameters"
    assert says in verdict(html)
    assert "size is that of all together" in html
    again = read_figures(json.loads((tmp_path / "report.json").read_text())["figures"])
    assert again.teacher.modules == 3


def test_a_team_with_a_member_that_is_no_module_has_no_size(tmp_path):
    teacher = [nn.Linear(4, 1), tl.teachers.Predictor(lambda inputs: inputs[:, 0] * 2)]
    values = TensorDataset(INPUTS, VALUES)
    run = tl.distill(
        teacher, nn.Linear(4, 1), train=values, val=values, objective=tl.OutputRegression(),
        epochs=1,
    )  # fmt: skip
    assert rows(report(tmp_path, run))["Teacher"][3] == "–"


@pytest.mark.parametrize(
    ("objective", "outputs", "says"),
    [(tl.SoftTargets(), 2, "agrees with its teacher"), (tl.OutputRegression(), 1, "distance")],
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


def test_inputs_that_are_no_single_tensor_are_not_timed(tmp_path):
    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, first, second):
            return self.linear(first + second)

    pairs = [
        {"first": one, "second": one, "labels": label}
        for one, label in zip(INPUTS, CLASSES, strict=True)
    ]
    html = report(tmp_path, tl.fit(Sum(), train=pairs, val=pairs, epochs=1))
    assert "ms per input" not in html
    assert "accuracy" in html


def test_names_of_own_metrics_are_escaped(tmp_path):
    metrics = {"<i>zeros</i>": lambda *_: 0.0}
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, val=LABELLED, epochs=1, metrics=metrics)
    html = report(tmp_path, run)
    assert "<i>" not in html
    assert "&lt;i&gt;zeros" in html


def test_a_relative_path_is_taken_from_the_runs_folder(tmp_path):
    run = tl.fit(nn.Linear(4, 2), train=LABELLED, epochs=1, out=tmp_path / "run")
    assert run.report() == tmp_path / "run" / "report.html"
    assert run.report().exists()
