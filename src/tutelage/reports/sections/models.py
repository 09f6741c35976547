"""What the models cost, and for language models how fast they generate and draft."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    percent,
    significant,
    times,
)
from tutelage.reports.page import Cell, Column, Figure, Section, Table
from tutelage.reports.sections.outcome import MOST_DRAWN, first_column, look, mean_text, spread
from tutelage.reports.verdict import axis_label, metric_heading, shown
from tutelage.results.models import MOST_TOKENS, NEW_TOKENS
from tutelage.results.record import ArmRecord, DecidingMetric, ModelRecord, Record, VariantRecord
from tutelage.tasks import TASKS

_FEWEST_MARKS = 3  # of two models the tables say as much
_DRAFTED = 4
_LONGEST = 16  # drafted tokens that are considered


def cost_sections(record: Record) -> tuple[Section | None, ...]:
    """Return what the models cost, and what cheaper forms of the student do."""
    return (_costs(record), _variants(record))


def _costs(record: Record) -> Section:
    sizes = _sizes(record.models.values())
    columns = (
        Column("Model", numeric=False),
        Column("Parameters"),
        Column("File"),
        Column("FLOPs", "per input"),
        Column("Activations", "peak, one input"),
        *(Column(f"Batch {size}", "ms per input (95th)") for size in sizes),
    )
    rows = tuple(_cost_row(model, len(sizes)) for model in record.models.values())
    table = Table("Size and time of the models", columns, rows, _cost_note(record)).without_empty()
    return Section("Cost", table=table, figures=_against_time(record))


def _cost_row(model: ModelRecord, sizes: int) -> tuple[str | Cell, ...]:
    cost, times = model.cost, _times(model.latencies, sizes)
    if cost is None:
        return (model.name, NONE, NONE, NONE, NONE, *times)
    memory = cost.activation_bytes
    return (
        model.name,
        count(cost.parameters),
        file_size(cost.file_bytes),
        NONE if cost.flops is None else Cell(flops(cost.flops), cost.flops),
        NONE if memory is None else Cell(file_size(memory), memory),
        *times,
    )


def _times(latencies: tuple[Latency, ...], sizes: int) -> tuple[str | Cell, ...]:
    if not latencies:
        return (NONE,) * sizes
    tails = (milliseconds(each.percentile_95 / each.batch_size) for each in latencies)
    return tuple(
        Cell(f"{milliseconds(each.per_input)} ({tail})", each.per_input)
        for each, tail in zip(latencies, tails, strict=True)
    )


def _sizes(models: Iterable[ModelRecord | VariantRecord]) -> list[int]:
    """Return the batch sizes that were timed; not every model can be timed."""
    timed = next((model.latencies for model in models if model.latencies), ())
    return [each.batch_size for each in timed]


def _cost_note(record: Record) -> str:
    models = record.models.values()
    timed = [(each, model.device) for model in models for each in model.latencies]
    notes = []
    if any(model.cost is not None and model.cost.flops is not None for model in models):
        notes.append("FLOPs are multiplications and additions in matrix products and convolutions.")
    if timed:
        notes += filter(None, [TASKS[record.task].words.timed.format(tokens=MOST_TOKENS)])
        notes.append(
            f"Times are medians (95th percentile in brackets) on {measured_on(*timed[0])}; models "
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
    return " ".join([*notes, *not_measured(missing)])


def measured_on(timed: Latency | GenerationSpeed, device: str) -> str:
    """Return where a time was measured: on how many threads, or on which other device."""
    return counted(timed.threads, "CPU thread") if device == "cpu" else device


def not_measured(reasons: Iterable[tuple[str, str]]) -> list[str]:
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
    everyone = list(record.judged().values())[: MOST_DRAWN + 1]
    marks = [mark for arm in everyone if (mark := _mark(record, arm, metric)) is not None]
    times = {mark.x[0] for mark in marks}
    if len(marks) < _FEWEST_MARKS or len(times) < 2:  # noqa: PLR2004 - no trade-off to see
        return ()
    return (
        Figure(
            trade_off(marks, axis_label(metric), as_percent=metric.is_fraction),
            "Quality against time for one input",
            "Bars are 95 % intervals; the teacher is a single model and has none. "
            "Models of equal time are drawn side by side.",
        ),
    )


def _mark(record: Record, arm: ArmRecord, metric: DecidingMetric) -> Line | None:
    model, values = record.model_of(arm), arm.values(metric.name)
    if model is None or not model.latencies or not values:
        return None
    mean, interval = fmean(values), spread(arm, metric.name)
    low, high = (mean, mean) if interval is None else (interval.low, interval.high)
    time = 1000 * model.latencies[0].per_input
    return Line(arm.name, [time], [mean], [low], [high], look(record, arm.name))


def _variants(record: Record) -> Section | None:
    model, metric = record.model_of(record.arm(record.primary)), record.metric
    if model is None or metric is None or not model.variants:
        return None
    sizes = _sizes((model, *model.variants))
    columns = (
        Column("Variant", numeric=False),
        Column(metric_heading(metric)),
        Column("File"),
        *(Column(f"Batch {size}", "ms per input (95th)") for size in sizes),
    )
    rows = tuple(
        (
            each.name,
            NONE if each.metric is None else shown(each.metric, metric, 2),
            NONE if each.file_bytes is None else file_size(each.file_bytes),
            *_times(each.latencies, len(sizes)),
        )
        for each in model.variants
    )
    missing = [f"{each.name}: {each.reason}" for each in model.variants if each.reason]
    note = "Not available here: " + "; ".join(missing) + "." if missing else ""
    return Section(
        "Cheaper variants of the student",
        (f"The first seed's student “{record.primary}”, on the same test data, timed in turns.",),
        Table("Quality and time of each variant", columns, rows, note),
    )


def language_sections(record: Record) -> tuple[Section | None, ...]:
    """Return generation speed and that of speculative decoding; nothing of other models."""
    return (_generation(record), _drafts(record)) if TASKS[record.task].generates else ()


def _generation(record: Record) -> Section | None:
    models = list(record.models.values())
    timed = [(each, model.device) for model in models for each in model.generation]
    sizes = sorted({each.batch_size for each, _ in timed})
    reasons = not_measured((model.ungenerated, model.name) for model in models)
    if not sizes:
        return Section("Generation speed", tuple(reasons)) if reasons else None
    columns = (
        Column("Model", numeric=False),
        *(Column("First token", f"ms, batch {size}") for size in sizes),
        *(Column("Tokens a second", f"batch {size}") for size in sizes),
    )
    rows = tuple((model.name, *_speeds(model.generation, len(sizes))) for model in models)
    note = (
        f"Medians on {measured_on(*timed[0])}. After the beginning of a text, {NEW_TOKENS} tokens "
        "are generated, each the most probable one, with a cache of keys and values. The first "
        "token comes after the whole prompt was read; tokens a second are those after it, of all "
        "texts of a batch."
    )
    table = Table("Generation speed of the models", columns, rows, " ".join([note, *reasons]))
    return Section("Generation speed", table=table)


def _speeds(found: Sequence[GenerationSpeed], sizes: int) -> tuple[str | Cell, ...]:
    if not found:
        return (NONE,) * (2 * sizes)
    first = (Cell(milliseconds(each.first_token), each.first_token) for each in found)
    rest = (
        Cell(significant(each.tokens_per_second), each.tokens_per_second)
        if each.per_token
        else NONE
        for each in found
    )
    return (*first, *rest)


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
    columns = (
        first_column(record),
        Column("Acceptance rate", "% of tokens"),
        Column("Time for a token", "% of the teacher's"),
        Column("Speed-up", f"{_DRAFTED} drafted tokens"),
        Column("Best", "drafted tokens: speed-up"),
    )
    rows = tuple(_draft(arm, record.model_of(arm), teacher) for arm in arms)
    note = (
        "The acceptance rate is Σ min(p, q) over the vocabulary, the mean over the tokens of these "
        "texts; it may be another one on texts that the teacher itself generates. The speed-up is "
        "that expected of batches of one text (Leviathan et al. 2023), if the teacher judges "
        f"several tokens in the time of one; below 1 it is slower. Up to {_LONGEST} drafted tokens "
        "are considered."
    )
    if all(_relative_time(record.model_of(arm), teacher) is None for arm in arms):
        note += " No speed-up is shown, since the generation of both models was not timed."
    table = Table("The student as the draft of its teacher", columns, rows, note).without_empty()
    return Section("Speculative decoding", (text,), table)


def _draft(
    arm: ArmRecord, model: ModelRecord | None, teacher: ModelRecord | None
) -> tuple[str | Cell, ...]:
    values = arm.values("acceptance_rate")
    shown = mean_text(values, as_percent=True, interval=spread(arm, "acceptance_rate"))
    cost, rate = _relative_time(model, teacher), min(fmean(values), 1.0)
    if cost is None:
        return (arm.name, shown, NONE, NONE, NONE)
    speedups = {
        length: speculative_speedup(rate, cost, length) for length in range(1, _LONGEST + 1)
    }
    best = max(speedups, key=lambda length: speedups[length])
    most = f"{best}: {times(speedups[best])}" if speedups[best] > 1 else "none"
    usual = Cell(times(speedups[_DRAFTED]), speedups[_DRAFTED])
    return (arm.name, shown, percent(cost, 0).removesuffix(" %"), usual, Cell(most, speedups[best]))


def _relative_time(model: ModelRecord | None, teacher: ModelRecord | None) -> float | None:
    """Return the student's time for a token divided by the teacher's, in batches of one."""
    pair = [
        next((each.per_token for each in one.generation if each.batch_size == 1), 0.0)
        for one in (model, teacher)
        if one is not None
    ]
    return pair[0] / pair[1] if len(pair) == 2 and all(pair) else None  # noqa: PLR2004
