"""The whole page, from its sections."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from tutelage.reports import Highlight, Page, write_report
from tutelage.reports.numbers import times
from tutelage.studies.page.confidence import confidence_section
from tutelage.studies.page.cost import cost_sections
from tutelage.studies.page.outcome import outcome_sections
from tutelage.studies.page.parts import parts_sections
from tutelage.studies.page.resemblance import resemblance_section
from tutelage.studies.page.training import training_sections
from tutelage.studies.results import StudyResults, as_record, read_results
from tutelage.studies.verdict import (
    against_strongest,
    decimals_of,
    difference,
    figure_name,
    verdict,
)


def write_study_page(results: StudyResults, path: Path) -> Path:
    """Write the page of a study, the same as Markdown and JSON beside it; return the path.

    Raises:
        ArgumentError: The path does not end in `.html`.
        RunFolderError: A file cannot be written.
    """
    return write_report(study_page(results), path, as_record(results))


def report_study(folder: Path, path: Path) -> Path:
    """Write the page of a study from its folder; return the path.

    Raises:
        RunFolderError: The folder holds no results, or a file cannot be written.
    """
    return write_study_page(read_results(folder / "results.json"), path)


def study_page(results: StudyResults) -> Page:
    """Return the page of a study."""
    sections = (
        *outcome_sections(results),
        *cost_sections(results),
        confidence_section(results),
        resemblance_section(results),
        *parts_sections(results),
        *training_sections(results),
    )
    return Page(
        title=results.title,
        lead=_lead(results),
        warning=_warning(results),
        verdict=verdict(results),
        highlights=_highlights(results),
        sections=tuple(each for each in sections if each is not None),
        footer=(
            f"Made by tutelage {results.versions['tutelage']}; the trials shown trained for "
            f"{results.seconds / 60:.1f} minutes."
        ),
    )


def _lead(results: StudyResults) -> str:
    arms = len(results.arms) - len(results.controls)
    return (
        f"{_counted(arms, 'way')} of teaching a student, "
        f"{_counted(len(results.controls), 'control')}, "
        f"{_counted(len(results.seeds), 'paired seed')}; judged by {figure_name(results.figure)}."
    )


def _warning(results: StudyResults) -> str:
    if len(results.seeds) > 1:
        return ""
    return "One seed tells nothing of luck: run more seeds before you rely on a difference."


def _highlights(results: StudyResults) -> tuple[Highlight, ...]:
    found, figure = against_strongest(results, results.subject), results.figure
    unit = " points" if figure.is_share else ""
    shown = []
    if found is not None:
        value = difference(fmean(found.differences), figure, decimals_of(found)) + unit
        shown.append(Highlight(value, f"{figure_name(figure)}, against “{found.control}”"))
    taught = [each for each in results.against_teacher if each.arm == results.subject]
    if taught:
        value = difference(fmean(taught[0].differences), figure) + unit
        shown.append(Highlight(value, f"{figure_name(figure)}, against the teacher"))
    return (*shown, *_savings(results))


def _savings(results: StudyResults) -> tuple[Highlight, ...]:
    teacher = None if results.teacher is None else results.models.get(results.teacher.model)
    student = results.models.get(results.arm(results.subject).model)
    if teacher is None or student is None:
        return ()
    shown = []
    if teacher.cost and student.cost and student.cost.parameters:
        ratio = times(teacher.cost.parameters / student.cost.parameters)
        shown.append(Highlight(ratio, "fewer parameters"))
    if teacher.latencies and student.latencies:
        pairs = zip(teacher.latencies, student.latencies, strict=True)
        ratios = [times(theirs.median / ours.median) for theirs, ours in pairs]
        sizes = " / ".join(f"{each.batch_size}" for each in student.latencies)
        shown.append(Highlight(" / ".join(ratios), f"faster, {sizes} at a time"))
    return tuple(shown)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
