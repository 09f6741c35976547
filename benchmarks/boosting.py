"""Boosted trees teach a small network: adult income, with categories and missing cells.

    python benchmarks/boosting.py FOLDER            # the teacher and the tables, then the study
    python benchmarks/boosting.py FOLDER prepare    # only the teacher and the tables

The folder that TUTELAGE_DATA names holds tabular/adult_train.parquet, whose column `income` is the
label and whose cells "?" are missing; of rows with equal inputs the first is kept. A fifth of the
rows, stratified by income, is the test data, and a tenth of the others selects. The study is that
of examples/boosting.yaml.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

import lightgbm
import pandas as pd
from sklearn.model_selection import train_test_split

import tutelage as tl

RECIPE = Path(__file__).parents[1] / "examples" / "boosting.yaml"


def prepare(table: pd.DataFrame, label: str, folder: Path, trees: int = 300) -> None:
    """Write train.csv, test.csv and a teacher that was fitted on the first."""
    folder.mkdir(parents=True, exist_ok=True)
    table = table.drop_duplicates(list(table.columns.drop(label)))
    parts: Any = train_test_split(table, test_size=0.2, random_state=0, stratify=table[label])
    train, test = parts
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    inputs = train.drop(columns=label)
    for name in inputs:
        if not pd.api.types.is_numeric_dtype(inputs[name]):
            inputs[name] = inputs[name].astype("category")
    model = lightgbm.LGBMClassifier(
        n_estimators=trees, learning_rate=0.05, num_leaves=31, n_jobs=1, verbose=-1
    )
    model.fit(inputs, train[label]).booster_.save_model(folder / "teacher.txt")


def main(folder: Path, only_prepare: bool) -> None:
    """Prepare the folder, and carry out the study there."""
    data = os.environ.get("TUTELAGE_DATA")
    if data is None:
        sys.exit("TUTELAGE_DATA must name the folder with tabular/adult_train.parquet")
    table = pd.read_parquet(Path(data) / "tabular" / "adult_train.parquet")
    prepare(table.replace("?", None), "income", folder)
    if only_prepare:
        return
    os.chdir(folder)
    start = perf_counter()
    study = tl.Recipe.from_file(RECIPE).study()
    print(f"{study}\n{study.report()}\n{perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "prepare" in sys.argv[2:])
