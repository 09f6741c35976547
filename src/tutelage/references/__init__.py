"""Objects by reference: from a text such as `timm:resnet18` or `file.py:name` to the object.

`load` returns Python objects; `load_model` returns models with the preprocessing of their inputs.
"""

from tutelage.references.hugging_face import text_inputs_of
from tutelage.references.models import class_names, load_model
from tutelage.references.python_object import load
from tutelage.references.split_thresholds import split_thresholds
from tutelage.references.tables import with_columns

__all__ = [
    "class_names",
    "load",
    "load_model",
    "split_thresholds",
    "text_inputs_of",
    "with_columns",
]
