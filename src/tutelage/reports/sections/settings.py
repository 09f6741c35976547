"""How the arms were trained, and how to reproduce the results."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from tutelage.reports.conduct import Edge
from tutelage.reports.numbers import NONE, significant
from tutelage.reports.page import Column, Section, Table
from tutelage.reports.record import ArmRecord, Record
from tutelage.reports.sections.budget import budget_section
from tutelage.reports.sections.outcome import heading
from tutelage.reports.verdict import shown

_PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "accelerate": "Accelerate",
    "numpy": "NumPy",
    "threads": "CPU threads",
}
_TWO = (Column("Setting", numeric=False), Column("Value", numeric=False))


def settings_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the budget, the sweeps, the settings, the versions and the command."""
    if record.is_run:
        return (_of_run(record),)
    return (budget_section(record), _sweeps(record), _of_arms(record), _repeat(record))


def _of_run(record: Record) -> Section:
    rows = [
        (_plain(name), _in_words(value))
        for name, value in record.arm(record.primary).settings.items()
        if not name.endswith("_content")  # hashes, of no use to a reader
    ]
    table = Table("All settings and versions", _TWO, (*rows, *_versions(record)), sortable=False)
    return Section("Settings and versions", table=table)


def _versions(record: Record) -> tuple[tuple[str, str], ...]:
    return tuple((_PACKAGES.get(name, name), each) for name, each in record.versions.items())


def _sweeps(record: Record) -> Section | None:
    metric = record.metric
    if metric is None or not any(arm.tried for arm in record.arms):
        return None
    rows = tuple(
        (
            arm.name,
            each.setting + " (beyond the first values)" * each.is_beyond,
            NONE if each.value is None else shown(each.value, metric, 2),
        )
        for arm in record.arms
        for each in arm.tried
    )
    columns = (
        Column("Arm", numeric=False),
        Column("Setting", numeric=False),
        Column(heading(metric.name).name, "on validation data"),
    )
    note = "“–” marks a loss that was not finite. Each arm has its best setting on validation data."
    table = Table("What was tried for each arm", columns, rows, note)
    text = tuple(_edge(arm.name, each) for arm in record.arms for each in arm.edges)
    return Section("Hyperparameter search", text, table)


def _edge(arm: str, edge: Edge) -> str:
    values = ", ".join(f"{each:g}" for each in edge.values)
    name = _plain(edge.name)
    return f"“{arm}” chose {name} {edge.chosen:g} of {values}: the best may lie beyond."


def _of_arms(record: Record) -> Section:
    """Return the settings of each arm as a table; common settings are in the text."""
    names = list(dict.fromkeys(name for arm in record.arms for name in arm.settings))
    values = {
        name: {_in_words(arm.settings.get(name, NONE)) for arm in record.arms} for name in names
    }
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
    rows = tuple(_row(arm, differ) for arm in record.arms)
    return Section(
        "Settings",
        (f"The same in all arms: {', '.join(alike)}.",) if alike else (),
        Table("What each arm was trained with", columns, rows).without_empty(),
    )


def _row(arm: ArmRecord, names: list[str]) -> tuple[str, ...]:
    best = [trial.best_epoch for trial in arm.trials if trial.best_epoch is not None]
    objective, source = arm.settings.get("objective"), arm.learns_from
    if objective is not None and objective != source:
        source = f"{source}: {objective}"
    return (
        arm.name,
        source,
        *(_in_words(arm.settings.get(name, NONE)) for name in names),
        significant(fmean(best)) if best else NONE,
        significant(fmean(trial.seconds for trial in arm.trials)),
    )


def _repeat(record: Record) -> Section:
    rows = (
        ("seeds", ", ".join(map(str, record.seeds))),
        ("margin", "none" if record.margin is None else f"{record.margin:g}"),
        *_versions(record),
    )
    return Section(
        "Reproducibility",
        ("On a CPU, the same command reproduces the metrics; times vary.",),
        Table("Seeds and versions", _TWO, rows, sortable=False),
        code=record.command,
    )


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _in_words(value: Any) -> str:
    if value is None or value == "None":
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{_plain(str(key))} {item}" for key, item in value.items())
    return str(value)
