"""What the models take: size, operations, memory, time, and quality against time."""

from __future__ import annotations

from statistics import fmean

from tutelage.evaluation import Latency
from tutelage.reports import Cell, Column, Figure, Section, Table
from tutelage.reports.figures import Mark, trade_off
from tutelage.reports.numbers import NONE, count, file_size, milliseconds, operations
from tutelage.studies.page.outcome import MOST_DRAWN, look, spread
from tutelage.studies.results import ModelResult, StudyResults
from tutelage.studies.verdict import figure_name, shown


def cost_sections(results: StudyResults) -> tuple[Section | None, ...]:
    """Return what the models take, and what cheaper forms of the student do."""
    return (_models(results), _variants(results))


def _models(results: StudyResults) -> Section:
    sizes = _sizes(list(results.models.values()))
    columns = (
        Column("Model", numeric=False),
        Column("Parameters"),
        Column("File"),
        Column("Operations", "per input"),
        Column("Activations", "peak, one input"),
        *(Column(f"Batch {size}", "ms per input (95th)") for size in sizes),
    )
    rows = tuple(_row(model, len(sizes)) for model in results.models.values())
    table = Table("Size and time of the models", columns, rows, _note(results))
    return Section("What it costs", table=table, figures=_against_time(results))


def _row(model: ModelResult, sizes: int) -> tuple[str | Cell, ...]:
    cost = model.cost
    if cost is None:
        return (model.name, NONE, NONE, NONE, NONE, *_times(model.latencies, sizes))
    memory = NONE if cost.activation_bytes is None else file_size(cost.activation_bytes)
    return (
        model.name,
        count(cost.parameters),
        file_size(cost.file_bytes),
        NONE if cost.flops is None else Cell(operations(cost.flops), cost.flops),
        Cell(memory, cost.activation_bytes),
        *_times(model.latencies, sizes),
    )


def _times(latencies: tuple[Latency, ...], sizes: int) -> tuple[str | Cell, ...]:
    if not latencies:
        return (NONE,) * sizes
    return tuple(_time(each) for each in latencies)


def _time(latency: Latency) -> Cell:
    tail = milliseconds(latency.percentile_95 / latency.batch_size)
    return Cell(f"{milliseconds(latency.per_input)} ({tail})", latency.per_input)


def _sizes(models: list[ModelResult]) -> list[int]:
    """Return the batch sizes that were timed; not every model answers to inputs alone."""
    timed = next((model.latencies for model in models if model.latencies), ())
    return [each.batch_size for each in timed]


def _note(results: StudyResults) -> str:
    timed = [each for model in results.models.values() for each in model.latencies]
    text = "Operations are multiplications and additions in matrix products and convolutions."
    if not timed:
        return f"{text} Times are not measured where inputs are not one tensor."
    threads = f"{timed[0].threads} processor thread" + ("" if timed[0].threads == 1 else "s")
    return (
        f"{text} Times are medians, in brackets the 95th percentile, on {threads}, all models in "
        "turns after a warm-up."
    )


def _against_time(results: StudyResults) -> tuple[Figure, ...]:
    marks = [_mark(results, arm.name) for arm in results.arms[:MOST_DRAWN]]
    drawn = [mark for mark in marks if mark is not None]
    teacher = results.teacher
    if teacher is not None and results.figure.name in teacher.figures:
        value, model = teacher.figures[results.figure.name], results.models.get(teacher.model)
        if model is not None and model.latencies:
            time = 1000 * model.latencies[0].per_input
            drawn.insert(0, Mark("teacher", time, value, value, value, 0))
    if len({mark.milliseconds for mark in drawn}) < 2:  # noqa: PLR2004 - no trade-off to see
        return ()
    unit = ", %" if results.figure.is_share else ""
    label = f"{figure_name(results.figure)}{unit}"
    return (
        Figure(
            trade_off("time", drawn, label, as_percent=results.figure.is_share),
            "Quality against time for one input",
            "Bars are 95 % intervals over seeds; the one teacher has none. Models of equal time "
            "are drawn side by side so that they can be told apart.",
        ),
    )


def _mark(results: StudyResults, name: str) -> Mark | None:
    arm = results.arm(name)
    model, values = results.models[arm.model], arm.values(results.figure.name)
    if not model.latencies or not values:
        return None
    mean, interval = fmean(values), spread(values)
    low, high = (mean, mean) if interval is None else (interval.low, interval.high)
    time = 1000 * model.latencies[0].per_input
    return Mark(name, time, mean, low, high, look(results, name))


def _variants(results: StudyResults) -> Section | None:
    model = results.models[results.arm(results.subject).model]
    if not model.variants:
        return None
    sizes = _sizes([model])
    columns = (
        Column("Form", numeric=False),
        Column(figure_name(results.figure).capitalize()),
        Column("File"),
        *(Column(f"Batch {size}", "ms per input (95th)") for size in sizes),
    )
    rows = [
        (
            each.name,
            NONE if each.figure is None else shown(each.figure, results.figure, 2),
            NONE if each.file_bytes is None else file_size(each.file_bytes),
            *_times(each.latencies, len(sizes)),
        )
        for each in model.variants
    ]
    missing = [f"{each.name}: {each.reason}" for each in model.variants if each.reason]
    note = "Not made here: " + "; ".join(missing) + "." if missing else ""
    return Section(
        "Cheaper forms of the student",
        (
            f"The first seed's student “{results.subject}”, in other forms, on the same test data "
            "and timed in turns.",
        ),
        Table("Quality and time of each form", columns, tuple(rows), note),
    )
