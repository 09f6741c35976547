"""The fastest network that is as good as boosted trees: adult income.

    python benchmarks/compress.py FOLDER

The folder that TUTELAGE_DATA names holds tabular/adult_train.parquet. Teacher and training table
are those of boosting.py; of its test table the first half chooses among the students, the second
half is the test data. The search is that of examples/compress.yaml.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter

import pandas as pd

import tutelage as tl
from boosting import prepare

RECIPE = Path(__file__).parents[1] / "examples" / "compress.yaml"


def main(folder: Path) -> None:
    """Prepare the folder, and search there."""
    data = os.environ.get("TUTELAGE_DATA")
    if data is None:
        sys.exit("TUTELAGE_DATA must name the folder with tabular/adult_train.parquet")
    if not (folder / "val.csv").exists():
        table = pd.read_parquet(Path(data) / "tabular" / "adult_train.parquet")
        prepare(table.replace("?", None), "income", folder)
        rows = pd.read_csv(folder / "test.csv")
        rows[: len(rows) // 2].to_csv(folder / "val.csv", index=False)
        rows[len(rows) // 2 :].to_csv(folder / "test.csv", index=False)
    os.chdir(folder)
    start = perf_counter()
    found = tl.Recipe.from_file(RECIPE).compress()
    print(f"{found}\n{found.report()}\n{perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
