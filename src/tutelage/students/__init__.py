"""Students: made from some of a teacher's layers, with their weights, or small networks."""

from tutelage.students.keep_layers import Kept, every_nth_layer, keep_layers
from tutelage.students.mlp import mlp

__all__ = ["Kept", "every_nth_layer", "keep_layers", "mlp"]
