"""How the models behave: calibration, fidelity to the teacher, and examples to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

from tutelage.evaluation import Calibration
from tutelage.reports.figures import boxes, heat_map, maps, reliability_diagram, shared_range
from tutelage.reports.numbers import NONE, significant
from tutelage.reports.page import Column, Figure, Section, Table
from tutelage.reports.sections.outcome import first_column, look, over_seeds
from tutelage.reports.verdict import control_of
from tutelage.results.record import ArmRecord, Record
from tutelage.results.samples import LEAST_SCORE, ImageSample, TextSample
from tutelage.tasks import TASKS

_SCALING = (
    " Temperature scaling divides the logits by one number T, fitted on validation data; it "
    "changes no prediction."
)
_MOST_DRAWN = 16


def confidence_section(record: Record) -> Section | None:
    """Return calibration before and after temperature scaling, and the reliability diagram."""
    known = [
        (name, [trial.calibration for trial in arm.trials if trial.calibration is not None])
        for name, arm in record.judged().items()
    ]
    rows = [(name, found) for name, found in known if found]
    if not rows:
        return None
    fitted = any(each.temperature is not None for _, found in rows for each in found)
    columns = (
        Column("Model", numeric=False),
        Column("ECE", "%"),
        Column("NLL", "nats"),
        Column("Fitted T", "on validation data"),
        Column("ECE", "%, at fitted T"),
        Column("NLL", "nats, at fitted T"),
    )
    note = TASKS[record.task].words.calibration
    table = Table(
        "Calibration of the models",
        columns,
        tuple(_calibrated(name, found) for name, found in rows),
        note + (_SCALING if fitted else "") + over_seeds(record),
    ).without_empty()
    return Section("Calibration", table=table, figures=_diagram(record))


def _calibrated(name: str, found: Sequence[Calibration]) -> tuple[str, ...]:
    def mean(read: Callable[[Calibration], float | None], factor: float = 1.0) -> str:
        values = [read(each) for each in found]
        known = [factor * value for value in values if value is not None]
        return significant(fmean(known)) if len(known) == len(found) else NONE

    return (
        name,
        mean(lambda each: each.ece, 100),
        mean(lambda each: each.nll),
        mean(lambda each: each.temperature),
        mean(lambda each: each.scaled_ece, 100),
        mean(lambda each: each.scaled_nll),
    )


def _diagram(record: Record) -> tuple[Figure, ...]:
    control, primary = control_of(record, record.primary), record.arm(record.primary)
    lines = [
        (arm.name, found, look(record, arm.name))
        for arm in (record.teacher, control, primary)
        if arm is not None and (found := arm.reliability) is not None
    ]
    if not lines:
        return ()
    words = TASKS[record.task].words
    title, text = words.diagram
    text += "" if record.is_run else " All seeds together."
    return (Figure(reliability_diagram(lines, words.axes), title, text),)


def resemblance_section(record: Record) -> Section | None:
    """Return fidelity to the teacher, and which classes look alike to teacher and student."""
    rows = tuple(row for row in map(_faithful, record.arms) if set(row[1:]) != {NONE})
    if record.teacher is None or not rows:
        return None
    data = "validation data" if record.is_run else "test data"
    columns = (
        first_column(record),
        Column("Agreement", "%, training data"),
        Column("Agreement", f"%, {data}"),
        Column("Mean KL", "nats, training data"),
        Column("Mean KL", f"nats, {data}"),
        Column("Similarity", "correlation between classes"),
    )
    words = TASKS[record.task].words
    note = words.fidelity.format(data=data, temperature=record.similarity_temperature)
    if any(trial.train for arm in record.arms for trial in arm.trials):
        note += f" Training data: up to {words.sample}, spread evenly."
    maps = _maps(record)
    return Section(
        "Fidelity to the teacher",
        (words.lesson,),
        Table(
            "Fidelity of each arm to the teacher", columns, rows, note + over_seeds(record)
        ).without_empty(),
        maps,
        "Mean probability in per cent of each class (column) for examples of each class (row), "
        f"softened at T = {record.similarity_temperature:g}. Both figures share one logarithmic "
        "colour scale; the diagonal is not coloured."
        if maps
        else "",
    )


def _faithful(arm: ArmRecord) -> tuple[str, ...]:
    def mean(values: Sequence[float], factor: float = 1.0) -> str:
        return significant(factor * fmean(values)) if values else NONE

    def train(name: str) -> list[float]:
        return [trial.train[name] for trial in arm.trials if name in trial.train]

    similarity = arm.similarity_correlation
    return (
        arm.name,
        mean(train("agreement"), 100),
        mean(arm.values("agreement"), 100),
        mean(train("kl")),
        mean(arm.values("kl")),
        NONE if similarity is None else f"{similarity:.3f}",
    )


def _maps(record: Record) -> tuple[Figure, ...]:
    primary, teacher = record.arm(record.primary), record.teacher
    theirs = () if teacher is None else teacher.similarity
    if not theirs or len(theirs) != len(primary.similarity) or len(theirs) > _MOST_DRAWN:
        return ()
    classes = list(map(record.class_name, range(len(theirs))))
    limits = shared_range(theirs, primary.similarity)
    student = "Student" if record.is_run else f"Student: {primary.name}"
    return tuple(
        Figure(heat_map(matrix, classes, limits, _in_words(title, matrix, classes)), title)
        for title, matrix in (("Teacher", theirs), (student, primary.similarity))
    )


def _in_words(title: str, matrix: Sequence[Sequence[float]], classes: Sequence[str]) -> str:
    """Describe a map in words: for each class the one that it resembles most."""
    likest = []
    for place, row in enumerate(matrix):
        if not any(row):  # of a class without examples
            continue
        others = [(value, other) for other, value in enumerate(row) if other != place]
        likest.append(f"{classes[place]}: {classes[max(others)[1]]}")
    return f"{title}, the class that each class resembles most. {', '.join(likest)}."


def samples_sections(record: Record) -> tuple[Section, ...]:
    """Return a section of images, and one of texts, where there are any."""
    images = [each for each in record.samples if isinstance(each, ImageSample)]
    texts = [each for each in record.samples if isinstance(each, TextSample)]
    found = []
    if images:
        found.append(Section("Images", figures=(_images(record, images),)))
    if texts:
        found.append(Section("Texts", table=_texts(record, texts)))
    return tuple(found)


def _images(record: Record, images: list[ImageSample]) -> Figure:
    caption = (
        "Test images, evenly spaced and not chosen by their results; the student is that of "
        f"“{record.primary}”, first seed. "
    )
    if images[0].boxes:
        caption += f"Detected boxes are those with a score of at least {LEAST_SCORE:g}."
        return Figure(
            boxes(images, record.class_name), "Boxes and their classes", caption, wide=True
        )
    caption += "Pixels without a label are blank."
    return Figure(maps(images, record.class_name), "Pixels and their classes", caption, wide=True)


def _texts(record: Record, texts: list[TextSample]) -> Table:
    true = [each for text in texts for each in text.classes["true"]]
    usual = max(sorted(set(true)), key=true.count, default=0)
    rows = tuple(
        (
            f"{number}, {whose}",
            " ".join(
                word if each == usual else f"{word} [{record.class_name(each)}]"
                for word, each in zip(text.words, ids, strict=True)
            ),
        )
        for number, text in enumerate(texts, start=1)
        for whose, ids in text.classes.items()
    )
    note = (
        "Test texts, evenly spaced and not chosen by their results; the student is that of "
        f"“{record.primary}”, first seed. A word's class stands behind it, except for the most "
        f"frequent, {record.class_name(usual)}."
    )
    columns = (Column("Text", numeric=False), Column("Words and their classes", numeric=False))
    return Table("Texts and the classes of their words", columns, rows, note, sortable=False)
