"""Data sets and loaders as epochs of batches whose order can be taken up again anywhere."""

from tutelage.data.choice import as_source
from tutelage.data.source import Share, Source

__all__ = ["Share", "Source", "as_source"]
