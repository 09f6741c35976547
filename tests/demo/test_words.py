"""The verdict says no more than the intervals do; page and screen agree."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from tutelage.demo import DemoSettings, run_demo
from tutelage.demo.measure import share_interval
from tutelage.demo.page import demo_page
from tutelage.demo.rows import models_table
from tutelage.demo.screen import show
from tutelage.demo.verdict import verdict
from tutelage.evaluation import Interval
from tutelage.reports import render


@pytest.fixture(scope="module")
def results():
    return run_demo(DemoSettings(seeds=2, steps=24, teacher_epochs=1, latency_seconds=0.02))


def with_intervals(results, few, more):
    intervals = (Interval(*few), Interval(*more))
    pairs = zip(results.comparisons, intervals, strict=True)
    return replace(
        results, comparisons=tuple(replace(one, interval=interval) for one, interval in pairs)
    )


def test_a_clear_gain(results):
    text = verdict(with_intervals(results, (0.02, 0.01, 0.03), (0.04, 0.03, 0.05)))
    assert "4.0 points more accurate than" in text
    assert "(95 % interval +3.0 to +5.0, 2 paired seeds)" in text
    assert "zero" not in text


def test_an_interval_with_zero_shows_no_difference(results):
    text = verdict(with_intervals(results, (0.02, -0.01, 0.05), (0.04, -0.03, 0.11)))
    assert "4.0 points more accurate on average" in text
    assert text.count("it includes zero, so no difference is shown") == 2


def test_a_loss_is_called_one(results):
    text = verdict(with_intervals(results, (-0.02, -0.03, -0.01), (-0.04, -0.05, -0.03)))
    assert "4.0 points less accurate than" in text
    assert "the difference is −2.0 points" in text


def test_the_page_holds_verdict_table_figures_and_command(results):
    html = render(demo_page(results)).replace("\N{NO-BREAK SPACE}", " ")
    for row in models_table(results).rows:
        for cell in row:
            assert f">{cell}</t" in html
    assert verdict(results).replace("'", "&#39;") in html
    assert html.count("<figure>") == 6
    assert "tutelage demo --seeds 2 --temperature 4" in html
    assert len(html) < 2_000_000
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", html)


def test_a_quick_look_is_marked_on_page_and_screen(results):
    quick = replace(results, settings=results.settings | {"quick": True})
    assert "quick look" in demo_page(quick).warning
    assert demo_page(results).warning == ""
    assert "quick look" in printed(quick)


def test_the_screen_shows_every_cell_in_eighty_columns(results):
    wide = Interval(0.9, 0.726, 1.074)
    arms = tuple(replace(arm, accuracy=wide, agreement=wide) for arm in results.arms)
    realistic = replace(results, arms=arms)
    text = printed(realistic)
    assert "90.0 ± 17.4" in text
    assert "…" not in text
    for row in models_table(realistic).rows:
        for cell in row[1:]:
            assert cell in text


def printed(results):
    buffer = StringIO()
    show(results, Console(file=buffer, width=80))
    return buffer.getvalue()


def test_a_wilson_interval_stays_within_bounds():
    interval = share_interval(1.0, 10)
    assert interval.mean == interval.high == 1.0
    assert interval.low == pytest.approx(0.7225, abs=1e-4)  # 1 / (1 + 1.96² / 10)
