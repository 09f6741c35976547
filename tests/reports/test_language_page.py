"""The reports of runs and studies of language models."""

import json
import re
from dataclasses import replace

import pytest
import torch

import tutelage as tl
from browser import look, needs_browser
from language_models import make, texts
from tutelage.evaluation import perplexity, speculative_speedup
from tutelage.evaluation.language import GenerationSpeed
from tutelage.reports.report import record_page, report_record
from tutelage.reports.sections.models import language_sections
from tutelage.results.record import read_record

VAL = texts(7, 11, seed=4)
pytestmark = pytest.mark.usefixtures("charts_undrawn")
QUIET = tl.Engine(device="cpu", progress=False)


@pytest.fixture(scope="module")
def teacher():
    model = make("Llama", 32, seed=1)
    with torch.no_grad():
        model.lm_head.weight *= 30
    return model


@pytest.fixture(scope="module")
def page(teacher, tmp_path_factory):
    run = tl.distill(
        teacher, make("Llama", 16), train=texts(12, seed=1), val=VAL, epochs=2, batch_size=4,
        objective=tl.RowMean(0.5 * tl.HardLabels() + tl.SoftTargets(1)), engine=QUIET,
    )  # fmt: skip
    path = run.report(tmp_path_factory.mktemp("page") / "report.html")
    return run, path, read_record(path.with_suffix(".json"))


def table(record, heading):
    """Return a section's rows, by model and column."""
    [section] = [each for each in record_page(record).sections if each.heading == heading]
    heads = [", ".join(filter(None, each[:2])) for each in section.table.columns[1:]]
    return {row[0]: dict(zip(heads, row[1:], strict=True)) for row in section.table.cells}


def test_the_page_of_a_run_tells_how_good_and_how_fast(page, teacher):
    run, path, record = page
    ours, theirs = perplexity(run.student, VAL), perplexity(teacher, VAL)
    assert record.arm("student").metrics["perplexity"] == pytest.approx(ours, rel=1e-5)
    assert record.teacher.metrics["perplexity"] == pytest.approx(theirs, rel=1e-5)
    assert record.arm("student").metrics.keys() == {
        "accuracy", "perplexity", "agreement", "kl", "acceptance_rate"
    }  # fmt: skip
    speeds = table(record, "Generation speed")
    assert speeds.keys() == {"teacher", "student"}
    assert list(speeds["student"]) == [
        "First token, ms, batch 1", "First token, ms, batch 8",
        "Tokens a second, batch 1", "Tokens a second, batch 8",
    ]  # fmt: skip
    assert all(float(each.replace(",", "")) > 0 for row in speeds.values() for each in row.values())
    html = path.read_text(encoding="utf-8")
    for text in ("Perplexity", "By token.", "Mean KL", "Speculative decoding", "Calibration"):
        assert text in html
    assert "examples for which" not in html


def test_the_speedup_follows_from_rate_and_times(page):
    _, _, record = page

    def timed(model, seconds):
        return replace(model, generation=(GenerationSpeed(1, 0.1, seconds, 1),))

    known = {"teacher": 0.1, "student": 0.01}
    models = {name: timed(record.models[name], each) for name, each in known.items()}
    arm = record.arm("student")
    trial = replace(arm.trials[0], metrics={**arm.metrics, "acceptance_rate": 0.8})
    record = replace(record, models=models, arms=(replace(arm, trials=(trial,)),))
    [row] = table(record, "Speculative decoding").values()
    assert row["Acceptance rate, % of tokens"] == "80.00"
    assert row["Time for a token, % of the teacher's"] == "10"
    assert row["Speed-up, 4 drafted tokens"] == f"{speculative_speedup(0.8, 0.1, 4):.1f}×"
    every = {each: speculative_speedup(0.8, 0.1, each) for each in range(1, 17)}
    best = max(every, key=every.get)
    assert row["Best, drafted tokens: speed-up"] == f"{best}: {every[best]:.1f}×"


def test_what_is_skipped_says_why(page):
    _, _, record = page
    silent = {
        name: replace(each, generation=(), ungenerated="it cannot")
        for name, each in record.models.items()
    }
    shown, drafts = language_sections(replace(record, models=silent))
    assert shown.text == ("Not measured: teacher, student (it cannot).",)
    assert "No speed-up is shown" in drafts.table.note
    arm = record.arm("student")
    trial = replace(arm.trials[0], metrics={"perplexity": 2.0})
    _, drafts = language_sections(replace(record, arms=(replace(arm, trials=(trial,)),)))
    assert (
        "Not measured: the teacher has no probability of each of the student's tokens."
        in drafts.text
    )
    assert language_sections(replace(record, teacher=None))[1] is None
    assert language_sections(replace(record, task="classes")) == ()


def test_a_context_too_short_to_generate_is_told(tmp_path):
    run = tl.fit(
        make("GPT2", n_positions=20), train=texts(6, seed=1), val=VAL, epochs=1, engine=QUIET
    )
    text = run.report(tmp_path / "page.html").with_suffix(".md").read_text(encoding="utf-8")
    assert "its context of 20 tokens is too short to generate 32" in text


def test_the_page_of_a_study_is_written_and_read(teacher, tmp_path):
    study = tl.study(
        teacher, lambda: make("Llama", 16), train=texts(12, seed=1), val=VAL,
        test=texts(6, seed=9), arms={"soft": tl.RowMean(tl.SoftTargets(1))}, seeds=2, epochs=1,
        training=tl.Training(engine=QUIET, batch_size=4), progress=False, allow_overlap=True,
    )  # fmt: skip
    path = report_record(study.results, tmp_path / "page.html")
    assert json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["task"] == "language"
    assert read_record(path.with_suffix(".json")) == study.results
    text = path.with_suffix(".md").read_text(encoding="utf-8")
    assert re.search(r"\| \*\*soft\*\* \| \*\*[\d.]+ ± [\d.]+\*\*", text)
    assert "up to 128 texts" in text
    assert "better in perplexity" in study.verdict or "worse in perplexity" in study.verdict


@needs_browser
def test_a_browser_shows_it_on_a_phone(page, tmp_path):
    html = page[1].read_text(encoding="utf-8")
    [[width, scroll, wide, small, _]], console = look([(html, 375)], tmp_path)
    assert scroll <= width == 375
    assert (wide, small, console) == (0, 0, [])
    assert "Generation speed" in html
