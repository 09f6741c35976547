"""The demo's table of models, as the screen and the page show it."""

from __future__ import annotations

from tutelage.demo.results import DemoResults, Size
from tutelage.evaluation import Interval
from tutelage.reports import Column, Table
from tutelage.reports.numbers import NONE, count, file_size, milliseconds, percent, plus_minus

TEACHER = "Teacher"


def models_table(results: DemoResults) -> Table:
    """Return teacher and students by quality, fidelity and cost."""
    batches = [timing.batch_size for timing in results.teacher.size.timings]
    columns = (
        Column("Model", numeric=False),
        Column("Accuracy", "% of test images"),
        Column("Agreement", "% with teacher"),
        Column("Parameters"),
        Column("File"),
        *(Column(f"Batch {size}", "ms per image") for size in batches),
    )
    students = (
        (arm.name, _spread(arm.accuracy), _spread(arm.agreement), *_costs(results.student_size))
        for arm in results.arms
    )
    quality = percent(results.teacher.accuracy.mean).removesuffix(" %")
    teacher = (TEACHER, quality, NONE, *_costs(results.teacher.size))
    return Table(
        "Teacher and students: accuracy, agreement with the teacher, size and time",
        columns,
        (teacher, *students),
        _note(results),
        emphasis=len(results.arms),
    )


def _spread(interval: Interval) -> str:
    return plus_minus(interval.mean, interval.half_width).removesuffix(" %")


def _costs(size: Size) -> tuple[str, ...]:
    times = (milliseconds(timing.per_input) for timing in size.timings)
    return count(size.parameters), file_size(size.file_bytes), *times


def _note(results: DemoResults) -> str:
    interval = results.teacher.accuracy
    low, high = (f"{100 * end:.1f}" for end in (interval.low, interval.high))
    threads = results.teacher.size.timings[0].threads
    return (
        f"± is the 95 % interval of the mean over {len(results.arms[0].accuracies)} seeds "
        f"(Student's t): another draw of the labelled images and other first weights. There is one "
        f"teacher, and so no such interval; over the {count(results.images['test'])} test images "
        f"its accuracy has the 95 % interval {low} to {high} % (Wilson). Times are medians on "
        f"{threads} processor {'thread' if threads == 1 else 'threads'}, teacher and student in "
        "turns; the students are one architecture, so one of them was timed."
    )
