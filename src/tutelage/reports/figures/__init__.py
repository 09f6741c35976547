"""Figures as inline SVG, whose colours follow the page into dark mode and onto paper."""

from tutelage.reports.figures.deltas import deltas
from tutelage.reports.figures.heat_map import heat_map, shared_range
from tutelage.reports.figures.intervals import intervals
from tutelage.reports.figures.lines import Line, curves, series, trade_off
from tutelage.reports.figures.paired import paired
from tutelage.reports.figures.reliability_diagram import reliability_diagram
from tutelage.reports.figures.residuals import residuals

__all__ = [
    "Line",
    "curves",
    "deltas",
    "heat_map",
    "intervals",
    "paired",
    "reliability_diagram",
    "residuals",
    "series",
    "shared_range",
    "trade_off",
]
