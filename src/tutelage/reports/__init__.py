"""Records of runs and studies, and their HTML reports: one file that needs nothing else."""

from tutelage.reports.page import (
    Cell,
    Column,
    Figure,
    Highlight,
    Page,
    Section,
    Table,
    render,
    render_markdown,
)
from tutelage.reports.record import Record
from tutelage.reports.writing import read_record, write_record, write_report

__all__ = [
    "Cell",
    "Column",
    "Figure",
    "Highlight",
    "Page",
    "Record",
    "Section",
    "Table",
    "read_record",
    "render",
    "render_markdown",
    "write_record",
    "write_report",
]
