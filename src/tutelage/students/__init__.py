"""Students: made from a part of a teacher, with its weights, or small networks."""

from tutelage.students.channels import prune_channels
from tutelage.students.influence import block_influence, least_loss, most_influential
from tutelage.students.keep_layers import Kept, every_nth_layer, keep_layers
from tutelage.students.mlp import mlp
from tutelage.students.vocabulary import Pruned, prune_vocabulary

__all__ = [
    "Kept",
    "Pruned",
    "block_influence",
    "every_nth_layer",
    "keep_layers",
    "least_loss",
    "mlp",
    "most_influential",
    "prune_channels",
    "prune_vocabulary",
]
