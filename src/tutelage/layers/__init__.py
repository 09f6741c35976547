"""Run a model and capture its output and layers; find its repeated blocks; map layers.

`blocks` finds repeated blocks; `every_nth`, `uniform`, `first` and `last` return layer maps
(student block: teacher block) for objectives that compare layers. `Output` says which part of what
a model returns is its output.
"""

from tutelage.layers.blocks import blocks
from tutelage.layers.maps import every_nth, first, last, uniform
from tutelage.layers.observe import evaluating, observe
from tutelage.layers.output import Output

__all__ = ["Output", "blocks", "evaluating", "every_nth", "first", "last", "observe", "uniform"]
