"""Code that comes with a model runs only with consent, which a recipe cannot give."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import tutelage as tl
from tutelage.cli import app

CHANGES = ["--set", "teacher=teacher.pt2", "--set", "training.epochs=1"]


@pytest.fixture
def program(job):
    batch = torch.export.Dim("batch")
    found = torch.export.export(nn.Linear(4, 3), (torch.ones(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(found, job / "teacher.pt2")


@pytest.mark.usefixtures("program")
def test_consent_is_an_argument():
    recipe = tl.Recipe.from_file("job.yaml", ["teacher=teacher.pt2"])
    with pytest.raises(tl.ModelError, match="--trust"):
        recipe.evaluate("val")
    trusted = tl.Recipe.from_file("job.yaml", ["teacher=teacher.pt2"], trust=True)
    assert "accuracy" in trusted.evaluate("val")["teacher"]
    assert "trust" not in trusted.resolved()


@pytest.mark.usefixtures("program")
def test_consent_is_an_option_of_commands():
    for command in (["distill", "--no-report"], ["evaluate", "--on", "val"]):
        arguments = [*command, "job.yaml", *CHANGES]
        assert "--trust" in CliRunner().invoke(app, arguments).stderr
        assert CliRunner().invoke(app, [*arguments, "--trust"]).exit_code == 0
    assert CliRunner().invoke(app, ["show", "teacher.pt2"]).exit_code == 1
    assert CliRunner().invoke(app, ["show", "teacher.pt2", "--trust"]).exit_code == 0


def test_the_code_of_a_recipe_is_what_it_names():
    values = {
        "teacher": ["job.py:net@a.pt", "timm:resnet18"],
        "student": "other.package:small",
        "data": {"train": "job.py:train", "val": "val.csv"},
        "objective": {"job.py:Squares": {"scale": 2}, "SoftTargets": 4},
        "training": {"transform": "job.py:doubled", "metrics": {"x": "job.py:metric"}},
    }
    code = tl.Recipe(values).code()
    names = ["net", "train", "Squares", "doubled", "metric"]
    assert sorted(code) == sorted(["other.package:small", *(f"job.py:{each}" for each in names)])
    assert (
        tl.Recipe({"data": "t.csv", "teacher": "tutelage.recipes.fitted:boosted_trees"}).code()
        == []
    )


@pytest.mark.parametrize(
    "name",
    [
        "tutelage.py:Evil",
        "tutelage.d/mine.py:Evil",
        "tutelage.files:os.system",
        "tutelage.references.python_object:import_module",
        "tutelage.references.python_object.mine:Evil",
    ],
)
def test_a_name_that_begins_as_the_library_is_code_of_the_user(name):
    assert tl.Recipe({"data": "t.csv", "objective": {name: {}}}).code() == [name]


def test_a_module_that_is_called_as_a_kind_of_models_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hf.py").write_text("open('ran', 'w')\nclass Evil: pass\n")
    (tmp_path / "net.py").write_text("def net(): pass\n")
    recipe = tl.Recipe({"data": "t.csv", "student": "net.py:net", "objective": {"hf:Evil": {}}})
    with pytest.raises(tl.TutelageError, match="hf:Evil"):
        recipe.run()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_a_terminal_asks_once_before_it_runs_code(job, monkeypatch, answer, code):
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("tutelage.cli.recipes.sys", terminal)
    command = ["label", "job.yaml", "--set", "teacher=job.py:net"]
    found = CliRunner().invoke(app, command, input=f"{answer}\n")
    assert "job.yaml runs code: job.py:net, " in found.stderr
    assert found.exit_code == code
    assert (job / "runs").exists() == (code == 0)
    if code == 0:
        assert CliRunner().invoke(app, command).exit_code == 0  # not asked again
