"""`tutelage show` and `tutelage verify`."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import tutelage as tl
from store.conftest import dense, fill, manifest
from tutelage.cli import app
from tutelage.store.summary import examples, resemblances


def invoke(*arguments):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "120", "TERM": "dumb"})


def label(out, logits, **options):
    engine = tl.Engine(device="cpu", progress=False)
    return tl.label(nn.Identity(), TensorDataset(logits), out=out, engine=engine, **options)


@pytest.fixture
def logits():
    """Class 0 looks a little like class 2, class 1 like nothing, class 2 like 0 and 1."""
    rows = torch.tensor([[0.7, 0.0, 0.3], [0.0, 1.0, 0.0], [0.25, 0.15, 0.6], [0.9, 0.1, 0.0]])
    return rows.clamp(min=1e-6).log().repeat(500, 1)


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"dtype": "float32"}])
def test_the_summary_is_the_mean_answer_of_each_class(options, logits, tmp_path):
    store = label(tmp_path, logits, **options)
    found = resemblances(store, others=2)
    kept = logits.softmax(dim=1)
    if "top_k" in options:
        kept = kept.where(kept >= kept.topk(2, dim=1).values[:, 1:], 0)
    for each in found:
        rows = kept[logits.argmax(dim=1) == each.predicted]
        assert each.examples == len(rows)
        assert each.own == pytest.approx(float(rows.mean(0)[each.predicted]), abs=2e-3)
        for name, share in each.others:
            assert share == pytest.approx(float(rows.mean(0)[name]), abs=0.06 if options else 2e-3)
    assert [each.predicted for each in found] == [0, 1, 2]
    assert found[0].others[0][0] == 2


def test_examples_are_spread_over_the_store(logits, tmp_path):
    store = label(tmp_path, logits)
    found = examples(store)
    assert [each.row for each in found] == [0, 999, 1999]
    assert found[0].top[0] == (0, pytest.approx(0.7, abs=1e-3))


def test_without_classes_there_is_no_summary(tmp_path):
    store = label(tmp_path / "values", torch.randn(20, 1))
    assert resemblances(store) == examples(store) == []
    assert invoke("show", str(store.path)).exit_code == 0


def test_show_prints_what_the_manifest_says(logits, tmp_path):
    store = label(tmp_path / "store", logits, top_k=2)
    done = invoke("show", str(store.path))
    assert done.exit_code == 0, done.output
    for text in (
        store.manifest.teacher,
        store.manifest.data.fingerprint,
        "2,000 examples",
        "top 2 of 3 classes + rest",
        "output.logits.*.npy",
        "what the teacher takes each for",
        "row 1999: 0: 90.0 %",
        "10.2 bytes a row",  # 2 · (2 + 2) + 2, and three headers
    ):
        assert text in done.stdout, done.stdout


def test_of_many_classes_the_least_sure_are_shown(tmp_path):
    store = label(tmp_path / "store", 5 * torch.eye(40).repeat(3, 1))
    done = invoke("show", str(store.path))
    assert "the 30 that it is least sure of" in done.stdout


def test_verify_says_what_is_sound_and_what_is_not(logits, tmp_path):
    store = label(tmp_path / "store", logits)
    done = invoke("verify", str(store.path))
    assert (done.exit_code, "is sound: 2 blocks in 1 files" in done.stdout) == (0, True)
    path = store.path / "output.0000.npy"
    content = bytearray(path.read_bytes())
    content[128 + 1500 * 6] ^= 8
    path.write_bytes(content)
    done = invoke("verify", str(store.path))
    assert done.exit_code == 1
    assert "output.0000.npy is damaged in block 1 (examples 1024 to 1999)" in done.stdout
    assert "verify=True, which makes only these anew" in done.stdout


def test_verify_of_an_unfinished_store_says_so(tmp_path):
    fill(tmp_path / "store", manifest([dense()]), [0, 1])
    done = invoke("verify", str(tmp_path / "store"))
    assert done.exit_code == 0
    assert "is sound, which is not finished: only what is was read" in done.stdout


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_folder_without_a_store_or_with_a_damaged_manifest_is_one_line(command, tmp_path):
    done = invoke(command, str(tmp_path))
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "must be a folder with manifest.json" in done.stderr
    (tmp_path / "manifest.json").write_text("{")
    done = invoke(command, str(tmp_path))
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "must be as it was written" in done.stderr
