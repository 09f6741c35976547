"""Make a smaller model out of a teacher, as a student that starts from what the teacher knows."""

from tutelage.students.keep_layers import Kept, every_nth_layer, keep_layers

__all__ = ["Kept", "every_nth_layer", "keep_layers"]
