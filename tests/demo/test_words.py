"""Report and screen show the study's results, and mark a quick look as one."""

import re
from dataclasses import replace
from html import unescape
from io import StringIO

import pytest
from rich.console import Console

from tutelage.demo.show import demo_page, rows, show, what_each_saw
from tutelage.evaluation import mean_interval
from tutelage.reports.page import render
from tutelage.reports.verdict import sentences, verdict


@pytest.fixture
def quick(settings):
    return replace(settings, quick=True)


def printed(results, settings):
    buffer = StringIO()
    show(results, settings, Console(file=buffer, width=80))
    return buffer.getvalue()


@pytest.mark.usefixtures("charts_drawn")
def test_the_report_holds_verdict_metrics_method_and_command(results, settings):
    page = demo_page(results, settings)
    html = unescape(render(page)).replace("\N{NO-BREAK SPACE}", " ")
    assert all(f"{each}" in html for each in sentences(results))
    for section in ("What distillation is", "Results", "What was done"):
        assert f">{section}</h2>" in html
    for name, learns_from in page.sections[0].table.cells:
        assert f">{name}</th>" in html
        assert f">{learns_from}</td>" in html
    assert what_each_saw(results) in html
    assert "the same 24 optimizer steps of 50 images" in html
    assert "tutelage demo --seeds 2 --temperature 4" in html
    assert len(html) < 2_000_000
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)


def test_a_quick_look_is_marked_on_page_and_screen(results, settings, quick):
    assert "quick look" in demo_page(results, quick).warning
    assert "quick look" in printed(results, quick)
    assert demo_page(results, settings).warning == ""
    assert "quick look" not in printed(results, settings)


def test_the_screen_shows_every_cell_in_eighty_columns(results, settings):
    arms = tuple(with_accuracies(arm, (0.89, 0.83)) for arm in results.arms)
    wide = replace(results, arms=arms)
    text = printed(wide, settings)
    assert "86.0 ± 38.1" in text
    assert "…" not in text
    for row in rows(wide):
        assert row["Model"].split()[0] in text
        for cell in [*row.values()][1:]:
            assert cell in text
    assert " ".join(verdict(wide).split()) in " ".join(text.split())
    assert " ".join(what_each_saw(wide).split()) in " ".join(text.split())


def with_accuracies(arm, accuracies):
    trials = tuple(
        replace(trial, metrics=trial.metrics | {"accuracy": value})
        for trial, value in zip(arm.trials, accuracies, strict=True)
    )
    interval = mean_interval(accuracies)
    return replace(arm, trials=trials, intervals=arm.intervals | {"accuracy": interval})


def test_rows_are_the_means_of_the_seeds(results):
    teacher, *students = rows(results)
    accuracy = results.teacher.metrics["accuracy"]
    assert [*teacher.values()][:4] == ["teacher", f"{100 * accuracy:.1f}", "–", "90,090"]
    for row, arm in zip(students, results.arms, strict=True):
        first, second = arm.values("accuracy")
        name, found, _, parameters, *_ = row.values()
        assert (name, parameters) == (arm.name, "3,706")
        assert found.startswith(f"{50 * (first + second):.1f}")
