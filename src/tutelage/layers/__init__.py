"""What a model says while it runs: its output (and later, its layers)."""

from tutelage.layers.blocks import blocks
from tutelage.layers.maps import every_nth, first, last, uniform
from tutelage.layers.observe import evaluating, observe

__all__ = ["blocks", "evaluating", "every_nth", "first", "last", "observe", "uniform"]
