"""The page of a study: what it says, and that it stands on its own."""

import json
import math
import re
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import tutelage as tl
from browser import look, needs_browser
from tutelage.cli import app
from tutelage.evaluation import Interval
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.reports.verdict import difference, shown, verdict
from tutelage.results.record import (
    ArmRecord,
    Comparison,
    DecidingMetric,
    TrialRecord,
    read_record,
    write_record,
)
from tutelage.studies.conclude import _primary

QUIET = tl.Engine(device="cpu", progress=False)


@pytest.fixture(scope="module")
def classes(setup):
    return setup.study(
        val=setup.val, margin=0.01, seeds=3, sweep={"learning_rate": [1e-3, 1e-2]},
        report=tl.ReportOptions(title="Digits & <more>"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def values():
    torch.manual_seed(0)
    inputs = torch.randn(300, 4)
    labels = inputs[:, :2].sin().sum(dim=1)
    teacher = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    train, test = (
        TensorDataset(inputs[part], labels[part]) for part in (slice(200), slice(200, 300))
    )
    tl.fit(teacher, train=train, epochs=10, objective=tl.LabelRegression(), engine=QUIET)
    return tl.study(
        teacher, lambda: nn.Linear(4, 1), train=train, test=test, seeds=2, epochs=2,
        training=tl.Training(engine=QUIET),
        arms={"taught": tl.OutputRegression()}, progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def along(setup):
    arms = {
        f"T = {each}": tl.Arm(objective=tl.SoftTargets(each), series="small", at=each)
        for each in (1, 4, 16)
    }
    return setup.study(arms=arms, report=tl.ReportOptions(axis="temperature"), seeds=2, epochs=1)


def test_results_survive_writing_and_reading(classes, values, along, tmp_path):
    for study in (classes, values, along):
        path = write_record(study.results, tmp_path / "results.json")
        assert read_record(path) == study.results


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"format": "tutelage report 1"}', '{"format": "tutelage report 4"}', "{}"],
)
def test_damaged_results_are_refused(content, tmp_path):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(tl.RunFolderError, match="must be a record of the format"):
        read_record(path)


@pytest.fixture(scope="module")
def pages(classes, values, along):
    """The studies' pages, with their charts."""
    return [render(record_page(each.results)) for each in (classes, values, along)]


def test_every_study_has_its_page(pages):
    for html, heads in zip(
        pages,
        (("Results", "Uncertainty", "Cost",
          "Calibration", "Fidelity to the teacher", "Class by class",
          "Learning curves", "Hyperparameter search", "Settings",
          "Reproducibility"),
         ("Results", "Residuals"),
         ("Along temperature",)),
        strict=True,
    ):  # fmt: skip
        for head in heads:
            assert f">{head}</h2>" in html
        assert len(html) < 2_000_000
        assert "<path" in html
        assert not re.search(r"(?:src|href)=\"(?!#|data:)", html)


@pytest.mark.parametrize("names", [("zero", "one"), tuple("abcdefghijklm")])
def test_classes_without_a_name_have_their_number(classes, names):
    """A study without a teacher cannot tell how many names there must be."""
    html = render(record_page(replace(classes.results, class_names=names)))
    assert f"{names[1]}: " in html
    assert ("9: " in html) == (len(names) == 2)


def test_the_verdict_stands_first_and_text_is_escaped(classes):
    html = render(record_page(classes.results))
    assert "<h1>Digits &amp; &lt;more&gt;</h1>" in html
    assert html.index(classes.verdict[:40]) < html.index(">Results<")


def test_one_seed_is_no_proof(setup):
    study = setup.study(seeds=1)
    assert "One seed does not show the variation" in render(record_page(study.results))
    assert "one seed only" in study.verdict


def test_files_beside_the_page(classes, tmp_path):
    page = classes.report(tmp_path / "new" / "page.html")
    record = json.loads(page.with_suffix(".json").read_text())
    assert record["primary"] == classes.results.primary
    markdown = page.with_suffix(".md").read_text()
    assert classes.verdict.split(" (")[0] in markdown.replace("\\", "")
    with pytest.raises(tl.ArgumentError, match=r"\.html"):
        classes.report(tmp_path / "page.txt")


def test_the_shell_writes_the_page_from_the_folder(setup, tmp_path):
    setup.study(seeds=2, out=tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert ">Results<" in (tmp_path / "report.html").read_text()
    (tmp_path / "results.json").write_text("{}")
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 1


def with_differences(results, *differences):
    mean = sum(differences) / len(differences)
    spread = max(differences) - min(differences)
    changed = tuple(
        Comparison(
            each.arm, each.other, differences, over="seeds and examples",
            corrected=Interval(mean, mean - spread, mean + spread),
        )
        for each in results.comparisons
    )  # fmt: skip
    return replace(results, comparisons=changed)


@pytest.mark.parametrize(
    ("differences", "words", "colour"),
    [
        ((0.02, 0.0201), "2.0 points better in accuracy than the strongest control", "gain"),
        ((-0.02, -0.021), "distillation made it worse", "loss"),
        ((0.02, -0.01), "it includes zero, so no difference is shown", "open"),
    ],
)
def test_won_lost_or_not_shown(classes, differences, words, colour):
    """Only a gain that is shown stands in a green box."""
    results = with_differences(classes.results, *differences)
    assert words in verdict(results)
    assert f'<section class="verdict {colour}"' in render(record_page(results))


@pytest.mark.parametrize(
    ("mean", "told"),
    [
        (-0.05, ""),
        (-0.01, "The teacher itself is not shown to be better than “{}” (+1.0 points, 95 % "
         "interval −1.0 to +3.0)."),
        (0.01, "The teacher itself is not shown to be better than “{}” (−1.0 points, 95 % "
         "interval −3.0 to +1.0): train it longer"),
        (0.05, "The teacher itself is worse than “{}” (−5.0 points, 95 % interval −7.0 to −3.0): "
         "train it longer"),
    ],
)  # fmt: skip
def test_a_teacher_that_is_not_shown_to_be_better_than_the_control_is_told(classes, mean, told):
    results = classes.results
    name = results.control_of(results.primary).name
    interval = Interval(mean, mean - 0.02, mean + 0.02)
    against = tuple(
        replace(each, differences=(mean,), interval=interval, corrected=interval)
        if each.arm == name else each
        for each in results.against_teacher
    )  # fmt: skip
    text = verdict(replace(results, against_teacher=against))
    assert told.format(name) in text
    assert bool(told) == ("The teacher itself" in text)


def test_numbers_have_their_unit():
    share, value = DecidingMetric("accuracy", True, True), DecidingMetric("mse", False)
    assert shown(0.9731, share, 2) == "97.31 %"
    assert shown(0.01234, value) == "0.0123"
    assert difference(-0.0123, share, 2) == "−1.23"
    assert difference(-0.01234, value) == "−0.0123"


def test_it_prints_in_a_few_lines(classes, values):
    """Its parts would fill many screens."""
    for study in (classes, values):
        assert str(study) == repr(study)
        assert len(str(study)) < 1000
        assert study.verdict in str(study)


def test_an_arm_without_a_number_on_validation_data_is_not_the_primary_one():
    def arm(name, *values):
        return ArmRecord(name, tuple(TrialRecord(val=each) for each in values))

    arms = [arm("unknown", 0.9, math.nan), arm("none", None), arm("good", 0.1), arm("best", 0.2)]
    assert _primary(arms, higher=True) == "best"
    assert _primary(arms, higher=False) == "good"
    assert _primary(arms[:2], higher=True) == "unknown"


@needs_browser
def test_a_browser_finds_no_fault(pages, tmp_path):
    """A phone shows every study; a wide screen the one with all sections."""
    classes, values, along = pages
    looked = [(classes, 360), (values, 360), (along, 360), (classes, 1100)]
    found, console = look(looked, tmp_path)
    for (_, width), (inner, scroll, wide, small, _) in zip(looked, found, strict=True):
        assert inner == width
        assert scroll <= inner
        assert wide == small == 0
    assert console == []
