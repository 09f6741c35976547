"""Make a student from some of a teacher's layers, with their weights."""

from tutelage.students.keep_layers import Kept, every_nth_layer, keep_layers

__all__ = ["Kept", "every_nth_layer", "keep_layers"]
