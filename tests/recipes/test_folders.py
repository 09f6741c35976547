"""The folder of a recipe's run: nothing of the user's is overwritten, and it can be moved."""

import shutil
from pathlib import Path

import pytest
import torch

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.recipes import recipe as recipes


@pytest.mark.parametrize("name", ["recipe.yaml", "job.yaml"])
def test_a_folder_of_the_users_is_never_written_into(job, name):
    content = "# mine\n" + RECIPE.replace("runs/job", ".")
    (job / name).write_text(content)
    before = {each.name: each.read_bytes() for each in job.iterdir()}
    for command in ("run", "label"):
        with pytest.raises(tl.RunFolderError, match="`out` must be a"):
            getattr(tl.Recipe.from_file(name), command)()
    after = {each.name: each.read_bytes() for each in job.iterdir() if each.is_file()}
    assert after == before


def test_a_recipe_beside_its_targets_is_not_overwritten(job):
    (job / "mine").mkdir()
    (job / "mine/recipe.yaml").write_text(RECIPE.replace("runs/job", "mine"))
    with pytest.raises(tl.RunFolderError, match="`out` must be a folder of its own"):
        tl.Recipe.from_file("mine").run()
    assert (job / "mine/recipe.yaml").read_text() == RECIPE.replace("runs/job", "mine")


def test_a_moved_run_is_the_same_run(job):
    recipe = tl.Recipe.from_file("job.yaml")
    run, found = recipe.run(), recipe.evaluate("val")
    shutil.move(job / "runs/job", job / "elsewhere")
    moved = tl.Recipe.from_file("elsewhere")
    assert moved.evaluate("val") == found
    again = moved.run()
    assert again.out == Path("elsewhere")
    assert not (job / "runs/job").exists()
    for name, value in run.student.state_dict().items():
        assert torch.equal(again.student.state_dict()[name], value)
    assert str(tl.Recipe.from_file("elsewhere", ["out=new"]).out) == "new"


def test_a_student_is_exported_without_the_teacher(job):
    pytest.importorskip("onnxruntime")
    (job / "teacher.py").write_text((job / "job.py").read_text())
    recipe = tl.Recipe.from_file("job.yaml", ["teacher=teacher.py:net"])
    recipe.run()
    (job / "teacher.py").unlink()
    assert tl.Recipe.from_file("runs/job").export().path.exists()
    (job / "other.py").write_text("net = 3")  # another error than that of a missing file
    with pytest.raises(tl.TutelageError, match=r"`teacher` must be a torch.nn.Module|must name"):
        tl.Recipe.from_file("runs/job", ["teacher=other.py:net"]).export()


@pytest.mark.usefixtures("job")
def test_stored_targets_are_those_of_their_data_only():
    tl.Recipe.from_file("job.yaml").label()
    stored = tl.Recipe.from_file("job.yaml", ["teacher=runs/job/targets/train", "out=runs/of"])
    live = tl.Recipe.from_file("job.yaml")
    assert stored.evaluate("train")["teacher"]["accuracy"] == pytest.approx(
        live.evaluate("train")["teacher"]["accuracy"]
    )
    with pytest.raises(tl.DataError):
        stored.evaluate("test")  # neither a teacher for it nor a student
    stored.run()
    assert set(stored.evaluate("test")) == {"student"}


def test_a_folder_may_hold_a_compression_before_a_run(job, monkeypatch):
    monkeypatch.setattr(recipes, "carry_out_compression", lambda _: None)
    recipe = tl.Recipe.from_file("job.yaml", ["training.epochs=1"])
    recipe.compress()
    assert (job / "runs/job/compress/recipe.yaml").exists()
    assert len(recipe.run().history) == 1
