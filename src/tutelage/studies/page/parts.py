"""Where the student wins and loses: by class, by domain, by value."""

from __future__ import annotations

from statistics import fmean

from tutelage.reports import Column, Figure, Section, Table
from tutelage.reports.figures import deltas, residuals
from tutelage.reports.numbers import NONE
from tutelage.studies.page.outcome import look
from tutelage.studies.results import ArmResult, StudyResults
from tutelage.studies.verdict import control_of, shown


def parts_sections(results: StudyResults) -> tuple[Section | None, ...]:
    """Return what changes class by class, the figures of each domain, and the residuals."""
    return (_classes(results), _domains(results), _residuals(results))


def _classes(results: StudyResults) -> Section | None:
    subject, control = results.arm(results.subject), control_of(results, results.subject)
    figures = []
    if control is not None:
        figures.append(_deltas(results, subject.by_class, control.by_class, control.name))
    if results.teacher is not None:
        figures.append(_deltas(results, subject.by_class, results.teacher.by_class, "teacher"))
    drawn = tuple(figure for figure in figures if figure is not None)
    return Section("Class by class", figures=drawn) if drawn else None


def _deltas(
    results: StudyResults, ours: dict[int, float], theirs: dict[int, float], name: str
) -> Figure | None:
    common = sorted(ours.keys() & theirs.keys())
    if len(common) < 2:  # noqa: PLR2004 - nothing to compare
        return None
    names = [results.class_names[each] if results.class_names else str(each) for each in common]
    label = f"points of accuracy, student less {name}"
    svg = deltas(
        f"classes-{'teacher' if name == 'teacher' else 'control'}",
        names,
        [theirs[each] for each in common],
        [ours[each] for each in common],
        label,
    )
    return Figure(
        svg,
        f"“{results.subject}” against {'the teacher' if name == 'teacher' else f'“{name}”'}",
        "Share of each true class that is named rightly on test data, the difference in points; "
        "means over seeds.",
    )


def _domains(results: StudyResults) -> Section | None:
    names = list(results.arms[0].trials[0].domains)
    if not names:
        return None
    rows = [(arm.name, *(_domain(results, arm, name) for name in names)) for arm in results.arms]
    if results.teacher is not None:
        found = results.teacher.domains
        cells = (shown(found[n], results.figure, 2) if n in found else NONE for n in names)
        rows.insert(0, ("teacher", *cells))
    columns = (Column("Arm", numeric=False), *(Column(name) for name in names))
    table = Table("The deciding figure for each domain", columns, tuple(rows), "Means over seeds.")
    return Section("Domain by domain", table=table)


def _domain(results: StudyResults, arm: ArmResult, name: str) -> str:
    found = [trial.domains[name] for trial in arm.trials if name in trial.domains]
    return shown(fmean(found), results.figure, 2) if found else NONE


def _residuals(results: StudyResults) -> Section | None:
    control, subject = control_of(results, results.subject), results.arm(results.subject)
    drawn = [arm for arm in (control, subject) if arm is not None and arm.scatter is not None]
    figures = tuple(
        Figure(
            residuals(f"residuals-{place}", *arm.scatter, look=look(results, arm.name)),
            f"“{arm.name}”",
            "Prediction less true value, over the true value; first seed, test data.",
        )
        for place, arm in enumerate(drawn)
        if arm.scatter is not None
    )
    return Section("Where the errors are", figures=figures) if figures else None
