"""Seconds to read a table of 100,000 rows as raw examples, and to fit their preprocessing.

python benchmarks/read_table.py [rows]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from tutelage.datasets import load_data


def made_table(rows: int) -> pd.DataFrame:
    """Return ten columns of numbers, eight of categories, one of dates, and labels."""
    random = np.random.default_rng(0)
    numbers = {f"number {at}": random.normal(size=rows).round(4) for at in range(10)}
    categories = {f"category {at}": random.choice(list("abcdefgh"), rows) for at in range(8)}
    days = pd.Timestamp("2020-01-01") + pd.to_timedelta(random.integers(0, 900, rows), unit="D")
    labels = random.choice(["yes", "no"], rows)
    return pd.DataFrame({**numbers, **categories, "day": days, "label": labels})


def main() -> None:
    """Print the times."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    table = made_table(rows)
    with tempfile.TemporaryDirectory() as folder:
        csv, parquet = Path(folder, "a.csv"), Path(folder, "a.parquet")
        table.to_csv(csv, index=False)
        table.to_parquet(parquet)
        for path in (csv, parquet):
            for shares in ({}, {"val": 0.1, "test": 0.1}):
                start = time.process_time()
                splits = load_data("data", {"train": str(path), "label": "label", **shares})
                read = time.process_time() - start
                splits.table_inputs()
                fitted = time.process_time() - start - read
                print(f"{path.suffix} {shares}: read in {read:.1f} s, fitted in {fitted:.2f} s")


if __name__ == "__main__":
    main()
