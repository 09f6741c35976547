"""What the models cost, and for language models how fast they generate and draft."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from tutelage.evaluation import GenerationSpeed, Latency, speculative_speedup
from tutelage.reports.figures import Line, trade_off
from tutelage.reports.numbers import (
    NONE,
    count,
    counted,
    file_size,
    flops,
    milliseconds,
    significant,
    times,
)
from tutelage.reports.page import Figure, Row, Section, Table
from tutelage.reports.sections.outcome import (
    arms_drawn,
    interval_drawn,
    left_out,
    look,
    mean_text,
    metric_title,
)
from tutelage.reports.verdict import axis_label, shown
from tutelage.results.models import MOST_TOKENS, NEW_TOKENS
from tutelage.results.record import ArmRecord, DecidingMetric, ModelRecord, Record, VariantRecord
from tutelage.tasks import TASKS

_FEWEST_MARKS = 3  # of two models the tables say as much
_DRAFTED = 4
_LONGEST = 16  # drafted tokens that are considered


def cost_sections(record: Record) -> tuple[Section | None, ...]:
    """Return what the models cost, and what cheaper forms of the student do."""
    models = record.models.values()
    rows = []
    for model in models:
        cost = model.cost
        flops_, memory = (None, None) if cost is None else (cost.flops, cost.activation_bytes)
        rows.append(
            [
                ("Model", model.name),
                ("Parameters", NONE if cost is None else count(cost.parameters)),
                ("File", NONE if cost is None else file_size(cost.file_bytes)),
                ("FLOPs\nper input", NONE if flops_ is None else flops(flops_)),
                ("Activations\npeak, one input", NONE if memory is None else file_size(memory)),
                *_times(model, models),
            ]
        )
    table = Table("Size and time of the models", rows, _cost_note(record))
    return (Section("Cost", table=table, figures=_against_time(record)), _variants(record))


def _times(
    model: ModelRecord | VariantRecord, models: Iterable[ModelRecord | VariantRecord]
) -> Row:
    """Return the time of a model for each batch size at which any of them was timed."""
    found = {each.batch_size: each for each in model.latencies}
    sizes = sorted({each.batch_size for other in models for each in other.latencies})
    return [
        (f"Batch {size}\nms per input (95th)", _time(found[size]) if size in found else NONE)
        for size in sizes
    ]


def _time(found: Latency) -> str:
    tail = milliseconds(found.percentile_95 / found.batch_size)
    return f"{milliseconds(found.per_input)} ({tail})"


def _cost_note(record: Record) -> str:
    models = record.models.values()
    timed = [(each, model.device) for model in models for each in model.latencies]
    notes = []
    if any(model.cost is not None and model.cost.flops is not None for model in models):
        notes.append("FLOPs are multiplications and additions in matrix products and convolutions.")
    if timed:
        notes += filter(None, [TASKS[record.task].words.timed.format(tokens=MOST_TOKENS)])
        notes.append(
            f"Times are medians (95th percentile in brackets) on {_measured_on(*timed[0])}; models "
            "take turns after a warm-up."
        )
    if not record.measured:
        notes.append("Parameters are counted from the weights file and include buffers.")
    arm, teacher = record.teacher, record.model_of(record.teacher)
    if arm and teacher and teacher.cost is not None and teacher.name != arm.name:
        notes.append(
            "The teachers' size is their total; FLOPs and time are those of the teachers that an "
            "input is given to."
        )
    missing = []
    for model in models:
        counts = "size" if model.cost is None else "FLOPs and memory"
        missing += [(model.untimed, f"time of {model.name}")]
        missing += [(model.uncounted, f"{counts} of {model.name}")]
    return " ".join([*notes, *_not_measured(missing)])


def _measured_on(timed: Latency | GenerationSpeed, device: str) -> str:
    """Return where a time was measured: on how many threads, or on which other device."""
    return counted(timed.threads, "CPU thread") if device == "cpu" else device


def _not_measured(reasons: Iterable[tuple[str, str]]) -> list[str]:
    """Return what could not be measured in sentences, from pairs of a reason, or "", and a name."""
    missing: dict[str, list[str]] = {}
    for why, what in reasons:
        if why:
            missing.setdefault(why, []).append(what)
    return [f"Not measured: {', '.join(what)} ({why})." for why, what in missing.items()]


def _against_time(record: Record) -> tuple[Figure, ...]:
    metric = record.metric
    if metric is None:
        return ()
    arms, rest = arms_drawn(record)
    everyone = [each for each in (record.teacher, *arms) if each is not None]
    marks = [mark for arm in everyone if (mark := _mark(record, arm, metric)) is not None]
    if len(marks) < _FEWEST_MARKS or len({mark.x[0] for mark in marks}) < 2:  # noqa: PLR2004 - no trade-off to see
        return ()
    return (
        Figure(
            trade_off(marks, axis_label(metric)),
            "Quality against time for one input",
            "Bars are 95 % intervals; the teacher is a single model and has none. "
            f"Models of equal time are drawn side by side.{rest}" + left_out(record, metric.name),
        ),
    )


def _mark(record: Record, arm: ArmRecord, metric: DecidingMetric) -> Line | None:
    model, values = record.model_of(arm), arm.values(metric.name)
    if model is None or not model.latencies or not values:
        return None
    mean = metric.scale * fmean(values)
    low, high = interval_drawn(record, metric.name, arm) or (mean, mean)
    time = 1000 * model.latencies[0].per_input
    return Line(arm.name, [time], [mean], [low], [high], look(record, arm.name))


def _variants(record: Record) -> Section | None:
    model, metric = record.model_of(record.arm(record.primary)), record.metric
    if model is None or metric is None or not model.variants:
        return None
    rows = [
        [
            ("Variant", each.name),
            (
                metric_title(metric.name),
                NONE if each.metric is None else shown(each.metric, metric, 2),
            ),
            ("File", NONE if each.file_bytes is None else file_size(each.file_bytes)),
            *_times(each, (model, *model.variants)),
        ]
        for each in model.variants
    ]
    missing = [f"{each.name}: {each.reason}" for each in model.variants if each.reason]
    note = "Not available here: " + "; ".join(missing) + "." if missing else ""
    return Section(
        "Cheaper variants of the student",
        (f"The first seed's student “{record.primary}”, on the same test data, timed in turns.",),
        Table("Quality and time of each variant", rows, note),
    )


def language_sections(record: Record) -> tuple[Section | None, ...]:
    """Return generation speed and that of speculative decoding; nothing of other models."""
    return (_generation(record), _drafts(record)) if TASKS[record.task].generates else ()


def _generation(record: Record) -> Section | None:
    models = list(record.models.values())
    timed = [(each, model.device) for model in models for each in model.generation]
    sizes = sorted({each.batch_size for each, _ in timed})
    reasons = _not_measured((model.ungenerated, model.name) for model in models)
    if not sizes:
        return Section("Generation speed", tuple(reasons)) if reasons else None
    rows = []
    for model in models:
        found = {each.batch_size: each for each in model.generation}
        row = [("Model", model.name)]
        for size in sizes:
            each = found.get(size)
            first = milliseconds(each.first_token) if each else NONE
            row.append((f"First token\nms, batch {size}", first))
        for size in sizes:
            speed = found[size].tokens_per_second if size in found and found[size].per_token else 0
            row.append((f"Tokens a second\nbatch {size}", significant(speed) if speed else NONE))
        rows.append(row)
    note = (
        f"Medians on {_measured_on(*timed[0])}. After the beginning of a text, {NEW_TOKENS} tokens "
        "are generated, each the most probable one, with a cache of keys and values. The first "
        "token comes after the whole prompt was read; tokens a second are those after it, of all "
        "texts of a batch."
    )
    table = Table("Generation speed of the models", rows, " ".join([note, *reasons]))
    return Section("Generation speed", table=table)


def _drafts(record: Record) -> Section | None:
    """Return how often the teacher accepts the student's tokens, and the speed-up that gives."""
    if record.teacher is None:
        return None
    text = (
        "In speculative decoding the student proposes tokens, and the teacher judges several at "
        "once: what is written is distributed as the teacher's own text."
    )
    arms = [arm for arm in record.arms if arm.values("acceptance_rate")]
    if not arms:
        why = record.unmeasured or "the teacher has no probability of each of the student's tokens"
        return Section("Speculative decoding", (text, f"Not measured: {why}."))
    teacher = record.model_of(record.teacher)
    costs = [_relative_time(record.model_of(arm), teacher) for arm in arms]
    rows = [_draft(record, arm, cost) for arm, cost in zip(arms, costs, strict=True)]
    note = (
        "The acceptance rate is Σ min(p, q) over the vocabulary, the mean over the tokens of these "
        "texts; it may be another one on texts that the teacher itself generates. The speed-up is "
        "that expected of batches of one text (Leviathan et al. 2023), if the teacher judges "
        f"several tokens in the time of one; below 1 it is slower. Up to {_LONGEST} drafted tokens "
        "are considered."
    ) + left_out(record, "acceptance_rate")
    if not any(costs):
        note += " No speed-up is shown, since the generation of both models was not timed."
    table = Table("The student as the draft of its teacher", rows, note)
    return Section("Speculative decoding", (text,), table)


def _draft(record: Record, arm: ArmRecord, cost: float | None) -> Row:
    rate, share, usual, most = min(fmean(arm.values("acceptance_rate")), 1.0), NONE, NONE, NONE
    if cost is not None:
        speedups = {each: speculative_speedup(rate, cost, each) for each in range(1, _LONGEST + 1)}
        best = max(speedups, key=lambda length: speedups[length])
        share, usual = f"{100 * cost:.0f}", times(speedups[_DRAFTED])
        most = f"{best}: {times(speedups[best])}" if speedups[best] > 1 else "none"
    return [
        ("Model", arm.name),
        ("Acceptance rate\n% of tokens", mean_text(record, arm, "acceptance_rate")),
        ("Time for a token\n% of the teacher's", share),
        (f"Speed-up\n{_DRAFTED} drafted tokens", usual),
        ("Best\ndrafted tokens: speed-up", most),
    ]


def _relative_time(model: ModelRecord | None, teacher: ModelRecord | None) -> float | None:
    """Return the student's time for a token divided by the teacher's, in batches of one."""
    pair = [
        next((each.per_token for each in one.generation if each.batch_size == 1), 0.0)
        for one in (model, teacher)
        if one is not None
    ]
    return pair[0] / pair[1] if len(pair) == 2 and all(pair) else None  # noqa: PLR2004
