"""Data sets and loaders as epochs of batches whose order can be taken up again anywhere."""

from tutelage.data.choice import as_source
from tutelage.data.contents import dataset_fingerprint, draws_at_random
from tutelage.data.source import Share, Source

__all__ = ["Share", "Source", "as_source", "dataset_fingerprint", "draws_at_random"]
