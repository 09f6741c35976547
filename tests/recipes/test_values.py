"""Students of values learn targets of any unit, and give them in that unit."""

import json
import logging

import numpy as np
import pytest
import torch

import tutelage as tl

BASE = {
    "teacher": "tutelage.recipes.fitted:boosted_trees",
    "student": {"mlp": {"hidden": [32, 32]}},
    "data": {"train": "table.csv", "label": "charges", "val": 0.2, "test": 0.2},
    "objective": {"OutputRegression": {}},
    "training": {"epochs": 30, "batch_size": 32, "optimizer": {"AdamW": {"lr": 3e-3}}},
}


@pytest.fixture
def table(job):
    """Charges as those of health insurance: around 13,000, with a deviation of 12,000."""
    draw = np.random.default_rng(0)
    age, bmi = draw.integers(18, 65, 600), draw.normal(30, 6, 600)
    smoker = draw.random(600) < 0.25
    charges = 250 * age + 300 * (bmi - 30) + smoker * (15000 + 900 * (bmi - 30).clip(0))
    charges += draw.normal(0, 800, 600)
    rows = zip(age, bmi.round(2), np.where(smoker, "yes", "no"), charges.round(2), strict=True)
    lines = ["age,bmi,smoker,charges", *(",".join(map(str, row)) for row in rows)]
    (job / "table.csv").write_text("\n".join(lines))
    return job


@pytest.mark.usefixtures("table")
def test_values_of_any_unit_are_learned():
    recipe = tl.Recipe(BASE)
    run = recipe.run()
    found = recipe.evaluate("test")
    assert found["teacher"]["r2"] > 0.8
    assert found["student"]["r2"] > 0.8
    assert found["student"]["mse"] > 1e4  # in the unit of the labels
    rows = tl.Recipe(BASE)._job().load().data.test[:4][0]
    assert run.student(rows).abs().mean() > 1000
    again = tl.Recipe(BASE).run()  # the finished run
    assert torch.equal(again.student(rows), run.student(rows))
    values = BASE | {"standardize": False, "out": "plain"}
    values["training"] = BASE["training"] | {"epochs": 5}
    assert tl.Recipe(values).run().history[-1]["val/r2"] < 0


@pytest.mark.usefixtures("table")
def test_plain_gradient_descent_learns_them_too():
    training = {"epochs": 30, "batch_size": 32, "optimizer": {"SGD": {"lr": 0.05}}}
    recipe = tl.Recipe(BASE | {"training": training, "objective": {"LabelRegression": {}}})
    recipe.run()
    assert recipe.evaluate("test")["student"]["r2"] > 0.7


@pytest.mark.usefixtures("table")
def test_the_exported_file_gives_the_same_values():
    pytest.importorskip("onnxruntime")
    recipe = tl.Recipe(BASE | {"training": {"epochs": 2, "batch_size": 32}})
    run = recipe.run()
    path = recipe.export().path
    import onnxruntime  # noqa: PLC0415 - may be missing

    rows = recipe._job().load().data.test[:8][0]
    [values] = onnxruntime.InferenceSession(path).run(None, {"input": rows.numpy()})
    np.testing.assert_allclose(values, run.student(rows).detach(), rtol=1e-4)


@pytest.mark.usefixtures("table")
def test_a_study_has_them_in_all_arms():
    values = BASE | {"study": {"seeds": 1}}
    values["training"] = BASE["training"] | {"epochs": 10}
    found = tl.Recipe(values).study()
    for arm in found.results.arms:
        assert all(trial.metrics["r2"] > 0.5 for trial in arm.trials), arm.name


def test_without_labels_the_teacher_tells_outputs_and_scale(table):
    lines = (table / "table.csv").read_text().splitlines()
    (table / "plain.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    (table / "job.py").write_text(
        "import numpy as np, tutelage as tl\n"
        "def teacher():\n"
        "    return tl.teachers.Predictor(lambda x: np.c_[250 * x[:, 0], 1e-3 * x[:, 1]])\n"
    )
    values = BASE | {"teacher": "job.py:teacher", "data": {"train": "plain.csv", "val": 0.2}}
    run = tl.Recipe(values).run()
    rows = tl.Recipe(values)._job().load().data.val[:64][0]
    expected = torch.stack([250 * rows[:, 0], 1e-3 * rows[:, 1]], 1).float()
    error = (run.student(rows).detach() - expected).std(0) / expected.std(0)
    assert (error < 0.3).all()  # of both units alike


def test_a_student_that_knows_the_values_is_left_as_it_is(table):
    (table / "job.py").write_text(
        "import torch\n"
        "class Known(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.tensor(300.0))\n"
        "    def forward(self, rows):\n"
        "        return (self.weight * rows[:, :1] + 20000 * (1 - rows[:, 2:3])).float()\n"
    )
    training = {"epochs": 1, "optimizer": {"SGD": {"lr": 1e-9}}}
    run = tl.Recipe(BASE | {"student": "job.py:Known", "training": training}).run()
    known = set(run.student.state_dict())
    assert known in ({"weight"}, {"weight", "target_mean", "target_deviation"})


def test_the_number_of_classes_is_learned_from_the_teacher(job):
    rows = [f"{at % 7},{at % 3}" for at in range(60)]
    (job / "rows.csv").write_text("\n".join(["a,b", *rows]))
    (job / "job.py").write_text(
        "import numpy as np, tutelage as tl\n"
        "def teacher():\n"
        "    return tl.teachers.Predictor(lambda x: 5 * np.eye(4)[x[:, 0].astype(int) % 4])\n"
    )
    values = {
        "teacher": "job.py:teacher",
        "student": {"mlp": {"hidden": [4]}},
        "data": {"train": "rows.csv"},
        "objective": {"SoftTargets": 2},
        "training": {"epochs": 1},
    }
    assert tl.Recipe(values).run().student(torch.zeros(2, 2)).shape == (2, 4)
    assert "agreement" in tl.Recipe(values).evaluate("train")["student"]


ABSURD = {
    "classes": ("c", "lambda x: 5 * np.eye(3)[(x[:, 0].astype(int) + 1) % 3]", {"SoftTargets": 1}),
    "values": ("v", "lambda x: np.log(x[:, 0] + 1000)", {"OutputRegression": {}}),
}


@pytest.mark.parametrize("kind", ABSURD)
@pytest.mark.parametrize("absurd", [True, False])
def test_a_teacher_that_is_worse_than_a_constant_is_told(job, caplog, kind, absurd):
    label, function, objective = ABSURD[kind]
    rows = [f"{at % 30},{'xyz'[at % 3]},{at % 30 + 1000}" for at in range(120)]
    (job / "rows.csv").write_text("\n".join(["a,c,v", *rows]))
    if not absurd:
        function = function.replace("+ 1) % 3", ") % 3").replace(
            "np.log(x[:, 0] + 1000)", "x[:, 0] + 1000.0"
        )
    (job / "job.py").write_text(
        f"import numpy as np, tutelage as tl\ndef teacher():\n"
        f"    return tl.teachers.Predictor({function})\n"
    )
    values = {
        "teacher": "job.py:teacher",
        "student": {"mlp": {"hidden": [4]}},
        "data": {"train": "rows.csv", "label": label, "columns": "a", "kind": kind},
        "objective": objective,
        "training": {"epochs": 1},
    }
    with caplog.at_level(logging.WARNING, "tutelage.recipes"):
        tl.Recipe(values).run()
    told = [each for each in caplog.messages if "the teacher" in each]
    told = [each for each in told if "training examples" in each]
    assert len(told) == absurd, caplog.text
    assert not absurd or "classes and columns in the order of this data" in told[0]
    assert json.loads((job / "runs/recipe/student.json").read_text())
