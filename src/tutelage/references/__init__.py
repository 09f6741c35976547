"""Objects by reference: from a text such as `timm:resnet18` or `file.py:name` to the object.

`load` returns Python objects; `load_model` returns models with the preprocessing of their inputs.
"""

from tutelage.references.models import (
    class_names,
    load_model,
    output_kind,
    text_inputs_of,
    untrained,
)
from tutelage.references.python_object import load
from tutelage.references.split_thresholds import split_thresholds
from tutelage.references.tables import with_columns

__all__ = [
    "class_names",
    "load",
    "load_model",
    "output_kind",
    "split_thresholds",
    "text_inputs_of",
    "untrained",
    "with_columns",
]
