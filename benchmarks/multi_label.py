"""Several labels of a text: which of six kinds of names a message mentions (WNUT 2017).

    TUTELAGE_DATA=... python benchmarks/multi_label.py

The folder that TUTELAGE_DATA names holds text/wnut17.parquet, whose split is used: the test has
names that are not in the training data. The teacher, logistic regressions of scikit-learn, knows
all labels of the training messages. Of the students' only one in ten is known, one by one; they are
small networks on the same hashed character n-grams. The controls learn from the known labels, and
from all that the teacher had.
"""

from __future__ import annotations

import os
import sys
from functools import cache, partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import torch
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import RUNS
from remembered import Remembered, timed

SEEDS, EPOCHS, KNOWN, WIDTH, HASHED = 5, 15, 0.1, 32, 4096
SCALE = 10.0  # of the inputs, whose length is 1 before
KINDS = ("corporation", "creative-work", "group", "location", "person", "product")
METRICS = ("average_precision", "f1_micro", "label_accuracy")


@cache
def messages(part: str) -> TensorDataset:
    """Return hashed n-grams `[messages, HASHED]` and labels `[messages, kinds]` of a part."""
    folder = os.environ.get("TUTELAGE_DATA")
    if not folder:
        sys.exit("TUTELAGE_DATA must name the folder with text/wnut17.parquet")
    table = pq.read_table(Path(folder) / "text" / "wnut17.parquet")
    rows = [row for row in table.to_pylist() if row["split"] == part]
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(1, 4), n_features=HASHED, lowercase=False,
        alternate_sign=False,
    )  # fmt: skip
    grams: Any = hashed.transform([" ".join(row["words"]) for row in rows])
    names = [{tag.partition("-")[2] for tag in row["tags"]} for row in rows]
    labels = [[kind in each for kind in KINDS] for each in names]
    return TensorDataset(SCALE * torch.tensor(grams.toarray()).float(), torch.tensor(labels).long())


def regressions() -> Remembered:
    """Return the teacher, fitted on all labels of the training messages."""
    inputs, labels = messages("train").tensors
    each = OneVsRestClassifier(LogisticRegression(C=10, max_iter=300))
    model = make_pipeline(TfidfTransformer(sublinear_tf=True), each)
    model.fit(inputs.numpy(), labels.numpy())
    teacher = tl.teachers.Predictor(model.predict_proba, probabilities=True, binary=True)
    return Remembered(teacher, *map(messages, ("train", "val", "test")))


def partly_labelled(_seed: int) -> TensorDataset:
    """Return the training messages with a tenth of their labels, drawn one by one."""
    inputs, labels = messages("train").tensors
    return TensorDataset(inputs, labels.masked_fill(torch.rand(labels.shape) > KNOWN, -100))


def network() -> nn.Sequential:
    """Return a student."""
    return nn.Sequential(nn.Linear(HASHED, WIDTH), nn.ReLU(), nn.Linear(WIDTH, len(KINDS)))


def table(study: tl.Study) -> None:
    """Print each arm's metrics on the test, and the differences from the first control."""
    record = study.results
    print("| | average precision | micro F1 | label accuracy | against few labels |")
    print("|---|---:|---:|---:|---:|")
    for name, arm in record.judged().items():
        values = [f"{100 * fmean(arm.values(each)):.1f}" for each in METRICS]
        found = next((each for each in record.comparisons
                      if each.arm == name and each.other == "few labels"), None)  # fmt: skip
        ends = "–"
        if found is not None and found.interval is not None:
            mean, low, high = (
                100 * each
                for each in (found.interval.mean, found.interval.low, found.interval.high)
            )
            ends = f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"
        print(f"| {name} | {' | '.join(values)} | {ends} |")
    print(f"\n{study.verdict}")


def main() -> None:
    """Run the study, and print its table."""
    with timed("the teacher"):
        teacher = regressions()
    objectives = {
        "few labels and the teacher": 0.1 * tl.BinaryLabels() + 0.9 * tl.BinaryTargets(),
        "the teacher, no labels": tl.BinaryTargets(),
    }
    with timed("the study"):
        study = tl.study(
            teacher,
            network,
            train=partly_labelled,
            val=messages("val"),
            test=messages("test"),
            arms={
                name: tl.Arm(objective=each, against="few labels")
                for name, each in objectives.items()
            },
            controls={
                "few labels": tl.BinaryLabels(),
                "few labels, smoothed": tl.BinaryLabels(smoothing=0.1),
                "all labels": tl.Arm(objective=tl.BinaryLabels(), train=messages("train")),
            },
            primary="few labels and the teacher",
            sweep={"learning_rate": [1e-3, 3e-3, 1e-2]},
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(
                optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.1),
                engine=tl.Engine(device="cpu", progress=False),
            ),
            report=tl.ReportOptions(title="Names in messages", class_names=KINDS),
            out=RUNS / "multi-label",
        )
    table(study)
    study.report()


if __name__ == "__main__":
    main()
