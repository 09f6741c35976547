"""Regression: gradient boosting and extra trees distilled into a small network, California housing.

    TUTELAGE_DATA=... python benchmarks/california.py

The teachers are trained on the same labels as the control. They add predictions without the labels'
noise, and predictions for unlabelled inputs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from statistics import fmean

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import RUNS, adam, warm_cosine
from remembered import Remembered, timed

SEEDS, STEPS, BATCH = 5, 6000, 128
TEST, VAL = 4000, 2000
CONTROL = "labels only"
ENGINE = tl.Engine(progress=False, checkpoint_seconds=120)


def table() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return 8 features and the median price of 20,640 districts, in a shuffled order."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with tabular/california_housing.parquet")
    content = pq.read_table(Path(folder) / "tabular" / "california_housing.parquet")
    columns = {name: content[name].to_numpy().astype(np.float32) for name in content.column_names}
    order = np.random.default_rng(0).permutation(len(content))
    values = columns.pop("target")[order]
    return np.stack(list(columns.values()), axis=1)[order], values


class Trees:
    """The mean of the two ensembles, fitted on labelled rows."""

    def __init__(self, inputs: NDArray[np.float32], values: NDArray[np.float32]) -> None:
        self.models = (
            HistGradientBoostingRegressor(max_iter=500, learning_rate=0.05, random_state=0),
            ExtraTreesRegressor(300, min_samples_leaf=2, random_state=0, n_jobs=-1),
        )
        for model in self.models:
            model.fit(inputs, values)

    def predict(self, inputs: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return values, `[rows]`."""
        return np.mean([model.predict(inputs) for model in self.models], axis=0)


def student() -> nn.Module:
    """Return the network 8-32-32-1."""
    return nn.Sequential(
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 1)
    )


def run(labelled: int) -> tl.Study:
    """Compare students with and without teachers and unlabelled rows, for a number of labels."""
    inputs, values = table()
    test, val, pool = slice(0, TEST), slice(TEST, TEST + VAL), slice(TEST + VAL, None)
    rows = inputs[pool][:labelled]
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    middle, scale = values[pool][:labelled].mean(), values[pool][:labelled].std()
    scaled, known = (inputs - mean) / spread, ((values - middle) / scale)[:, None]
    trees = Trees(scaled[pool][:labelled], known[pool][:labelled, 0])
    some = known[pool].copy()
    some[labelled:] = np.nan

    def part(chosen: slice, targets: NDArray[np.float32]) -> TensorDataset:
        return TensorDataset(torch.from_numpy(scaled[chosen]), torch.from_numpy(targets))

    both = 0.5 * tl.LabelRegression() + 0.5 * tl.OutputRegression()
    few = TensorDataset(
        torch.from_numpy(scaled[pool][:labelled]), torch.from_numpy(known[pool][:labelled])
    )
    arms: dict[str, tl.Arm] = {"distilled": tl.Arm(objective=both)}
    if labelled < len(scaled[pool]):
        name = f"distilled, with {len(some) - labelled:,} unlabelled rows in addition"
        arms[name] = tl.Arm(objective=both, train=part(pool, some))
    cached = part(pool, known[pool]), part(val, known[val])
    return tl.study(
        Remembered(tl.teachers.Predictor(trees.predict), *cached),
        student,
        train=few,
        val=part(val, known[val]),
        test=part(test, known[test]),
        arms=arms,
        controls={CONTROL: tl.LabelRegression()},
        sweep={"learning_rate": [1e-3, 3e-3, 1e-2]},
        monitor="r2",
        seeds=SEEDS,
        training=tl.Training(
            steps=STEPS,
            batch_size=BATCH,
            optimizer=adam(1e-3),
            scheduler=warm_cosine,
            engine=ENGINE,
        ),
        report=tl.ReportOptions(title=f"California housing from {labelled:,} labels"),
        out=RUNS / f"california-{labelled}",
    )


def show(study: tl.Study) -> None:
    """Print R² of teacher and arms; intervals are over seeds and test districts."""
    print("\n| | R², mean | each seed | gain in R², 95 % interval |\n|---|---:|---|---:|")
    results = study.results
    if results.teacher is not None:
        print(f"| teachers | {results.teacher.metrics['r2']:.4f} | | |")
    gains = {each.arm: each.interval for each in results.comparisons if each.other == CONTROL}
    for arm in results.arms:
        found = arm.values("r2")
        gain = ""
        ends = gains.get(arm.name)
        if ends is not None:
            gain = f"{ends.mean:+.4f} ({ends.low:+.4f} to {ends.high:+.4f})"
        each = ", ".join(f"{value:.4f}" for value in found)
        print(f"| {arm.name} | {fmean(found):.4f} | {each} | {gain} |")
    print(f"\n{study.verdict}\n{study.report()}", flush=True)


def main() -> None:
    """Run both tables."""
    for labelled in (2000, 14_640):
        with timed(f"California housing from {labelled:,} labels"):
            study = run(labelled)
        show(study)


if __name__ == "__main__":
    main()
