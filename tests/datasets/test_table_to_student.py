"""From a table with categories and holes to a small network, taught by boosted trees."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

import tutelage as tl
from tutelage.datasets import load_data


def write_wine(path):
    random = np.random.default_rng(0)
    table = load_wine(as_frame=True).frame
    table["strength"] = pd.cut(table.pop("alcohol"), 4, labels=["weak", "mild", "firm", "strong"])
    table.loc[random.random(len(table)) < 0.1, "ash"] = None
    table.loc[random.random(len(table)) < 0.1, "strength"] = None
    table["target"] = np.array(["red", "white", "rose"])[table["target"]]
    table.to_csv(path, index=False)
    return str(path)


def test_boosted_trees_teach_a_network(tmp_path):
    path = write_wine(tmp_path / "wine.csv")
    splits = load_data("data", {"train": path, "label": "target", "val": 0.2, "test": 0.3})
    rows, labels = splits.train[:]
    coded = [each.kind == "category" for each in splits.columns.columns]
    trees = HistGradientBoostingClassifier(max_iter=20, categorical_features=coded)
    teacher = trees.fit(rows.numpy(), labels.numpy())
    inputs = splits.table_inputs()
    network = nn.Sequential(nn.Linear(inputs.features, 16), nn.ReLU(), nn.Linear(16, 3))
    run = tl.distill(
        tl.teachers.Predictor(teacher.predict_proba, probabilities=True),
        tl.layers.Prepared(network, inputs),
        train=splits.train,
        val=splits.val,
        objective=0.5 * tl.HardLabels() + tl.SoftTargets(temperature=2),
        epochs=15,
        batch_size=16,
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
        seed=0,
    )
    rows, labels = splits.test[:]
    with torch.no_grad():
        accuracy = (run.student(rows).argmax(1) == labels).float().mean()
    assert accuracy > 0.9
    assert list(run.student.state_dict()) == list(network.state_dict())
    assert splits.warnings == ()


def test_an_exported_student_takes_its_inputs_alone(tmp_path):
    """Identifiers are in the rows, for teachers, but not in the file of the student."""
    onnxruntime = pytest.importorskip("onnxruntime")
    cells = [("" if at % 9 == 2 else at * 7 % 5 + 0.5, ("p", "q", "")[at % 3]) for at in range(40)]
    lines = [
        f"{at},{x},{z},2024-01-{at % 9 + 1:02},{'ab'[at % 2]}" for at, (x, z) in enumerate(cells)
    ]
    (tmp_path / "a.csv").write_text("\n".join(["id,x,z,day,y", *lines]))
    splits = load_data("data", {"train": str(tmp_path / "a.csv"), "label": "y"})
    inputs = splits.table_inputs({"x": [1.0, 2.5, 4.0]})
    student = tl.layers.Prepared(nn.Linear(inputs.features, 2), inputs)
    tl.export(student, splits.train, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    rows = splits.train[:][0]
    (found,) = session.run(None, {"input": rows[:, splits.columns.used].numpy()})
    np.testing.assert_allclose(found, student(rows).detach(), rtol=1e-4, atol=1e-5)
