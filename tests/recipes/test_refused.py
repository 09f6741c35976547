"""What is wrong in a recipe is named with its line, before anything is trained."""

import numpy as np
import pytest

import tutelage as tl
from recipe_sources import RECIPE


def error(job, old, new):
    assert old in RECIPE
    (job / "job.yaml").write_text(RECIPE.replace(old, new))
    with pytest.raises(tl.TutelageError) as raised:
        tl.Recipe.from_file("job.yaml").run()
    assert not (job / "runs" / "job" / "metrics.jsonl").exists()
    return str(raised.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch_size", "batchsize", "job.yaml, line 10: `training.batchsize` is unknown; did you "),
        ("training:", "trainign:", "line 8: `trainign` is unknown; did you mean 'training'?"),
        ("SoftTargets:", "SoftTarget:", "line 7: `objective.SoftTarget` is unknown; did you mean "),
        ("temperature: 4", "temprature: 4", "line 7: `objective.SoftTargets.temprature` is unknow"),
        ("temperature: 4", "temperature: x", "line 7: `objective.SoftTargets.temperature"),
        ("temperature: 4", "temperature: [4]", "line 7: `objective.SoftTargets.temperature` must "),
        ("temperature: 4", "temperature: -4", "line 7: `temperature` must be positive, got -4.0"),
        ("weight: 0.9", "weight: -1", "line 7: `weight` must be zero or more, got -1.0"),
        ("epochs: 2", "epochs: two", "line 9: `training.epochs` must be an integer, got 'two'"),
        ("epochs: 2", "epochs: 0", "line 9: `epochs` must be at least 1, got 0"),
        ("epochs: 2", "epochs: true", "line 9: `training.epochs` must be an integer, got true"),
        ("{lr: 5e-3}", "{lr: -1}", "line 11: `training.optimizer.AdamW` must be given what it acc"),
        ("AdamW:", "Adamw:", "line 11: `training.optimizer.Adamw` is unknown; did you mean 'Adam"),
        ("{AdamW: {lr: 5e-3}}", "LBFGS", "line 11: `training.optimizer.LBFGS` is unknown"),
        ("{AdamW: {lr: 5e-3}}", "SparseAdam", "line 11: `training.optimizer.SparseAdam` must be"),
        ("{AdamW: {lr: 5e-3}}", "{AdamW: , SGD: }", "must name one thing, got AdamW, SGD"),
        ("job.py:net", "job.py:nett", "line 2: `teacher` must name an existing object"),
        ("job.py:small", "job.py:data", "line 3: `student` must be a torch.nn.Module to be train"),
        ("job.py:data", "job.py:net", "line 4: `data` must name data, or a dict"),
        ("student: job.py:small", "", "`student` must be given"),
        ("job.py:data", "job.py:nothing", "line 4: `data`: `train` must be a file, a folder"),
        ("job.py:data", "{test: job.py:test}", "line 4: `data.train` must be given"),
    ],
)
def test_an_error_names_its_line_and_what_to_do(job, old, new, message):
    assert message in error(job, old, new)


def test_several_errors_are_told_together(job):
    found = error(job, "training:\n  epochs: 2", "trainng: 3\noutt: 4\ntraining:\n  epochs: x")
    assert [line.split(":")[0] for line in found.splitlines()] == [
        "job.yaml, line 8",
        "job.yaml, line 9",
    ]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epochs", "an override must be KEY=VALUE"),
        ("training..epochs=3", "an override must be KEY=VALUE"),
        ("training.epoch=3", "--set training.epoch=3: `training.epoch` is unknown; did you mean"),
        ("training.epochs=x", "--set training.epochs=x: `training.epochs` must be an integer"),
        ("out.x=3", "--set out.x=3: `out` must be a mapping or a list, got 'runs/job'"),
        ("out=[", "--set out=[, line 1: a recipe must be YAML"),
    ],
)
@pytest.mark.usefixtures("job")
def test_a_wrong_override_is_named(override, message):
    with pytest.raises(tl.RecipeError) as raised:
        tl.Recipe.from_file("job.yaml", [override])
    assert message in str(raised.value)


@pytest.mark.parametrize("text", ["", "- a", "just text", "3", "teacher:"])
def test_a_file_that_is_no_recipe_is_refused(job, text):
    (job / "job.yaml").write_text(text)
    with pytest.raises(tl.RecipeError, match=r"job\.yaml"):
        tl.Recipe.from_file("job.yaml")


def test_a_recipe_in_the_folder_of_another_run_changes_nothing_there(job):
    tl.Recipe.from_file("job.yaml").run()
    kept = (job / "runs" / "job" / "recipe.yaml").read_bytes()
    with pytest.raises(tl.RunFolderError, match="must be new or hold this very run"):
        tl.Recipe.from_file("job.yaml", ["training.batch_size=8"]).run()
    assert (job / "runs" / "job" / "recipe.yaml").read_bytes() == kept


def test_errors_of_the_users_code_are_theirs(job):
    source = (job / "job.py").read_text()
    (job / "job.py").write_text(f"{source}\n\ndef net():\n    raise ValueError('mine')\n")
    with pytest.raises(ValueError, match=r"^mine$"):
        tl.Recipe.from_file("job.yaml").run()


def test_a_teacher_with_random_weights_is_refused(tmp_path):
    pytest.importorskip("timm")
    np.savez(tmp_path / "data.npz", x=np.zeros((8, 32, 32, 3), np.uint8), y=np.arange(8) % 2)
    recipe = {
        "teacher": "timm:resnet18", "student": "timm:resnet18",
        "data": {"train": str(tmp_path / "data.npz")}, "objective": "SoftTargets",
    }  # fmt: skip
    with pytest.raises(tl.TutelageError, match="random weights"):
        tl.Recipe({**recipe, "out": str(tmp_path / "run")}).run()


def test_the_kept_recipe_is_the_one_that_ran_and_not_one_that_failed(job):
    with pytest.raises(tl.RecipeError):
        tl.Recipe.from_file("job.yaml", ["training.epochs=0"]).run()
    tl.Recipe.from_file("job.yaml", ["training.epochs=1"]).run()
    kept = (job / "runs" / "job" / "recipe.yaml").read_text()
    assert "epochs: 1" in kept
