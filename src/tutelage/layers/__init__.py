"""Capture outputs and layers of models; find repeated blocks; map student layers to teacher layers.

`blocks` finds repeated blocks; `map_every_nth` and `map_uniform` return layer maps (student block:
teacher block) for objectives that compare layers. `Output` chooses the output among the parts of
what a model returns, and `ByWord` makes a tagger of tokens one of words.
`Prepared` gives a model its own preprocessing of raw inputs, by `ImageInputs` or `TextInputs`.
"""

from tutelage.layers.blocks import blocks, map_every_nth, map_uniform
from tutelage.layers.observe import evaluating, observe
from tutelage.layers.output import ByWord, Output, Rescaled
from tutelage.layers.prepared import ImageInputs, Prepared, TextInputs

__all__ = [
    "ByWord",
    "ImageInputs",
    "Output",
    "Prepared",
    "Rescaled",
    "TextInputs",
    "blocks",
    "evaluating",
    "map_every_nth",
    "map_uniform",
    "observe",
]
