"""Data sets and loaders as batches whose order can be resumed in the middle of an epoch.

`domains` joins sets whose examples have the name of their domain, `labelled` says which column
holds the labels, `unlabelled` puts inputs without labels beside others, `Views` makes random
augmentations reproducible, and transforms (`Mixup`, `CutMix`, `Swap`, `Noise`, a `Chain` of them,
or any function from a `Batch` to a `Batch`) change the inputs of both teacher and student.
"""

from tutelage.data.as_dataset import as_dataset
from tutelage.data.as_source import as_source
from tutelage.data.cutmix import CutMix
from tutelage.data.dataset_fingerprint import dataset_fingerprint, draws_at_random
from tutelage.data.domains import Domains, domains
from tutelage.data.indexed import Indexed
from tutelage.data.labels import Labelled, Unlabelled, labelled, unlabelled
from tutelage.data.loader_source import LoaderSource
from tutelage.data.mixup import Mixup
from tutelage.data.noise import Noise
from tutelage.data.source import Shard, Source
from tutelage.data.swap import Swap
from tutelage.data.transform import Chain, Transform, transformed
from tutelage.data.views import Views, show_epoch, views_in

__all__ = [
    "Chain",
    "CutMix",
    "Domains",
    "Indexed",
    "Labelled",
    "LoaderSource",
    "Mixup",
    "Noise",
    "Shard",
    "Source",
    "Swap",
    "Transform",
    "Unlabelled",
    "Views",
    "as_dataset",
    "as_source",
    "dataset_fingerprint",
    "domains",
    "draws_at_random",
    "labelled",
    "show_epoch",
    "transformed",
    "unlabelled",
    "views_in",
]
