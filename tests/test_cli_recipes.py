"""Commands that carry out a recipe: from a file to a student, a study, stored targets, metrics."""

import json
import re
import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import tutelage as tl
from recipe_sources import RECIPE, SOURCE
from tutelage.cli import app
from tutelage.cli.init import STARTERS


@pytest.fixture(autouse=True)
def job(tmp_path, monkeypatch):
    """The working folder: `job.py` with models and data, `job.yaml` with a recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "job.py").write_text(SOURCE)
    (tmp_path / "job.yaml").write_text(RECIPE)
    yield tmp_path
    sys.modules.pop("job", None)


def invoke(*arguments):
    found = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "TERM": "dumb"})
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found


def as_json(*arguments):
    found = invoke(*arguments, "--json")
    return found.exit_code, json.loads(found.stdout)


@pytest.mark.usefixtures("job")
def test_names_of_metrics_are_not_markup(monkeypatch):
    metrics = {"student": {"[/x]/accuracy": 0.5, "[north]/accuracy": 1.0}}
    monkeypatch.setattr(tl.Recipe, "evaluate", lambda *_: metrics)
    found = invoke("evaluate", "job.yaml")
    assert found.exit_code == 0
    assert "[/x]/accuracy" in found.stdout
    assert "[north]/accuracy" in found.stdout


def test_distill_then_evaluate(job):
    done = invoke("distill", "job.yaml", "--set", "training.epochs=1")
    assert done.exit_code == 0, done.output
    assert "Report: runs/job/report.html" in done.stdout
    assert {"recipe.yaml", "student.safetensors", "report.html"} <= {
        each.name for each in (job / "runs" / "job").iterdir()
    }
    code, metrics = as_json("evaluate", "job.yaml")
    assert (code, list(metrics)) == (0, ["teacher", "student"])
    assert {"accuracy", "agreement"} <= metrics["student"].keys()
    assert "accuracy" in invoke("evaluate", "job.yaml", "--on", "val").stdout
    code, exported = as_json("export", "runs/job")
    assert (code, exported["path"]) == (0, "runs/job/student.onnx")
    assert (job / "runs" / "job" / "student.onnx").stat().st_size == exported["file_bytes"]
    code, smaller = as_json("export", "runs/job", "--int8", "--to", "small.onnx")
    assert (code, smaller["path"]) == (0, "small.onnx")
    assert b"MatMulInteger" in (job / "small.onnx").read_bytes()


def test_fresh_trains_anew(job):
    folder = job / "runs/job"
    assert invoke("distill", "job.yaml", "--no-report").exit_code == 0
    first = (folder / "run.json").stat().st_mtime_ns
    assert invoke("distill", "job.yaml", "--no-report").exit_code == 0
    assert (folder / "run.json").stat().st_mtime_ns == first
    assert invoke("distill", "job.yaml", "--no-report", "--fresh").exit_code == 0
    assert (folder / "run.json").stat().st_mtime_ns > first
    assert "fresh" not in (folder / "recipe.yaml").read_text()


def test_an_error_of_several_lines_is_one_line():
    assert invoke("distill", "job.yaml", "--no-report").exit_code == 0
    done = invoke(
        "distill", "job.yaml", "--set", "training.batch_size=8", "--set", "training.seed=1"
    )
    line = done.stderr.splitlines()[-1]
    assert re.search(
        r"differs in seed: 0 → 1; teacher: .*; train.batch_size: 16 → 8; .*; give another", line
    ), line


def test_without_labels_a_student_is_compared_with_its_teacher(job):
    text = SOURCE.replace("TensorDataset(inputs, inputs[:, :3].argmax(1))", "TensorDataset(inputs)")
    (job / "job.py").write_text(text)
    objective = "objective={SoftTargets: {temperature: 4}}"
    one = ["--set", "training.epochs=1", "--set", objective]
    code, found = as_json("evaluate", "job.yaml", *one)
    assert code == 1
    assert "`test` must have labels, or a student that was trained" in found["error"]["message"]
    assert invoke("distill", "job.yaml", "--no-report", *one).exit_code == 0
    code, metrics = as_json("evaluate", "job.yaml", *one)
    assert (code, list(metrics)) == (0, ["student"])
    assert "agreement" in metrics["student"]


def test_json_has_what_was_made_and_nothing_else(job):
    (job / "job.py").write_text(SOURCE + "\nprint('noise of the user')\n")
    code, found = as_json("distill", "job.yaml", "--no-report")
    assert code == 0
    assert found["student"] == "runs/job/student.safetensors"
    assert found["metrics"]["epoch"] == found["best_epoch"]


def test_errors_exit_with_1_and_wrong_arguments_with_2():
    assert invoke("distill", "none.yaml").exit_code == 1
    assert invoke("distill").exit_code == 2
    assert invoke("distill", "job.yaml", "--unknown").exit_code == 2
    code, found = as_json("distill", "job.yaml", "--set", "training.epoch=1")
    assert (code, found["error"]["type"]) == (1, "RecipeError")
    done = invoke("distill", "job.yaml", "--set", "a=1", "--set", "b=2")
    assert [line[:15] for line in done.stderr.splitlines()] == [
        "Error: --set a=",
        "Error: --set b=",
    ]


def test_label_stores_the_outputs_that_distill_then_learns_from():
    code, found = as_json("label", "job.yaml", "--set", "label.dtype=float32")
    assert (code, list(found)) == (0, ["train", "val", "test"])
    assert found["train"]["examples"] == 48
    run = tl.Recipe.from_file("job.yaml", ["label.dtype=float32"]).run()
    live = tl.Recipe.from_file("job.yaml", ["out=runs/live"]).run()
    assert run.history[-1]["train/loss"] == pytest.approx(live.history[-1]["train/loss"], rel=1e-4)
    assert invoke("verify", "runs/job/targets/train").exit_code == 0
    assert "48 examples" in invoke("show", "runs/job/targets/train").stdout


def test_options_of_label_that_a_recipe_gives_are_refused():
    done = invoke("label", "job.yaml", "--views", "2")
    assert done.exit_code == 1
    assert "--set label.views=VALUE" in done.stderr
    done = invoke("label", "job.yaml", "--precision", "bf16")
    assert "--set label.engine.precision=VALUE" in done.stderr
    assert invoke("label", "job.yaml", "--set", "label.engine.precision=bf16").exit_code == 0
    assert tl.TargetStore.open("runs/job/targets/train").manifest.settings.precision == "bf16"
    done = invoke("label", "job.yaml", "--out", "elsewhere")
    assert "--set out=VALUE" in done.stderr
    assert invoke("label", "job.py:net").exit_code == 2


def test_show_lists_what_a_layer_map_may_name():
    code, found = as_json("show", "job.py:blocks")
    assert code == 0
    assert found["blocks"] == ["0", "1", "2", "3"]
    assert [each["path"] for each in found["layers"]][:3] == ["0", "0.0", "0.1"]
    assert found["parameters"] == 4 * (4 * 4 + 4)
    shown = invoke("show", "job.py:blocks", "--depth", "1").stdout
    assert "and 8 layers inside of these (--depth 2)" in shown
    assert "layer_map: {0: 3}" in shown


def test_show_takes_an_architecture_without_weights():
    pytest.importorskip("timm")
    code, found = as_json("show", "timm:resnet10t")
    assert code == 0
    assert "for 2 classes" in found["note"]
    assert not as_json("show", "job.py:blocks")[1]["note"]


def test_the_schema_is_one_of_json():
    found = json.loads(invoke("schema").stdout)
    assert {"teacher", "student", "data", "objective", "training"} <= found["properties"].keys()


@pytest.mark.parametrize("task", STARTERS)
def test_init_writes_a_recipe_that_is_valid(job, task):
    done = invoke("init", "mine/new.yaml", "--task", task, "--train", "my data.csv")
    assert done.exit_code == 0, done.output
    recipe = tl.Recipe.from_file(job / "mine" / "new.yaml")
    assert recipe.model.data.root.train == "my data.csv"
    assert "tutelage distill mine/new.yaml" in (job / "mine" / "new.yaml").read_text()
    assert invoke("init", "mine/new.yaml", "--task", task).exit_code == 1
    assert invoke("init", "mine/new.yaml", "--task", task, "--force").exit_code == 0


@pytest.fixture
def answered(monkeypatch):
    """A function that runs `tutelage init` as in a terminal; it returns the exit code."""
    terminal = SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys.modules["tutelage.cli.init"], "sys", terminal)

    def run(lines, *arguments):
        typed = "".join(f"{line}\n" for line in lines)
        return CliRunner().invoke(app, ["init", *arguments], input=typed).exit_code

    return run


def test_init_asks_in_a_terminal_for_what_is_not_given(job, answered):
    """An empty line takes the default: for a label the likely column. Columns are checked."""
    (job / "people.csv").write_text("age;Class;job\n1;a;x\n")
    assert answered(["people.csv", "", "model.ubj"], "--task", "table") == 0
    recipe = tl.Recipe.from_file(job / "recipe.yaml")
    assert recipe.model.data.root.train == "people.csv"
    assert recipe.model.data.root.label == "Class"
    assert recipe.model.teacher.root.root == "model.ubj"
    lines = ["", "people.csv", "none", "age", ""]
    assert answered(lines, "new.yaml") == 0
    recipe = tl.Recipe.from_file(job / "new.yaml")
    assert recipe.model.data.root.label == "age"
    assert recipe.model.teacher.root.root == "tutelage.recipes.fitted:boosted_trees"


def test_init_asks_again_for_data_that_is_not_there_or_has_no_labels(job, answered):
    """Of texts the default column is the one with the longest, unless its name is usual."""
    (job / "lines.txt").write_text("one\ntwo\n")
    (job / "mails.tsv").write_text("id\tmail\tfolder\n7\tdear sir, \tspam\n")
    lines = ["mail.tsv", "lines.txt", "mails.tsv", "", "", "hf:bert"]
    assert answered(lines, "--task", "text") == 0
    data = tl.Recipe.from_file(job / "recipe.yaml").model.data.root
    assert (data.train, data.text, data.label) == ("mails.tsv", "mail", "folder")
    lines = ["lines.txt", "hf:bert"]  # the column is not asked for
    assert answered(lines, "new.yaml", "--task", "sentence-encoder") == 0
    assert tl.Recipe.from_file(job / "new.yaml").model.data.root.train == "lines.txt"


def test_init_refuses_what_is_not_for_the_task():
    assert invoke("init", "--task", "nonsense").exit_code == 2
    assert invoke("init").exit_code == 2  # nobody can be asked
    assert invoke("init", "--task", "table", "--text", "body").exit_code == 2
