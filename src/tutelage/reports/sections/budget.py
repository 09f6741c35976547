"""What tuning and training each arm took."""

from __future__ import annotations

from tutelage.reports.numbers import NONE, count, counted, significant
from tutelage.reports.page import Cell, Column, Section, Table
from tutelage.reports.record import ArmRecord, Record
from tutelage.reports.verdict import control_of

_COLUMNS = (
    Column("Arm", numeric=False),
    Column("Settings tried"),
    Column("Tuning steps"),
    Column("Tuning", "seconds"),
    Column("Training steps", "all seeds"),
    Column("Training", "seconds, all seeds"),
)


def budget_section(record: Record) -> Section | None:
    """Return the settings tried, the optimizer steps and the time of each arm of a study."""
    if record.is_run:
        return None
    most = max(map(_tried, record.arms))
    rows = tuple(_row(arm, most) for arm in record.arms)
    note = (
        "A trial of tuning that is also one of the arm's own, since it has the chosen setting, is "
        "trained once and counted in both. Steps are those of the optimizer; “–” marks steps that "
        "are not known: of a function that returns no run, and of trials that diverged."
    )
    if any(_tried(arm) < most for arm in record.arms):
        note += f" “Fewer” marks arms tuned with fewer settings than {most}."
    return Section("Budget", table=Table("What each arm took", _COLUMNS, rows, note))


def tuned_more(record: Record) -> str:
    """Return a warning if the primary arm was tuned more than its control; empty if not."""
    arm, control = record.arm(record.primary), control_of(record, record.primary)
    if control is None or _tried(arm) <= _tried(control):
        return ""
    return (
        f"“{arm.name}” was tuned with {counted(_tried(arm), 'setting')}, “{control.name}” with "
        f"{counted(_tried(control), 'setting')}: some of the difference may come from tuning."
    )


def _tried(arm: ArmRecord) -> int:
    """Return how many settings were tried, without those beyond the grid, which all may try."""
    return max(1, sum(not each.is_beyond for each in arm.tried))


def _row(arm: ArmRecord, most: int) -> tuple[str | Cell, ...]:
    tuning, steps = arm.tuning, [trial.steps for trial in arm.trials]
    known = [each for each in steps if each is not None]
    tuning_steps = 0 if tuning is None else tuning.steps
    return (
        arm.name,
        Cell(_settings(arm, most), len(arm.tried) or 1),
        NONE if tuning_steps is None else count(tuning_steps),
        significant(0.0 if tuning is None else tuning.seconds),
        NONE if len(known) < len(steps) else count(sum(known)),
        significant(sum(trial.seconds for trial in arm.trials)),
    )


def _settings(arm: ArmRecord, most: int) -> str:
    text = count(_tried(arm)) + (", fewer" if _tried(arm) < most else "")
    if arm.tuning is None or not arm.tuning.further:
        return text
    return f"{text} and {len(arm.tried) - _tried(arm)} of {arm.tuning.further} beyond"
