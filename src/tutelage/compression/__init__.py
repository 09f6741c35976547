"""From a teacher and data to the fastest student that loses no more than a margin.

`compress` measures what candidates cost as exported files, trains them in rounds of which each is
longer and has fewer candidates, and confirms the chosen one on test data. Each round is a study.
"""

from tutelage.compression.compress import Compressed, compress

__all__ = ["Compressed", "compress"]
