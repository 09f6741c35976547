"""`tutelage label`: from two names to a store, the one that `tl.label` makes."""

import subprocess
import sys

import pytest
import torch
from typer.testing import CliRunner

import tutelage as tl
from tutelage.cli import app

SOURCE = """
import torch
import tutelage as tl
from torch.utils.data import TensorDataset

torch.manual_seed(3)
net = torch.nn.Linear(6, 5)
inputs = torch.randn(40, 6)

def teacher():
    return net

def noisy(inputs):
    return inputs + torch.randn_like(inputs)

def data():
    return TensorDataset(inputs)

def turning():
    return tl.data.Views(data(), noisy, count=3, seed=0)
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "of_cli_label.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop(path.stem, None)


def invoke(*arguments):
    return CliRunner().invoke(app, ["label", *map(str, arguments)], env={"TERM": "dumb"})


def content(folder):
    files = sorted(path for path in folder.iterdir() if path.name != ".lock")
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("data", "words", "options"),
    [
        ("data", [], {}),
        ("data", ["--dtype", "float32", "--batch-size", "16"], {"dtype": "float32", "batch": 16}),
        ("data", ["--top-k", "2"], {"top_k": 2}),
        (
            "data",
            ["--sampled-classes", "3", "--temperature", "2"],
            {"sampled_classes": 3, "temperature": 2},
        ),
        ("turning", ["--views", "3", "--precision", "bf16"], {"views": 3, "precision": "bf16"}),
    ],
)
def test_the_store_is_that_of_the_function(data, words, options, source, tmp_path):
    out = tmp_path / "targets"
    done = invoke(f"{source}:teacher", f"{source}:{data}", "--out", out, *words)
    assert done.exit_code == 0, done.output
    views = options.get("views", 1)
    assert done.stdout.startswith(f"Targets: {out} (40 examples, views: {views}, ")
    files = {getattr(each, "__file__", None): each for each in [*sys.modules.values()]}
    module = files[str(source)]
    tl.label(
        module.net,
        getattr(module, data)(),
        out=tmp_path / "same",
        views=views,
        top_k=options.get("top_k"),
        sampled_classes=options.get("sampled_classes"),
        temperature=options.get("temperature", 1.0),
        dtype=options.get("dtype", "float16"),
        batch_size=options.get("batch", 256),
        engine=tl.Engine(precision=options.get("precision", "fp32"), progress=False),
    )
    assert content(out) == content(tmp_path / "same")


@pytest.mark.parametrize(
    ("teacher", "data", "words", "message"),
    [
        ("teachr", "data", [], "`TEACHER` must name an existing object"),
        ("teacher", "dta", [], "`DATA` must name an existing object"),
        ("inputs", "data", [], "`teacher` must be a torch.nn.Module"),
        ("teacher", "data", ["--dtype", "int8"], "`dtype` must be one of"),
        ("teacher", "data", ["--precision", "fp8"], "`precision` must be one of"),
        ("teacher", "data", ["--views", "0"], "`views` must be at least 1"),
        ("teacher", "data", ["--top-k", "9"], "`top_k` must be at most the number of classes"),
    ],
)
def test_an_error_is_one_line(teacher, data, words, message, source, tmp_path):
    arguments = (f"{source}:{teacher}", f"{source}:{data}", "--out", tmp_path / "targets", *words)
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert (done.stderr.count("\n"), done.stdout) == (1, "")


def test_damaged_blocks_are_computed_again(source, tmp_path):
    out = tmp_path / "targets"
    arguments = (f"{source}:teacher", f"{source}:data", "--out", out)
    invoke(*arguments)
    whole = content(out)
    file = out / "output.0000.npy"
    file.write_bytes(whole[file.name][:-1] + bytes([whole[file.name][-1] ^ 1]))
    assert "verify=True" in invoke(*arguments).stderr
    assert invoke(*arguments, "--verify").exit_code == 0
    assert content(out) == whole


def test_from_the_shell_by_the_names_of_modules_in_the_working_folder(source, tmp_path):
    name = source.stem
    command = [
        sys.executable,
        "-P",
        "-W",
        "error",
        "-m",
        "tutelage",
        "label",
        "--out",
        "targets",
    ]
    done = subprocess.run(
        [*command, f"{name}:teacher", f"{name}:data", "--dtype", "float32"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Targets: targets (40 examples, views: 1, ")
    code = compile(SOURCE, str(source), "exec")
    exec(code, made := {})
    found = tl.TargetStore.open(tmp_path / "targets").read("output", range(40))
    with torch.inference_mode():
        assert isinstance(found, torch.Tensor)
        assert torch.equal(found, made["net"](made["inputs"]))
