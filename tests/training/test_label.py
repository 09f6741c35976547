"""What `label` writes, what it refuses, and that a student learns the same from it."""

import gc
import json

import pytest
import torch
from torch import nn
from torch._inductor import config
from torch.utils.data import Dataset, Subset, TensorDataset

import tutelage as tl
from compiling import compilers_warnings
from labelling import Coarse, Rows, content, data, label, quiet
from tutelage.training.label import TeacherOutputs


@pytest.mark.parametrize(
    ("dtype", "error"), [("float32", 0), ("float16", 5e-4), ("bfloat16", 4e-3)]
)
@pytest.mark.parametrize("labelled", [True, False])
def test_the_store_holds_what_the_teacher_says(dtype, error, labelled, tmp_path):
    teacher, dataset = Rows(), data(labelled=labelled)
    store = label(teacher, dataset, tmp_path, dtype=dtype, batch_size=64)
    expected = teacher(dataset.tensors[0]).detach()
    found = store.read("output", range(300)).float()
    assert bool(((found - expected).abs() <= error * expected.abs() + 1e-7).all())
    assert torch.equal(found, expected.to(getattr(torch, dtype)).float())


def test_features_are_kept_where_an_objective_wants_them(tmp_path):
    teacher, dataset = Rows(), data()
    objective = tl.FeatureMatch({"0": "hidden"}) + tl.SoftTargets(2)
    store = label(teacher, dataset, tmp_path, fields=objective, dtype="float32")
    assert [field.name for field in store.fields] == ["output", "hidden"]
    assert torch.equal(store.read("hidden", [7, 3]), torch.tanh(dataset.tensors[0][[7, 3]]))
    only = tl.label(
        teacher, dataset, out=tmp_path / "only", fields=tl.Fields(features=frozenset({"hidden"}))
    )
    assert [field.name for field in only.fields] == ["hidden"]


def test_top_k_keeps_the_likeliest_and_the_mass_of_the_rest(tmp_path):
    teacher, dataset = Rows(classes=40), data()
    store = label(teacher, dataset, tmp_path, top_k=3, dtype="float32")
    logits = teacher(dataset.tensors[0]).detach()
    found = store.read("output", range(300))
    top, ids = logits.topk(3, dim=1)
    assert torch.equal(found.ids, ids)
    others = logits.scatter(1, ids, -torch.inf).logsumexp(dim=1)
    cells = torch.cat([top, others[:, None]], dim=1).softmax(dim=1)
    kept = torch.cat([found.logits, found.other[:, None]], dim=1).softmax(dim=1)
    torch.testing.assert_close(kept, cells, rtol=1e-5, atol=1e-7)
    assert bool((found.logits[:, 0] == 0).all())


def test_sixteen_of_a_thousand_classes_take_66_bytes(tmp_path):
    teacher = nn.Linear(6, 1000)
    store = label(teacher, data(2048), tmp_path / "top", top_k=16)
    assert sum(column.entry_bytes for column in store.manifest.columns) == 66
    assert sum(map(len, content(tmp_path / "top").values())) < 70 * 2048
    dense = label(teacher, data(2048), tmp_path / "dense")
    assert sum(map(len, content(tmp_path / "dense").values())) < 1.01 * 2 * 1000 * 2048
    assert dense.bytes == 2 * 1000 * 2048 + 128


def test_a_teacher_that_knows_some_classes_is_kept_as_it_says(tmp_path):
    dataset = data(128)
    store = label(Coarse(), dataset, tmp_path, top_k=4, dtype="float32", batch_size=64)
    found = store.read("output", range(128))
    for first in (0, 64):
        rows = slice(first, first + 64)
        batch = tl.Batch(dataset.tensors[0][rows], index=torch.arange(128)[rows])
        said = Coarse().signals(batch, None).output
        for kept, whole in zip(as_dicts(found[rows]), as_dicts(said), strict=True):
            assert kept == pytest.approx(whole, abs=1e-6)


def as_dicts(coarse):
    """Each row's cells and their probabilities."""
    for ids, logits, rest in zip(coarse.ids, coarse.logits, coarse.other, strict=True):
        shares = torch.cat([logits, rest[None]]).softmax(0).tolist()
        cells = [*ids.tolist(), "rest"]
        yield {cell: share for cell, share in zip(cells, shares, strict=True) if cell != -1}


def test_a_coarse_teacher_that_comes_to_know_more_is_refused_without_top_k(tmp_path):
    with pytest.raises(
        tl.ModelError, match=r"at most 2 classes of an example, .* got 4; give `top"
    ):
        label(Coarse(), data(128), tmp_path, batch_size=64)


def test_with_top_k_what_a_coarse_teacher_knows_more_goes_into_the_rest(tmp_path):
    store = label(Coarse(), data(128), tmp_path, top_k=2, dtype="float32", batch_size=64)
    found = store.read("output", range(128))[slice(64, None)]
    batch = tl.Batch(data(128).tensors[0][64:], index=torch.arange(64, 128))
    said = Coarse().signals(batch, None).output
    whole = torch.cat([said.logits, said.other[:, None]], dim=1).softmax(dim=1)
    kept = torch.cat([found.logits, found.other[:, None]], dim=1).softmax(dim=1)
    expected = 1 - whole[:, :-1].topk(2, dim=1).values.sum(dim=1)
    torch.testing.assert_close(kept[:, -1], expected, rtol=1e-4, atol=1e-6)


OBJECTIVES = {
    "soft": 0.3 * tl.HardLabels() + tl.SoftTargets(tl.schedules.Linear(8, 1)),
    "features": tl.FeatureMatch({"0": "hidden"}) + tl.LogitRegression(),
}


def taught(teacher, dataset, objective, **options):
    torch.manual_seed(3)
    student = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5))
    run = tl.distill(
        teacher, student, train=dataset, objective=objective, epochs=3, batch_size=32,
        engine=quiet(), **options,
    )  # fmt: skip
    return run, torch.cat([each.flatten() for each in student.state_dict().values()])


@pytest.mark.parametrize("kind", OBJECTIVES)
@pytest.mark.parametrize("plain", [True, False])
def test_a_student_of_a_float32_store_is_that_of_the_live_teacher(kind, plain, tmp_path):
    """To the bit, where the teacher's answer to an example does not depend on the batch."""
    teacher, objective = Rows(), OBJECTIVES[kind]
    dataset = data() if plain else Subset(Listed(data()), range(250))
    store = label(teacher, dataset, tmp_path, fields=objective, dtype="float32")
    live, expected = taught(teacher, dataset, objective)
    before = teacher.asked
    stored, found = taught(store, dataset, objective)
    assert torch.equal(found, expected)
    assert [r["train/loss"] for r in stored.history] == [r["train/loss"] for r in live.history]
    assert teacher.asked == before


class Listed(Dataset):
    """The same examples, one by one."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, place):
        return self.inner[place]


def test_a_matrix_product_depends_on_the_batch_in_the_last_bit_only(tmp_path):
    torch.manual_seed(0)
    teacher, dataset = nn.Sequential(nn.Linear(6, 64), nn.Tanh(), nn.Linear(64, 5)), data()
    store = label(teacher, dataset, tmp_path, dtype="float32")
    _, expected = taught(teacher, dataset, tl.SoftTargets(4))
    _, found = taught(store, dataset, tl.SoftTargets(4))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-3), ("bfloat16", 2e-2)])
def test_a_student_of_a_rounded_store_is_one_of_rounded_answers(dtype, tolerance, tmp_path):
    """Rounding the live teacher's answers explains all of the difference."""
    teacher, dataset, objective = Rows(), data(), tl.SoftTargets(4)
    store = label(teacher, dataset, tmp_path, dtype=dtype)
    kind = getattr(torch, dtype)

    class Rounded(nn.Module):
        def forward(self, inputs):
            return teacher(inputs).to(kind).float()

    _, found = taught(store, dataset, objective)
    _, rounded = taught(Rounded(), dataset, objective)
    _, exact = taught(teacher, dataset, objective)
    assert torch.equal(found, rounded)
    assert 0 < (found - exact).abs().max() < tolerance


def test_soft_targets_learn_from_top_k(tmp_path):
    teacher, dataset = Rows(), data()
    store = label(teacher, dataset, tmp_path / "all", top_k=5, dtype="float32")
    _, found = taught(store, dataset, tl.SoftTargets(1))
    _, expected = taught(teacher, dataset, tl.SoftTargets(1))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    few = label(teacher, dataset, tmp_path / "few", top_k=2)
    run, _ = taught(few, dataset, tl.SoftTargets(1))
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]
    with pytest.raises(tl.ModelError, match="for all classes, got CoarseLogits"):
        taught(few, dataset, tl.LogitRegression())


def test_no_example_is_shown_to_the_teacher_twice(tmp_path):
    teacher, dataset, shown = Rows(), data(), []
    teacher.register_forward_pre_hook(lambda _, inputs: shown.append(inputs[0].clone()))
    label(teacher, dataset, tmp_path, batch_size=64)
    assert torch.equal(torch.cat(shown), dataset.tensors[0])


def test_a_finished_store_is_returned_without_asking(tmp_path):
    teacher, dataset = Rows(), data()
    label(teacher, dataset, tmp_path)
    before, asked = content(tmp_path), teacher.asked
    again = label(teacher, dataset, tmp_path)
    assert teacher.asked == asked
    assert content(tmp_path) == before
    assert sorted(before) == ["manifest.json", "output.0000.npy"]
    assert len(again) == 300


def test_verify_of_a_store_that_is_not_there_makes_it(tmp_path):
    teacher, dataset = Rows(), data()
    store = label(teacher, dataset, tmp_path / "at once", verify=True)
    assert teacher.asked >= 300
    assert content(store.path) == content(label(teacher, dataset, tmp_path / "usual").path)


def test_verify_of_a_store_that_is_not_finished_makes_the_damaged_and_the_missing(tmp_path):
    teacher, dataset = Rows(), data(4000)
    expected = content(label(teacher, dataset, tmp_path / "whole", batch_size=128).path)
    folder, began = tmp_path / "part", teacher.asked

    def stop(*_):
        if teacher.asked - began >= 2900:
            raise KeyboardInterrupt

    with teacher.register_forward_pre_hook(stop), pytest.raises(KeyboardInterrupt):
        label(teacher, dataset, folder, batch_size=128)
    part = bytearray((folder / "output.0000.npy").read_bytes())
    part[128 + 10 * 1500] ^= 1  # in the second of two finished blocks of 1024
    (folder / "output.0000.npy").write_bytes(part)
    asked = teacher.asked
    label(teacher, dataset, folder, batch_size=128, verify=True)
    assert content(folder) == expected
    assert teacher.asked - asked == 4000 - 1024


def test_verify_makes_only_what_is_damaged_anew(tmp_path):
    teacher, dataset = Rows(), data(4000)
    label(teacher, dataset, tmp_path, batch_size=128)
    before, asked = content(tmp_path), teacher.asked
    damaged = bytearray(before["output.0000.npy"])
    damaged[128 + 10 * 2100] ^= 1  # in the third block of 1024
    (tmp_path / "output.0000.npy").write_bytes(damaged)
    with pytest.raises(tl.StoreError, match=r"block 2 \(examples 2048 to 3071\); call tl.label"):
        label(teacher, dataset, tmp_path, batch_size=128)
    store = label(teacher, dataset, tmp_path, batch_size=128, verify=True)
    assert content(tmp_path) == before
    assert teacher.asked == asked + 1024
    assert list(store.verify()) == []
    label(teacher, dataset, tmp_path, batch_size=128, verify=True)
    assert teacher.asked == asked + 1024


def test_the_teacher_and_the_random_state_are_left_as_they_were(tmp_path):
    teacher = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5)).train()
    state = torch.get_rng_state()
    store = label(teacher, data(), tmp_path, dtype="float32")
    assert torch.equal(torch.get_rng_state(), state)
    assert teacher.training
    assert teacher[1].training
    assert teacher[0].weight.requires_grad
    teacher.eval()
    torch.testing.assert_close(store.read("output", range(300)), teacher(data().tensors[0]).data)


def test_bf16_answers_are_those_of_autocast(tmp_path):
    teacher = nn.Linear(6, 5)
    store = tl.label(teacher, data(), out=tmp_path, dtype="float32", engine=quiet(precision="bf16"))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        expected = teacher(data().tensors[0][:256])
    assert expected.dtype == torch.bfloat16
    assert torch.equal(store.read("output", range(256)), expected.float())
    assert json.loads((tmp_path / "manifest.json").read_text())["settings"]["precision"] == "bf16"


def test_compile_asks_the_compiled_module(tmp_path, monkeypatch):
    compiled = []

    def compile_(module):
        compiled.append(module)
        return nn.Sequential(module)

    monkeypatch.setattr(torch, "compile", compile_)
    teacher = Rows()
    store = label(teacher, data(), tmp_path, compile=True, dtype="float32")
    assert compiled == [teacher]
    assert torch.equal(store.read("output", range(300)), teacher(data().tensors[0]).data)
    assert store.manifest.teacher == tl.teachers.Live(teacher).fingerprint()


@compilers_warnings
@config.patch({"cpp.cxx": (None, "no-such-compiler")})
def test_without_a_compiler_it_says_what_is_needed(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(tl.ModelError, match=r"(?s)No working C\+\+ compiler.*such as g\+\+"):
        label(Rows(), data(), tmp_path / "store", compile=True)


def test_blocks_are_labelled_a_bounded_number_at_a_time(tmp_path, monkeypatch):
    parts = []
    real = TeacherOutputs._outputs

    def outputs(self, places, view=0):
        parts.append(len(places))
        return real(self, places, view)

    monkeypatch.setattr(TeacherOutputs, "_outputs", outputs)
    label(nn.Linear(1, 2), TensorDataset(torch.zeros(40_000, 1)), tmp_path, batch_size=512)
    assert parts[1:] == [16_384, 16_384, 40_000 - 32_768]
    gc.collect()
