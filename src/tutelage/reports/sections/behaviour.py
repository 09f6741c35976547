"""How the models behave: calibration, fidelity to the teacher, and examples to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tutelage.reports.figures import boxes, heat_map, maps, reliability_diagram, shared_range
from tutelage.reports.numbers import NONE, significant
from tutelage.reports.page import Figure, Section, Table
from tutelage.reports.sections.outcome import look, over_seeds
from tutelage.results.record import Record
from tutelage.results.samples import LEAST_SCORE, ImageSample, TextSample
from tutelage.tasks import TASKS

_SCALING = (
    " Temperature scaling divides the logits by one number T, fitted on validation data; it "
    "changes no prediction."
)
_MOST_DRAWN = 16


def _mean(values: Sequence[float | None], factor: float = 1.0) -> str:
    """Return the mean over seeds; "–" where one has no value."""
    known = [factor * value for value in values if value is not None]
    return significant(fmean(known)) if known and len(known) == len(values) else NONE


def confidence_section(record: Record) -> Section | None:
    """Return calibration before and after temperature scaling, and the reliability diagram."""
    rows, fitted = [], False
    for name, arm in record.judged().items():
        found = [trial.calibration for trial in arm.trials if trial.calibration is not None]
        fitted = fitted or any(each.temperature is not None for each in found)
        if found:
            rows.append(
                [
                    ("Model", name),
                    ("ECE\n%", _mean([each.ece for each in found], 100)),
                    ("NLL\nnats", _mean([each.nll for each in found])),
                    ("Fitted T\non validation data", _mean([each.temperature for each in found])),
                    ("ECE\n%, at fitted T", _mean([each.scaled_ece for each in found], 100)),
                    ("NLL\nnats, at fitted T", _mean([each.scaled_nll for each in found])),
                ]
            )
    if not rows:
        return None
    words = TASKS[record.task].words
    note = words.calibration + _SCALING * fitted + over_seeds(record)
    table = Table("Calibration of the models", rows, note)
    lines = [
        (arm.name, arm.reliability, look(record, arm.name))
        for arm in (record.teacher, record.control_of(record.primary), record.arm(record.primary))
        if arm is not None and arm.reliability is not None
    ]
    if not lines:
        return Section("Calibration", table=table)
    title, text = words.diagram
    text += " All seeds together." * bool(record.seeds)
    figure = Figure(reliability_diagram(lines, words.axes), title, text)
    return Section("Calibration", table=table, figures=(figure,))


def resemblance_section(record: Record) -> Section | None:
    """Return fidelity to the teacher, and which classes look alike to teacher and student."""
    data = "validation data" if record.is_run else "test data"
    temperature = record.similarity_temperature
    rows = []
    for arm in record.arms:
        train = [trial.train for trial in arm.trials if trial.train]
        similarity = arm.similarity_correlation
        row = [
            ("Agreement\n%, training data", _mean([each.get("agreement") for each in train], 100)),
            (f"Agreement\n%, {data}", _mean(arm.values("agreement"), 100)),
            ("Mean KL\nnats, training data", _mean([each.get("kl") for each in train])),
            (f"Mean KL\nnats, {data}", _mean(arm.values("kl"))),
            (
                "Similarity\ncorrelation between classes",
                NONE if similarity is None else f"{similarity:.3f}".replace("-", "−"),
            ),
        ]
        if any(cell != NONE for _, cell in row):
            rows.append([("Model", arm.name), *row])
    if record.teacher is None or not rows:
        return None
    words = TASKS[record.task].words
    note = words.fidelity.format(data=data, temperature=temperature)
    if any(trial.train for arm in record.arms for trial in arm.trials):
        note += f" Training data: up to {words.sample}, spread evenly."
    figures = _maps(record)
    table = Table("Fidelity of each model to the teacher", rows, note + over_seeds(record))
    caption = (
        "Mean probability in per cent of each class (column) for examples of each class (row), "
        f"softened at T = {temperature:g}. Both figures share one logarithmic colour scale; the "
        "diagonal is not coloured."
    )
    heading, text = "Fidelity to the teacher", (words.lesson,)
    return Section(heading, text, table, figures, caption * bool(figures))


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
        if any(row):  # that of a class without examples is zeros
            others = [(value, other) for other, value in enumerate(row) if other != place]
            likest.append(f"{classes[place]}: {classes[max(others)[1]]}")
    return f"{title}, the class that each class resembles most. {', '.join(likest)}."


def samples_sections(record: Record) -> tuple[Section, ...]:
    """Return a section of images, and one of texts, where there are any."""
    images = [each for each in record.samples if isinstance(each, ImageSample)]
    texts = [each for each in record.samples if isinstance(each, TextSample)]
    chosen = (
        "evenly spaced and not chosen by their results; the student is that of "
        f"“{record.primary}”, first seed. "
    )
    found = []
    if images:
        if images[0].boxes:
            svg, kind = boxes(images, record.class_name), "Boxes"
            note = f"Detected boxes are those with a score of at least {LEAST_SCORE:g}."
        else:
            svg, kind = maps(images, record.class_name), "Pixels"
            note = "Pixels without a label are blank."
        caption = f"Test images, {chosen}{note}"
        figure = Figure(svg, f"{kind} and their classes", caption, wide=True)
        found.append(Section("Images", figures=(figure,)))
    if texts:
        found.append(Section("Texts", table=_texts(record, texts, f"Test texts, {chosen}")))
    return tuple(found)


def _texts(record: Record, texts: list[TextSample], chosen: str) -> Table:
    true = [each for text in texts for each in text.classes["true"]]
    usual = max(sorted(set(true)), key=true.count, default=0)
    rows = [
        [
            ("Text", f"{number}, {whose}"),
            (
                "Words and their classes",
                " ".join(
                    word if each == usual else f"{word} [{record.class_name(each)}]"
                    for word, each in zip(text.words, ids, strict=True)
                ),
            ),
        ]
        for number, text in enumerate(texts, start=1)
        for whose, ids in text.classes.items()
    ]
    note = (
        f"{chosen}A word's class stands behind it, except for the most frequent, "
        f"{record.class_name(usual)}."
    )
    return Table("Texts and the classes of their words", rows, note)
