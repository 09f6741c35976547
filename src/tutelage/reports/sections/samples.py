"""Test examples to be looked at: images with maps, tagged texts."""

from __future__ import annotations

from tutelage.reports.figures import boxes, maps
from tutelage.reports.page import Column, Figure, Section, Table
from tutelage.reports.record import Record
from tutelage.reports.samples import LEAST_SCORE, ImageSample, TextSample


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
