"""Records of runs as pages: tables and figures in one HTML file that needs nothing else."""

from tutelage.reports.page import (
    Column,
    Figure,
    Highlight,
    Page,
    Section,
    Table,
    render,
    write_page,
)

__all__ = [
    "Column",
    "Figure",
    "Highlight",
    "Page",
    "Section",
    "Table",
    "render",
    "write_page",
]
