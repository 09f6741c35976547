"""A teacher's targets for a data set on disk: format, writer, reader, verification.

```
targets/
├── manifest.json                  contents, teacher, data, and the checksum of each block
├── output.0000.npy …              rows of the output: numpy opens each file alone
├── feature1.0000.npy …            rows of a feature, if features are stored
└── journal.0000 …                 while it is being made: the finished blocks
```
"""

from tutelage.store.damage import Damage, find_damage
from tutelage.store.fields import Field
from tutelage.store.layout import Layout
from tutelage.store.manifest import Data, Manifest, Settings, Views
from tutelage.store.reader import TargetStore
from tutelage.store.writer import StoreWriter, close_store, reopen_store, tidy

__all__ = [
    "Damage",
    "Data",
    "Field",
    "Layout",
    "Manifest",
    "Settings",
    "StoreWriter",
    "TargetStore",
    "Views",
    "close_store",
    "find_damage",
    "reopen_store",
    "tidy",
]
