"""Figures as inline SVG, whose colours follow the page into dark mode and onto paper."""

from tutelage.reports.figures.curves import Curve, curves
from tutelage.reports.figures.heat_map import heat_map, shared_range
from tutelage.reports.figures.paired import paired
from tutelage.reports.figures.trade_off import Mark, trade_off

__all__ = ["Curve", "Mark", "curves", "heat_map", "paired", "shared_range", "trade_off"]
