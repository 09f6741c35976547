"""Data sets and loaders as epochs of batches whose order can be taken up again anywhere.

Sets joined by `domains` say where each example comes from, `unlabelled` puts inputs without labels
beside others, and transforms (`Mixup`, `CutMix`, `Swap`, `Noise`, a `Chain` of them, or any
function from a `Batch` to a `Batch`) change what teacher and student see, for both alike.
"""

from tutelage.data.chain import Chain
from tutelage.data.choice import as_source
from tutelage.data.contents import dataset_fingerprint, draws_at_random
from tutelage.data.cutmix import CutMix
from tutelage.data.domains import Domains, domains
from tutelage.data.indexed import Indexed
from tutelage.data.mixup import Mixup
from tutelage.data.noise import Noise
from tutelage.data.source import Share, Source
from tutelage.data.swap import Swap
from tutelage.data.transform import Transform, transformed
from tutelage.data.unlabelled import Unlabelled, unlabelled
from tutelage.data.views import Views

__all__ = [
    "Chain",
    "CutMix",
    "Domains",
    "Indexed",
    "Mixup",
    "Noise",
    "Share",
    "Source",
    "Swap",
    "Transform",
    "Unlabelled",
    "Views",
    "as_source",
    "dataset_fingerprint",
    "domains",
    "draws_at_random",
    "transformed",
    "unlabelled",
]
