"""Capture outputs and layers of models; find repeated blocks; map student layers to teacher layers.

`blocks` finds repeated blocks; `every_nth`, `uniform`, `first` and `last` return layer maps
(student block: teacher block) for objectives that compare layers. `Output` chooses the output among
the parts of what a model returns, and `ByWord` makes a tagger of tokens one of words. `Prepared`
gives a model its own preprocessing of raw inputs, such as `ImageInputs` and `TextInputs`.
"""

from tutelage.layers.blocks import blocks
from tutelage.layers.by_word import ByWord
from tutelage.layers.image_inputs import ImageInputs
from tutelage.layers.maps import every_nth, first, last, uniform
from tutelage.layers.observe import evaluating, observe
from tutelage.layers.output import Output
from tutelage.layers.prepared import Prepared
from tutelage.layers.text_inputs import TextInputs

__all__ = [
    "ByWord",
    "ImageInputs",
    "Output",
    "Prepared",
    "TextInputs",
    "blocks",
    "evaluating",
    "every_nth",
    "first",
    "last",
    "observe",
    "uniform",
]
