"""Records of runs and studies, and their HTML reports: one file that needs nothing else."""

from tutelage.reports.page import (
    Figure,
    Highlight,
    Page,
    Section,
    Table,
    render,
    render_markdown,
    write_report,
)
from tutelage.results.record import Record, read_record, write_record

__all__ = [
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
