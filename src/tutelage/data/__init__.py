"""Data sets, loaders and transforms, as batches that can be resumed in the middle of an epoch.

`domains` joins data sets under domain names, `labelled` names the column of the labels,
`unlabelled` marks examples without labels, and `Views` makes random augmentation reproducible.
Transforms (`Mixup`, `CutMix`, `Swap`, `Noise`, a `Chain` of them, or any function from a `Batch` to
a `Batch`) change the inputs of both teacher and student. From `OnPolicy` the student writes its
texts itself.
"""

from tutelage.data.as_source import as_source
from tutelage.data.loader_source import LoaderSource
from tutelage.data.on_policy import OnPolicy, OnPolicySource
from tutelage.data.sets import (
    Domains,
    Labelled,
    Unlabelled,
    as_dataset,
    domains,
    labelled,
    unlabelled,
)
from tutelage.data.source import Shard, Source
from tutelage.data.transforms import Chain, CutMix, Mixup, Noise, Swap, Transform, transformed
from tutelage.data.views import Indexed, Views, show_epoch, views_in
from tutelage.nested import DomainExample, PerExample

__all__ = [
    "Chain",
    "CutMix",
    "DomainExample",
    "Domains",
    "Indexed",
    "Labelled",
    "LoaderSource",
    "Mixup",
    "Noise",
    "OnPolicy",
    "OnPolicySource",
    "PerExample",
    "Shard",
    "Source",
    "Swap",
    "Transform",
    "Unlabelled",
    "Views",
    "as_dataset",
    "as_source",
    "domains",
    "labelled",
    "show_epoch",
    "transformed",
    "unlabelled",
    "views_in",
]
