"""How the arms were trained: curves, data, budget, search, settings, and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tutelage.reports import figures
from tutelage.reports.canvas import LOOKS
from tutelage.reports.numbers import NONE, count, counted, significant
from tutelage.reports.page import Cell, Column, Figure, Section, Table
from tutelage.reports.sections.outcome import MOST_DRAWN, heading, look
from tutelage.reports.verdict import axis_label, control_of, shown
from tutelage.results.record import (
    FRACTIONS,
    ArmRecord,
    Curve,
    DecidingMetric,
    Edge,
    Overlap,
    Record,
)

_LOSSES = ("train/loss", "val/loss")
_FRACTIONS = ("val/accuracy", "val/label_accuracy", "val/agreement")
_ERRORS = ("val/mse", "val/teacher_mse")
_LEAD = "val/lead/"
_LABELS = {
    "train/loss": "training",
    "val/loss": "validation",
    "val/accuracy": "accuracy",
    "val/label_accuracy": "accuracy of labels",
    "val/agreement": "agreement with the teacher",
    "val/f1": "F1",
    "val/f1_micro": "micro F1",
    "val/f1_macro": "macro F1",
    "val/mse": "from the labels",
    "val/teacher_mse": "from the teacher",
}
_NAMED = 3
_BUDGET = (
    Column("Arm", numeric=False),
    Column("Settings tried"),
    Column("Tuning steps"),
    Column("Tuning", "seconds"),
    Column("Training steps", "all seeds"),
    Column("Training", "seconds, all seeds"),
)
_PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "accelerate": "Accelerate",
    "numpy": "NumPy",
    "threads": "CPU threads",
}
_TWO = (Column("Setting", numeric=False), Column("Value", numeric=False))


def curves_section(record: Record) -> Section | None:
    """Return the metrics of each epoch over optimizer steps."""
    if record.is_run:
        found = _curves_of_run(record, record.arm(record.primary).trials[0].curves)
        caption = "Values are logged once an epoch."
    else:
        found = [_curves_of_arms(record, "train/loss")]
        if record.metric is not None:
            found.insert(0, _curves_of_arms(record, f"val/{record.metric.name}", record.metric))
        caption = "Lines are means over seeds; shading spans the lowest to the highest seed."
    drawn = tuple(figure for figure in found if figure is not None)
    return Section("Learning curves", figures=drawn, caption=caption) if drawn else None


def _curves_of_run(record: Record, curves: dict[str, Curve]) -> list[Figure | None]:
    """Return all curves, those that belong together in one figure."""
    terms = [key for key in curves if key.startswith("train/") and key != "train/loss"]
    several = "val/label_accuracy" in curves
    fractions = tuple(f"val/{name}" for name in FRACTIONS if record.is_fraction(name))
    of_labels = tuple(key for key in fractions if key not in _FRACTIONS)
    by_domain = _by_domain(list(curves))
    leads = [key for key in curves if key.startswith(_LEAD)]
    known = {*_LOSSES, *_FRACTIONS, *of_labels, *_ERRORS, *leads}
    known |= {key for group in by_domain.values() for key in group}
    own = [key for key in curves if key.startswith("val/") and key not in known]
    on_val, counted = "On validation data.", "labels" if several else "examples"
    counted = "tokens" if "val/perplexity" in curves else counted
    groups = [
        (_LOSSES, "Loss", "loss", "The training loss is averaged over each epoch."),
        (terms if len(terms) > 1 else (), "Loss terms", "training loss", "Before weighting."),
        (_FRACTIONS, "Quality on validation data", f"% of {counted}",
         f"Fraction of {counted} whose prediction is the label's, or the teacher's."),
        (of_labels, "Precision and recall on validation data", "%", "Summaries of both."),
        (_ERRORS, "Error on validation data", "mean squared error",
         "Mean squared distance from labels and teacher."),
        *(((key,), _name(key), _name(key), on_val) for key in own),
        (leads, "Where the student is ahead", "lead over the teacher",
         "On validation data. A group above 0 is not distilled in the next epoch."),
        *((group, f"{_name(key).capitalize()} by domain",
           "% of examples" if key in _FRACTIONS else _name(key), "On the validation data of each.")
          for key, group in by_domain.items()),
    ]  # fmt: skip
    return [_grouped(record, curves, *group) for group in groups]


def _by_domain(keys: Sequence[str]) -> dict[str, list[str]]:
    """Return the metrics that are told by domain, `val/accuracy/photo`, by metric."""
    groups: dict[str, list[str]] = {}
    for key in keys:
        kind, *rest = key.split("/", 2)
        if kind == "val" and len(rest) > 1 and f"val/{rest[0]}" in keys:
            groups.setdefault(f"val/{rest[0]}", []).append(key)
    return groups


def _grouped(
    record: Record,
    curves: dict[str, Curve],
    keys: Sequence[str],
    title: str,
    y_label: str,
    caption: str,
) -> Figure | None:
    """Return a figure of the metrics that exist among those keys; None without any."""
    lines = [
        figures.Line(
            _LABELS.get(key, _name(key).rsplit("/", 1)[-1]),
            curves[key].steps,
            curves[key].values,
            look=1 + place % (len(LOOKS) - 1),
        )
        for place, key in enumerate(keys)
        if key in curves and curves[key].values
    ]
    if not lines:
        return None
    as_percent = record.is_fraction(keys[0].removeprefix("val/"))
    log = not as_percent and _spans_a_decade(lines)
    svg = figures.curves(lines, y_label, log=log, as_percent=as_percent)
    return Figure(svg, title, f"{caption} The scale is logarithmic." if log else caption)


def _curves_of_arms(
    record: Record, key: str, metric: DecidingMetric | None = None
) -> Figure | None:
    """Return one curve of all arms: the mean and the range over seeds."""
    lines = [
        _mean_curve(record, arm, key)
        for arm in record.arms[:MOST_DRAWN]
        if all(key in trial.curves for trial in arm.trials)
    ]
    if not lines:
        return None
    as_percent = metric is not None and metric.is_fraction
    log = metric is None and _spans_a_decade(lines)
    label = "training loss" if metric is None else axis_label(metric)
    svg = figures.curves(lines, label, log=log, as_percent=as_percent)
    title = "Training loss" if metric is None else "On validation data"
    note = "Arms have different losses: their heights cannot be compared." if metric is None else ""
    return Figure(svg, title, note)


def _spans_a_decade(lines: Sequence[figures.Line]) -> bool:
    values = [value for line in lines for value in line.values]
    return min(values) > 0 and max(values) > 10 * min(values)


def _mean_curve(record: Record, arm: ArmRecord, key: str) -> figures.Line:
    found = [trial.curves[key] for trial in arm.trials]
    # A step at which a seed has no finite value, or which it did not reach, is left out for all.
    steps = sorted(set.intersection(*(set(each.steps) for each in found)))
    rows = [dict(zip(each.steps, each.values, strict=True)) for each in found]
    passes = [[row[step] for row in rows] for step in steps]
    several = len(found) > 1
    return figures.Line(
        arm.name,
        steps,
        [fmean(values) for values in passes],
        [min(values) for values in passes] if several else None,
        [max(values) for values in passes] if several else None,
        look(record, arm.name),
    )


def _name(key: str) -> str:
    return key.split("/", 1)[1].replace("_", " ")


def data_section(record: Record) -> Section | None:
    """Return what each two data sets have in common, what was not compared, and other notes."""
    if not record.overlaps and not record.notes:
        return None
    apart = [
        f"“{each.other}” and “{each.data}”"
        for each in record.overlaps
        if each.of and not each.examples
    ]
    found = [overlap_text(each) for each in record.overlaps if each.examples]
    unchecked = dict.fromkeys(each.unchecked for each in record.overlaps if each.unchecked)
    pairs = ", ".join(apart) if len(apart) <= _NAMED else f"{len(apart)} pairs of data sets"
    none = [f"Compared by their inputs, {pairs} have no examples in common."]
    text = (
        *(none if apart else ()),
        *found,
        *(f"{each[0].upper()}{each[1:]}." for each in unchecked),
        *record.notes,
    )
    return Section("Data", text)


def overlap_text(found: Overlap) -> str:
    """Return what two data sets have in common, as a sentence."""
    text = (
        f"{count(found.examples)} of the {counted(found.of, 'example')} of “{found.data}” are in "
        f"“{found.other}” too"
    )
    if found.is_leak:
        return f"{text}, so these data sets are not independent."
    return f"{text}; duplicates within “{found.other}” explain {significant(found.expected)}."


def budget_section(record: Record) -> Section | None:
    """Return the settings tried, the optimizer steps and the time of each arm of a study."""
    if record.is_run:
        return None
    most = max(map(_tried, record.arms))
    rows = tuple(_budget_row(arm, most) for arm in record.arms)
    note = (
        "A trial of tuning that is also one of the arm's own, since it has the chosen setting, is "
        "trained once and counted in both. Steps are those of the optimizer; “–” marks steps that "
        "are not known: of a function that returns no run, and of trials that diverged."
    )
    if any(_tried(arm) < most for arm in record.arms):
        note += f" “Fewer” marks arms tuned with fewer settings than {most}."
    return Section("Budget", table=Table("What each arm took", _BUDGET, rows, note))


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


def _budget_row(arm: ArmRecord, most: int) -> tuple[str | Cell, ...]:
    tuning, steps = arm.tuning, [trial.steps for trial in arm.trials]
    known = [each for each in steps if each is not None]
    tuning_steps = 0 if tuning is None else tuning.steps
    return (
        arm.name,
        Cell(_number_tried(arm, most), len(arm.tried) or 1),
        NONE if tuning_steps is None else count(tuning_steps),
        significant(0.0 if tuning is None else tuning.seconds),
        NONE if len(known) < len(steps) else count(sum(known)),
        significant(sum(trial.seconds for trial in arm.trials)),
    )


def _number_tried(arm: ArmRecord, most: int) -> str:
    text = count(_tried(arm)) + (", fewer" if _tried(arm) < most else "")
    if arm.tuning is None or not arm.tuning.further:
        return text
    return f"{text} and {len(arm.tried) - _tried(arm)} of {arm.tuning.further} beyond"


def settings_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the budget, the sweeps, the settings, the versions and the command."""
    if record.is_run:
        return (_settings_of_run(record),)
    return (budget_section(record), _sweeps(record), _settings_of_arms(record), _repeat(record))


def _settings_of_run(record: Record) -> Section:
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


def _settings_of_arms(record: Record) -> Section:
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
    rows = tuple(_settings_row(arm, differ) for arm in record.arms)
    return Section(
        "Settings",
        (f"The same in all arms: {', '.join(alike)}.",) if alike else (),
        Table("What each arm was trained with", columns, rows).without_empty(),
    )


def _settings_row(arm: ArmRecord, names: list[str]) -> tuple[str, ...]:
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
