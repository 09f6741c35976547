"""Cost: size, FLOPs, memory, time, and quality against time."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import fmean

from tutelage.evaluation import GenerationSpeed, Latency
from tutelage.reports.figures import Line, trade_off
from tutelage.reports.models import MOST_TOKENS
from tutelage.reports.numbers import NONE, count, counted, file_size, flops, milliseconds
from tutelage.reports.page import Cell, Column, Figure, Section, Table
from tutelage.reports.record import ArmRecord, DecidingMetric, ModelRecord, Record, VariantRecord
from tutelage.reports.sections.outcome import MOST_DRAWN, look, spread
from tutelage.reports.verdict import axis_label, metric_heading, shown

_FEWEST_MARKS = 3  # of two models the tables say as much


def cost_sections(record: Record) -> tuple[Section | None, ...]:
    """Return what the models cost, and what cheaper forms of the student do."""
    return (_models(record), _variants(record))


def _models(record: Record) -> Section:
    sizes = _sizes(record.models.values())
    columns = (
        Column("Model", numeric=False),
        Column("Parameters"),
        Column("File"),
        Column("FLOPs", "per input"),
        Column("Activations", "peak, one input"),
        *(Column(f"Batch {size}", "ms per input (95th)") for size in sizes),
    )
    rows = tuple(_row(model, len(sizes)) for model in record.models.values())
    table = Table("Size and time of the models", columns, rows, _note(record)).without_empty()
    return Section("Cost", table=table, figures=_against_time(record))


def _row(model: ModelRecord, sizes: int) -> tuple[str | Cell, ...]:
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


def _note(record: Record) -> str:
    models = record.models.values()
    timed = [(each, model.device) for model in models for each in model.latencies]
    notes = []
    if any(model.cost is not None and model.cost.flops is not None for model in models):
        notes.append("FLOPs are multiplications and additions in matrix products and convolutions.")
    if record.tokens and timed:
        notes.append(f"An input is the beginning of a text, of at most {MOST_TOKENS} tokens.")
    if timed:
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
