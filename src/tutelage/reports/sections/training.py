"""How the arms were trained: curves, data, budget, search, settings, and how to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tutelage.reports import figures
from tutelage.reports.numbers import NONE, count, counted, significant
from tutelage.reports.page import Figure, Section, Table
from tutelage.reports.sections.outcome import arms_drawn, look, metric_title
from tutelage.reports.verdict import axis_label, shown
from tutelage.results.record import FRACTIONS, ArmRecord, Curve, Edge, Overlap, Record, Tuning
from tutelage.tasks.metrics import STANDARD

_NAMED = 3
_PACKAGES = {
    "python": "Python",
    "torch": "PyTorch",
    "accelerate": "Accelerate",
    "numpy": "NumPy",
    "threads": "CPU threads",
}


def curves_section(record: Record) -> Section | None:
    """Return the metrics of each epoch over optimizer steps."""
    if record.is_run:
        found = _curves_of_run(record, record.arm(record.primary).trials[0].curves)
        caption = "Values are logged once an epoch."
    else:
        metric, found = record.metric, []
        if metric is not None:
            lines = _mean_curves(record, f"val/{metric.name}", metric.scale)
            found += _figure(lines, "On validation data", axis_label(metric))
        lines = _mean_curves(record, "train/loss")
        note = "Losses of different objectives cannot be compared by their heights."
        found += _figure(lines, "Training loss", "training loss", note, log=_spans_a_decade(lines))
        caption = "Lines are means over seeds; shading spans the lowest to the highest seed."
        caption += arms_drawn(record)[1]
    return Section("Learning curves", figures=tuple(found), caption=caption) if found else None


def _curves_of_run(record: Record, curves: dict[str, Curve]) -> list[Figure]:
    """Return all curves of a run, those that belong together in one figure."""
    terms = [key for key in curves if key.startswith("train/") and key != "train/loss"]
    fractions = [f"val/{name}" for name in FRACTIONS if record.is_fraction(name)]
    errors = ["val/mse", "val/teacher_mse"]
    domains: dict[str, list[str]] = {}
    for key in curves:
        kind, *rest = key.split("/", 2)
        if kind == "val" and len(rest) > 1:
            domains.setdefault(rest[0], []).append(key)
    by_domain = [key for group in domains.values() for key in group]
    known = {"val/loss", *fractions, *errors, *by_domain}
    own = [key for key in curves if key.startswith("val/") and key not in known]
    on_val = "On validation data."
    groups: list[tuple[Sequence[str], str, str, str]] = [
        (["train/loss", "val/loss"], "Loss", "loss", "The training loss is averaged over epochs."),
        (terms if len(terms) > 1 else [], "Loss terms", "training loss", "Before weighting."),
        (fractions, "Quality on validation data", "%", ""),
        (errors, "Error on validation data", "mean squared error", "From labels and teacher."),
        *(([key], metric_title(key[4:]), _name(key), on_val) for key in own),
        *((keys, metric_title(name) + " by domain" * (f"val/{name}" in curves),
           _name(f"val/{name}"), on_val)
          for name, keys in domains.items()),
    ]  # fmt: skip
    found = []
    for keys, title, y_label, caption in groups:
        scale = record.scale(keys[0].removeprefix("val/")) if keys else 1.0
        unit = ", %" if scale > 1 and y_label != "%" else ""
        drawn = [(key, curves[key]) for key in keys if key in curves and curves[key].values]
        lines = [
            figures.Line(
                _name(key), curve.steps, [scale * each for each in curve.values], look=1 + place
            )
            for place, (key, curve) in enumerate(drawn)
        ]
        log = scale == 1 and _spans_a_decade(lines)
        found += _figure(lines, title, y_label + unit, caption, log=log)
    return found


def _name(key: str) -> str:
    """Return what a curve shows; of several losses which, of a domain its name."""
    if key in ("train/loss", "val/loss"):
        return {"train/loss": "training", "val/loss": "validation"}[key]
    name = key.split("/", 1)[1]
    known = STANDARD[name].words or STANDARD[name].heading.lower() if name in STANDARD else name
    return known.replace("_", " ").rsplit("/", 1)[-1]


def _mean_curves(record: Record, key: str, scale: float = 1.0) -> list[figures.Line]:
    """Return one curve of each arm: the mean and the range over seeds."""
    lines = []
    for arm in arms_drawn(record)[0]:
        found = [trial.curves[key] for trial in arm.trials if key in trial.curves]
        if len(found) < len(arm.trials):
            continue
        # A step at which a seed has no finite value, or which it did not reach, is left out.
        steps = sorted(set.intersection(*(set(each.steps) for each in found)))
        rows = [dict(zip(each.steps, each.values, strict=True)) for each in found]
        passes = [[scale * row[step] for row in rows] for step in steps]
        ends = (list(map(min, passes)), list(map(max, passes))) if len(found) > 1 else (None, None)
        means = [fmean(values) for values in passes]
        lines.append(figures.Line(arm.name, steps, means, *ends, look(record, arm.name)))
    return lines


def _figure(
    lines: list[figures.Line], title: str, y_label: str, caption: str = "", *, log: bool = False
) -> list[Figure]:
    """Return a figure of curves; none without any."""
    if not lines:
        return []
    caption += " The scale is logarithmic." * log
    return [Figure(figures.curves(lines, y_label, log=log), title, caption.strip())]


def _spans_a_decade(lines: Sequence[figures.Line]) -> bool:
    values = [value for line in lines for value in line.values] or [0.0]
    return min(values) > 0 and max(values) > 10 * min(values)


def data_section(record: Record) -> Section | None:
    """Return what each two data sets have in common, what was not compared, and other notes."""
    apart = [
        f"{each.data} and {each.other}" for each in record.overlaps if each.of and not each.examples
    ]
    found = [overlap_text(each) for each in record.overlaps if each.examples]
    unchecked = dict.fromkeys(each.unchecked for each in record.overlaps if each.unchecked)
    pairs = "; ".join(apart) if len(apart) <= _NAMED else f"{len(apart)} pairs of data sets"
    text = (
        *([f"Compared by their inputs, these have no examples in common: {pairs}."] * bool(apart)),
        *found,
        *(f"{each[0].upper()}{each[1:]}." for each in unchecked),
        *record.notes,
    )
    return Section("Data", text) if text else None


def overlap_text(found: Overlap) -> str:
    """Return what two data sets have in common, as a sentence."""
    text = (
        f"{count(found.examples)} of the {counted(found.of, 'example')} of “{found.data}” are in "
        f"“{found.other}” too"
    )
    if found.is_leak:
        return f"{text}, so these data sets are not independent."
    return f"{text}; duplicates within “{found.other}” explain {significant(found.expected)}."


def settings_sections(record: Record) -> tuple[Section | None, ...]:
    """Return the budget, the sweeps, the settings, the versions and the command."""
    if record.is_run:
        settings = record.arm(record.primary).settings
        # Hashes are of no use to a reader.
        facts = {name: settings[name] for name in settings if not name.endswith("_content")}
    else:
        facts = {"seeds": ", ".join(map(str, record.seeds)), "margin": record.margin}
    named = {_PACKAGES.get(name, name): version for name, version in record.versions.items()}
    rows = [
        [("Setting", _plain(name)), ("Value", _in_words(value))]
        for name, value in (facts | named).items()
        if _in_words(value) != NONE
    ]
    if record.is_run:
        table = Table("All settings and versions", rows)
        return (Section("Settings and versions", table=table),)
    text = ("On a CPU, the same command reproduces the metrics; times vary.",)
    table = Table("Seeds and versions", rows)
    repeat = Section("Reproducibility", text, table, code=record.command)
    return (budget_section(record), _sweeps(record), _settings_of_arms(record), repeat)


def budget_section(record: Record) -> Section:
    """Return the settings tried, the optimizer steps and the time of each arm of a study.

    Nothing is said of tuning where no arm was tuned.
    """
    most, tuned = max(map(_tried, record.arms)), any(arm.tuning for arm in record.arms)
    rows = []
    for arm in record.arms:
        tuning, steps = arm.tuning or Tuning(0, 0.0), [trial.steps for trial in arm.trials]
        tried = count(_tried(arm)) + ", fewer" * (_tried(arm) < most)
        if tuning.further:
            tried += f" and {len(arm.tried) - _tried(arm)} of {tuning.further} beyond"
        rows.append(
            [
                ("Arm", arm.name),
                ("Settings tried", tried if tuned else NONE),
                (
                    "Tuning steps",
                    NONE if tuning.steps is None or not tuned else count(tuning.steps),
                ),
                ("Tuning\nseconds", significant(tuning.seconds) if tuned else NONE),
                (
                    "Training steps\nall seeds",
                    NONE if None in steps else count(sum(filter(None, steps))),
                ),
                (
                    "Training\nseconds, all seeds",
                    significant(sum(each.seconds for each in arm.trials)),
                ),
            ]
        )
    notes = [
        (True, "Steps are those of the optimizer."),
        (tuned, "A trial of tuning that is also one of the arm's own, since it has the chosen "
         "setting, is trained once and counted in both."),
        (any(cell == NONE for row in rows for _, cell in row) and tuned,
         "“–” marks steps that are not known: of a function that returns no run, and of trials "
         "that diverged."),
        (any(_tried(arm) < most for arm in record.arms),
         f"“Fewer” marks arms tuned with fewer settings than {most}."),
    ]  # fmt: skip
    note = " ".join(text for applies, text in notes if applies)
    return Section("Budget", table=Table("What each arm took", rows, note))


def _tried(arm: ArmRecord) -> int:
    """Return how many settings were tried, without those beyond the grid, which all may try."""
    return max(1, sum(not each.is_beyond for each in arm.tried))


def tuned_more(record: Record) -> str:
    """Return a warning if the primary arm was tuned more than its control; empty if not."""
    arm, control = record.arm(record.primary), record.control_of(record.primary)
    if control is None or _tried(arm) <= _tried(control):
        return ""
    return (
        f"“{arm.name}” was tuned with {counted(_tried(arm), 'setting')}, “{control.name}” with "
        f"{counted(_tried(control), 'setting')}: some of the difference may come from tuning."
    )


def _sweeps(record: Record) -> Section | None:
    metric = record.metric
    if metric is None or not any(arm.tried for arm in record.arms):
        return None
    rows = [
        [
            ("Arm", arm.name),
            ("Setting", each.setting + " (beyond the first values)" * each.is_beyond),
            (
                f"{metric_title(metric.name)}\non validation data",
                NONE if each.value is None else shown(each.value, metric, 2),
            ),
        ]
        for arm in record.arms
        for each in arm.tried
    ]
    note = "Each arm has its best setting on validation data."
    if any(cell == NONE for row in rows for _, cell in row):
        note += " “–” marks a loss that was not finite."
    chose: dict[str, list[str]] = {}
    for arm in record.arms:
        for each in arm.edges:
            chose.setdefault(_edge(each), []).append(f"“{arm.name}”")
    text = tuple(f"{', '.join(arms)} chose {edge}" for edge, arms in chose.items())
    table = Table("What was tried for each arm", rows, note)
    return Section("Hyperparameter search", text, table)


def _edge(edge: Edge) -> str:
    values = ", ".join(f"{each:g}" for each in edge.values)
    return f"{_plain(edge.name)} {edge.chosen:g} of {values}: the best may lie beyond."


def _settings_of_arms(record: Record) -> Section:
    """Return the settings of each arm as a table; common settings are in the text."""
    names = dict.fromkeys(name for arm in record.arms for name in arm.settings)
    values = {
        name: [_in_words(arm.settings.get(name)) for arm in record.arms]
        for name in names
        if name != "objective"  # beside what it learns from
    }
    differ = [name for name, found in values.items() if len(set(found)) > 1]
    alike = [
        f"{_plain(name)} {found[0]}"
        for name, found in values.items()
        if name not in differ and found[0] != NONE
    ]
    selected = "val" in record.examples
    rows = []
    for place, arm in enumerate(record.arms):
        best = [trial.best_epoch for trial in arm.trials if trial.best_epoch is not None]
        objective, source = arm.settings.get("objective"), arm.learns_from
        rows.append(
            [
                ("Arm", arm.name),
                (
                    "Learns from",
                    source if objective in (None, source) else f"{source}: {objective}",
                ),
                *((_plain(name).capitalize(), values[name][place]) for name in differ),
                ("Best epoch\nmean", f"{fmean(best):.3g}" if best and selected else NONE),
                (
                    "Seconds\nper seed, mean",
                    significant(fmean(each.seconds for each in arm.trials)),
                ),
            ]
        )
    table = Table("What each arm was trained with", rows)
    same = f"The same in all arms: {', '.join(alike)}."
    return Section("Settings", (same,) if alike else (), table)


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _in_words(value: Any) -> str:
    """Return a setting's value; "–" where it is not set."""
    if value is None or str(value).lower() == "none":
        return NONE
    if isinstance(value, dict):
        return ", ".join(f"{_plain(str(key))} {item}" for key, item in value.items())
    return str(value)
