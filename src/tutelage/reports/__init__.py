"""Records of runs as pages: tables and figures in one HTML file that needs nothing else."""

from tutelage.reports.markdown import render_markdown
from tutelage.reports.page import (
    Cell,
    Column,
    Figure,
    Highlight,
    Page,
    Section,
    Table,
    render,
)
from tutelage.reports.writing import write_page, write_report

__all__ = [
    "Cell",
    "Column",
    "Figure",
    "Highlight",
    "Page",
    "Section",
    "Table",
    "render",
    "render_markdown",
    "write_page",
    "write_report",
]
