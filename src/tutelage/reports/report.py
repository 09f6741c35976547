"""The report of a record: the verdict first, then the evidence."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from tutelage.reports.numbers import counted, file_size, times
from tutelage.reports.page import Highlight, Page, write_report
from tutelage.reports.sections.behaviour import (
    confidence_section,
    resemblance_section,
    samples_sections,
)
from tutelage.reports.sections.models import cost_sections, language_sections
from tutelage.reports.sections.outcome import outcome_sections, parts_sections
from tutelage.reports.sections.search import search_section
from tutelage.reports.sections.training import (
    curves_section,
    data_section,
    overlap_text,
    settings_sections,
    tuned_more,
)
from tutelage.reports.verdict import (
    against_control,
    against_teacher,
    better,
    decimals_of,
    ends,
    metric_name,
    outcome,
    savings,
    sentences,
)
from tutelage.results.record import Record, SearchRecord


def report_record(record: Record, path: Path) -> Path:
    """Write the HTML report of a record, with Markdown and JSON beside it; return its path.

    Raises:
        ArgumentError: The path does not end in `.html`, or other files would be overwritten.
        RunFolderError: A file cannot be written.
    """
    return write_report(record_page(record), path, record)


def record_page(record: Record) -> Page:
    """Return the report of a run or a study as data."""
    sections = (
        search_section(record),
        *outcome_sections(record),
        *cost_sections(record),
        *language_sections(record),
        confidence_section(record),
        resemblance_section(record),
        *parts_sections(record),
        *samples_sections(record),
        curves_section(record),
        data_section(record),
        *settings_sections(record),
    )
    verdict, *reasons = sentences(record)
    return Page(
        title=record.title,
        lead=_lead(record),
        warning=_warning(record),
        verdict=verdict,
        reasons=" ".join(reasons),
        outcome=outcome(record),
        highlights=_highlights(record),
        sections=tuple(each for each in sections if each is not None),
        footer=f"Made by tutelage {record.versions['tutelage']}{_trained(record)}.",
    )


def _lead(record: Record) -> str:
    if record.is_run:
        arm = record.arm(record.primary)
        trial = arm.trials[0]
        return (
            f"{counted(trial.epochs or 0, 'epoch')}, {counted(trial.steps or 0, 'optimizer step')};"
            f" objective: {arm.learns_from}."
        )
    if record.search is not None:
        return (
            f"{counted(len(record.search.candidates), 'candidate')}; the chosen student, trained "
            f"from {counted(len(record.seeds), 'seed')}, against its teacher on test data."
        )
    judged = "" if record.metric is None else f"; judged by {metric_name(record.metric)}"
    return (
        f"{counted(len(record.arms) - len(record.controls), 'method')} of training a student, "
        f"{counted(len(record.controls), 'control')}, "
        f"{counted(len(record.seeds), 'paired seed')}{judged}."
    )


def _warning(record: Record) -> str:
    """Return what a reader must know before the verdict."""
    warnings = []
    if not record.finished:
        arm = record.arm(record.primary)
        done, planned = arm.trials[0].epochs, arm.settings.get("epochs", "?")
        warnings.append(f"This run is not finished: {done} of {planned} epochs are done.")
    if not record.measured:
        warnings.append(
            "This report is based on the log only; run.report() in Python also measures the "
            "teacher, calibration and speed."
        )
    if record.unmeasured:
        warnings.append(f"The teacher's output was not measured: {record.unmeasured}.")
    warnings += map(overlap_text, record.leaks)
    if more := tuned_more(record):
        warnings.append(more)
    if len(record.seeds) == 1:
        warnings.append(
            "One seed does not show the variation between seeds: run more before you rely on a "
            "difference."
        )
    return " ".join(warnings)


def _trained(record: Record) -> str:
    if record.is_run:
        return ""
    minutes, seconds = divmod(round(record.seconds), 60)
    spent = counted(minutes, "minute") if minutes else counted(seconds, "second")
    return f"; the trials shown trained for {spent}"


def _highlights(record: Record) -> tuple[Highlight, ...]:
    metric, shown = record.metric, []
    if metric is not None:
        found = against_control(record, record.primary)
        if found is not None:
            value = better(fmean(found.differences), metric, decimals_of(found))
            interval = ends(found.corrected, metric, decimals_of(found))
            certainty = f" (95 % interval {interval})" if found.corrected else " (no interval)"
            label = f"in {metric_name(metric)}, against “{found.other}”{certainty}"
            shown.append(Highlight(value, label))
        distilled = against_teacher(record, record.primary)
        if distilled is not None:
            value = better(fmean(distilled.differences), metric, decimals_of(distilled))
            shown.append(Highlight(value, f"in {metric_name(metric)}, against the teacher"))
    smaller, faster = savings(record)
    if smaller is not None:
        shown.append(Highlight(smaller, "as many parameters in the teacher"))
    if record.search is not None:
        shown += _as_exported(record.search)
    elif faster:
        ratios = " / ".join(ratio for ratio, _ in faster)
        sizes = " / ".join("one input" if size == 1 else f"{size} at once" for _, size in faster)
        shown.append(Highlight(ratios, f"as long in the teacher, for {sizes}"))
    return tuple(shown)


def _as_exported(search: SearchRecord) -> list[Highlight]:
    """Return how fast and how large the chosen student is as a file."""
    chosen = next(each for each in search.candidates if each.is_chosen)
    found = []
    if search.latencies:
        ratio = times(search.latencies[0].median / chosen.latencies[0].median)
        found.append(Highlight(ratio, "as long in the teacher, for one input"))
    if chosen.file_bytes is not None:
        found.append(Highlight(file_size(chosen.file_bytes), "is the exported file"))
    return found
