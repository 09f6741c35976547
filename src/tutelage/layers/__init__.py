"""Run a model and take its output and layers; find its repeated blocks and map them to a teacher's.

`blocks` finds them; `every_nth`, `uniform`, `first` and `last` say which block of a student learns
from which of a teacher, as a map that objectives on layers take. `Output` says which part of what a
model returns is its output.
"""

from tutelage.layers.blocks import blocks
from tutelage.layers.maps import every_nth, first, last, uniform
from tutelage.layers.observe import evaluating, observe
from tutelage.layers.output import Output

__all__ = ["Output", "blocks", "evaluating", "every_nth", "first", "last", "observe", "uniform"]
