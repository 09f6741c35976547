"""What train, validation and test data have in common."""

from __future__ import annotations

from tutelage.reports.conduct import Overlap
from tutelage.reports.numbers import count, counted, significant
from tutelage.reports.page import Section
from tutelage.reports.record import Record

_NAMED = 3


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
