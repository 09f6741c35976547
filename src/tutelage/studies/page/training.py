"""How the arms were trained, and what it takes to repeat it."""

from __future__ import annotations

from statistics import fmean

from tutelage.reports import Column, Figure, Section, Table
from tutelage.reports.figures import Curve, curves
from tutelage.reports.numbers import NONE, significant
from tutelage.studies.page.outcome import MOST_DRAWN, look
from tutelage.studies.results import ArmResult, StudyResults
from tutelage.studies.verdict import figure_name, shown


def training_sections(results: StudyResults) -> tuple[Section | None, ...]:
    """Return the learning curves, the sweeps, the settings, the command."""
    return (_curves(results), _sweeps(results), _settings(results), _repeat(results))


def _curves(results: StudyResults) -> Section | None:
    drawn = [
        _figure(results, f"val/{results.figure.name}", results.figure.is_share),
        _figure(results, "train/loss", as_percent=False),
    ]
    figures = tuple(each for each in drawn if each is not None)
    caption = "Lines are means over seeds; the shading reaches from the least to the greatest."
    return Section("How they learn", figures=figures, caption=caption) if figures else None


def _figure(results: StudyResults, key: str, as_percent: bool) -> Figure | None:
    lines = [
        _curve(results, arm, key)
        for arm in results.arms[:MOST_DRAWN]
        if all(key in trial.curves for trial in arm.trials)
    ]
    if not lines:
        return None
    of_training = key == "train/loss"
    positive = all(value > 0 for line in lines for value in line.values)
    unit = ", %" if as_percent else ""
    name = "training loss" if of_training else f"{figure_name(results.figure)}{unit}"
    svg = curves(
        key.replace("/", "-"), lines, name, log=of_training and positive, as_percent=as_percent
    )
    title = "Training loss" if of_training else "On validation data"
    note = "Each arm lowers its own loss: heights cannot be compared." if of_training else ""
    return Figure(svg, title, note)


def _curve(results: StudyResults, arm: ArmResult, key: str) -> Curve:
    found = [trial.curves[key] for trial in arm.trials]
    length = min(len(each.steps) for each in found)
    passes = list(zip(*(each.values[:length] for each in found), strict=True))
    several = len(found) > 1
    return Curve(
        arm.name,
        found[0].steps[:length],
        [fmean(values) for values in passes],
        [min(values) for values in passes] if several else None,
        [max(values) for values in passes] if several else None,
        look(results, arm.name),
    )


def _sweeps(results: StudyResults) -> Section | None:
    rows = tuple(
        (arm.name, each.setting, NONE if each.value is None else shown(
            each.value, results.figure, 2))
        for arm in results.arms
        for each in arm.tried
    )  # fmt: skip
    if not rows:
        return None
    columns = (
        Column("Arm", numeric=False),
        Column("Setting", numeric=False),
        Column(figure_name(results.figure).capitalize(), "on validation data"),
    )
    note = "“–” is a loss that was not finite. The best setting on validation data is the arm's."
    table = Table("What was tried for each arm", columns, rows, note)
    return Section("Settings that were tried", table=table)


def _settings(results: StudyResults) -> Section:
    """Return what each arm learns from and how; what all have alike stands in the text."""
    names = list(dict.fromkeys(name for arm in results.arms for name in arm.settings))
    values = {name: {arm.settings.get(name, NONE) for arm in results.arms} for name in names}
    differ = [name for name in names if len(values[name]) > 1 and name != "objective"]
    alike = [
        f"{_plain(name)} {values[name].pop()}"
        for name in names
        if name not in differ and name != "objective"
    ]
    columns = (
        Column("Arm", numeric=False),
        Column("Learns from", numeric=False),
        *(Column(_plain(name).capitalize(), numeric=False) for name in differ),
        Column("Best epoch", "mean"),
        Column("Seconds", "per seed, mean"),
    )
    return Section(
        "Settings",
        (f"Alike in all arms: {', '.join(alike)}.",) if alike else (),
        Table(
            "What each arm was trained with",
            columns,
            tuple(_row(arm, differ) for arm in results.arms),
        ),
    )


def _row(arm: ArmResult, names: list[str]) -> tuple[str, ...]:
    best = [trial.best_epoch for trial in arm.trials if trial.best_epoch is not None]
    objective = arm.settings.get("objective")
    source = arm.learns_from
    if objective is not None and objective != source:
        source = f"{source}: {objective}"
    return (
        arm.name,
        source,
        *(arm.settings.get(name, NONE) for name in names),
        significant(fmean(best)) if best else NONE,
        significant(fmean(trial.seconds for trial in arm.trials)),
    )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _repeat(results: StudyResults) -> Section:
    rows = (
        ("seeds", ", ".join(map(str, results.seeds))),
        ("margin", "none" if results.margin is None else f"{results.margin:g}"),
        *results.versions.items(),
    )
    columns = (Column("What", numeric=False), Column("Value", numeric=False))
    return Section(
        "To repeat it",
        ("On a processor, the same command gives the same figures; times vary.",),
        Table("Seeds and versions", columns, rows),
        code=results.command,
    )
