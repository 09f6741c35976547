"""From a teacher and data to a file, with the proof."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import copy

import lightgbm
import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from tests.studies.conftest import QUIET, quick
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

import tutelage as tl
from tutelage.cli import app
from tutelage.compression.candidates import Candidate, Measured, measure, worthwhile
from tutelage.compression.compress import _too_few, _within
from tutelage.evaluation import Latency, NonInferiority
from tutelage.reports.report import record_page
from tutelage.results.record import SearchRecord, read_record
from tutelage.studies.eval_data import read_eval_data

__all__ = ["quick"]  # a fixture of all tests here


def network(*widths: int) -> nn.Sequential:
    return tl.students.mlp(64, 10, hidden=widths)


class Blind(nn.Module):
    """A student that sees one pixel, in the corner."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(1, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.linear(inputs[:, :1])


class Digits:
    """Digits in three parts, a teacher that was trained on the first, and three students."""

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        self.inputs = torch.tensor(pixels, dtype=torch.float32)[order] / 16
        self.labels = torch.tensor(labels)[order]
        self.train, self.val, self.test = self.part(0, 700), self.part(700, 1200), self.part(1200)
        torch.manual_seed(0)
        self.teacher = network(128, 128)
        tl.fit(self.teacher, train=self.train, epochs=8, engine=QUIET)

    def part(self, first: int, last: int | None = None) -> TensorDataset:
        return TensorDataset(self.inputs[first:last], self.labels[first:last])

    def compress(self, out: Path, **changes) -> tl.Compressed:
        options = {
            "train": self.train,
            "val": self.val,
            "test": self.test,
            "objective": tl.SoftTargets(4),
            "students": {
                "wide": lambda: network(1024, 1024),
                "narrow": lambda: network(24),
                "blind": Blind,
            },
            "margin": "6 points",
            "budget": "1h",
            "steps": 100,
            "seeds": 2,
            "precisions": ["float32"],  # whether int8 is faster is a matter of the machine
            "training": tl.Training(optimizer=partial(torch.optim.Adam, lr=1e-2), engine=QUIET),
            "out": out,
        }
        return tl.compress(self.teacher, **(options | changes))


def search_of(compressed: tl.Compressed) -> SearchRecord:
    assert compressed.study.results.search is not None
    return compressed.study.results.search


def proof_of(compressed: tl.Compressed) -> NonInferiority:
    (found,) = compressed.study.results.against_teacher
    assert found.non_inferiority is not None
    return found.non_inferiority


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


@pytest.fixture(scope="module")
def compressed(digits, tmp_path_factory) -> tl.Compressed:
    return digits.compress(tmp_path_factory.mktemp("digits") / "run")


def test_the_fastest_student_within_the_margin_is_chosen_and_proved(compressed):
    results = compressed.study.results
    found = {each.name: each for each in search_of(compressed).candidates}
    assert set(found) == {"wide", "narrow", "blind"}
    assert [each.latencies[0].median for each in search_of(compressed).candidates] == sorted(
        (each.latencies[0].median for each in found.values()), reverse=True
    )
    within = [each for each in found.values() if each.low is not None and each.low > -0.06]
    assert compressed.name == min(within, key=lambda each: each.latencies[0].median).name
    assert compressed.name == "narrow"
    assert search_of(compressed).within
    assert [each.is_chosen for each in found.values()].count(True) == 1
    assert proof_of(compressed).margin == 0.06
    assert results.seeds == (1, 2)  # the search used another
    assert results.examples == {"val": 500, "test": 597}
    assert results.arm("narrow").trials[0].steps == pytest.approx(found["narrow"].steps, rel=0.1)


def test_costs_are_those_of_the_exported_file(compressed):
    chosen = next(each for each in search_of(compressed).candidates if each.is_chosen)
    assert chosen.parameters == sum(each.numel() for each in compressed.student.parameters())
    assert chosen.file_bytes == compressed.exported.path.stat().st_size
    assert [each.batch_size for each in chosen.latencies] == [1, 32]
    assert [each.batch_size for each in search_of(compressed).latencies] == [1, 32]


def test_the_file_gives_the_student_s_outputs_without_this_library(compressed, digits, tmp_path):
    np.save(tmp_path / "inputs.npy", digits.inputs[:9].numpy())
    program = f"""
import sys, numpy as np, onnxruntime
session = onnxruntime.InferenceSession({str(compressed.exported.path)!r})
np.save("outputs.npy", session.run(None, {{"input": np.load("inputs.npy")}})[0])
assert not {{"torch", "tutelage"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)
    with torch.no_grad():
        expected = compressed.student(digits.inputs[:9])
    found = torch.from_numpy(np.load(tmp_path / "outputs.npy"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_students_in_int8_are_judged_and_proved_as_files(digits, tmp_path):
    students = {"narrow": network(24)}
    found = digits.compress(tmp_path / "run", students=students, precisions=["int8"], seeds=2)
    assert [each.name for each in search_of(found).candidates] == ["narrow, int8"]
    results = found.study.results
    assert results.primary == found.name
    assert results.arm(found.name).settings["exported"] == "ONNX, int8"
    assert b"MatMulInteger" in found.exported.path.read_bytes()
    # The file has the outputs of which the proof speaks.
    best = max(results.arm(found.name).trials, key=lambda each: each.val)
    proved = next(t for t in found.study.finished.done[found.name] if t.seed == best.seed)
    session = onnxruntime.InferenceSession(found.exported.path)
    alone = [session.run(None, {"input": b.numpy()})[0] for b in digits.test[:][0].split(64)]
    torch.testing.assert_close(proved.test, torch.from_numpy(np.concatenate(alone)))
    assert isinstance(found.student, nn.Sequential)


def test_too_few_examples_for_the_margin_are_said_before_any_training(digits, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "tutelage"), pytest.raises(tl.ArgumentError):
        digits.compress(tmp_path / "run", margin=0.0065, parameters=1)  # which no student has
    # ln 40 / 0.0065 = 567.5: enough for the 597 of test, not for the 500 of val.
    assert "`val` has 500 examples. With fewer than 568 no student" in caplog.text
    assert "above 0.0074" in caplog.text
    assert "`test` has" not in caplog.text


def test_an_example_with_many_labels_may_show_more_than_one(digits):
    tags = TensorDataset(torch.zeros(50, 7), torch.zeros(50, 7, dtype=torch.int64))
    of_tokens, of_examples = (read_eval_data("test", each) for each in (tags, digits.part(0, 50)))
    assert not _too_few([of_tokens], 0.005, tl.SoftTargets(1), None)
    assert _too_few([of_examples], 0.005, tl.SoftTargets(1), None)


def test_a_fraction_of_what_the_teacher_does_not_have_is_explained():
    times = (Latency(1, 1.0, 1.0, 1),)
    with pytest.raises(tl.ArgumentError, match=r"`file_size` .* got '0\.1x', .* of the teacher"):
        _within({"a": Measured(1, 1, times)}, Measured(None, None, times), {"file_size": "0.1x"})


def test_a_teacher_that_is_no_module_is_timed_while_it_is_ready(digits):
    class Elsewhere(tl.teachers.Live):
        """One that can be called in `ready` alone, as where that moves it to the CPU."""

        is_ready = False

        @contextmanager
        def ready(self, device):
            self.is_ready = True
            with super().ready(device):
                yield
            self.is_ready = False

        def signals(self, batch, fields):
            if not self.is_ready:
                raise tl.ModelError("the model is on another device than its inputs")
            return super().signals(batch, fields)

    names = {"a": Candidate("a", "float32")}
    costs = measure({"a": network}, names, Elsewhere(network(8)), digits.val)
    assert costs.teacher is not None
    assert [each.batch_size for each in costs.teacher.latencies] == [1, 32]


def test_int8_that_is_not_faster_is_left_out_unless_files_are_to_be_small():
    def cost(seconds: float) -> Measured:
        return Measured(1, 1, (Latency(1, seconds, seconds, 1),))

    names = [Candidate(name, kind) for name in ("a", "b") for kind in ("float32", "int8")]
    candidates = {str(each): each for each in names}
    costs = dict(zip(candidates, map(cost, (1.0, 0.95, 1.0, 0.5)), strict=True))
    assert worthwhile(costs, candidates) == ["a", "b", "b, int8"]
    del costs["a"]
    assert worthwhile(costs, candidates) == ["a, int8", "b", "b, int8"]
    assert worthwhile(costs, candidates, ("a", cost(1.0))) == ["b", "b, int8"]
    assert worthwhile(costs, candidates, ("a", cost(2.0))) == ["a, int8", "b", "b, int8"]


def test_a_small_file_may_be_one_in_int8(digits, tmp_path):
    found = digits.compress(
        tmp_path / "run", students={"wide": network(256)}, precisions=["float32", "int8"],
        margin=None, file_size="40kB", steps=20,
    )  # fmt: skip
    assert found.name == "wide, int8"
    assert found.exported.file_bytes < 40_000


def test_the_exported_student_is_the_best_seed_on_validation_data(compressed):
    trials = compressed.study.results.arm("narrow").trials
    best = max(trials, key=lambda each: each.val)
    expected = compressed.study.student(seed=best.seed)
    for one, other in zip(compressed.student.parameters(), expected.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_same_call_trains_nothing_again(compressed, digits):
    again = digits.compress(compressed.out)
    # Training anew would have taken another time, to the microsecond.
    assert again.study.results.arms == compressed.study.results.arms
    before, after = (search_of(each).candidates for each in (compressed, again))
    times = {each.name: each.seconds for each in before}
    assert {each.name: each.seconds for each in after} == times
    assert again.study.results.against_teacher == compressed.study.results.against_teacher


@pytest.fixture
def out(compressed, tmp_path) -> Path:
    """Return a folder in which the students were measured already."""
    copy(compressed.out / "costs.json", tmp_path)
    return tmp_path


class Killed(BaseException):
    """The end of a process, which nothing can catch."""


def test_interrupted_anywhere_it_ends_with_the_same_student(compressed, digits, out, monkeypatch):
    home = sys.modules["tutelage.compression.compress"]
    whole, done = home.study, []

    def failing(*args, **kwargs):
        if len(done) in (1, 3):
            done.append("interrupted")
            raise Killed
        done.append("done")
        return whole(*args, **kwargs)

    monkeypatch.setattr(home, "study", failing)
    for _ in range(2):
        with pytest.raises(Killed):
            digits.compress(out)
    found = digits.compress(out)
    assert done.count("interrupted") == 2
    assert found.name == compressed.name
    assert found.study.results.arm("narrow").values("accuracy") == (
        compressed.study.results.arm("narrow").values("accuracy")
    )


def test_the_report_shows_what_was_tried_and_the_verdict(compressed):
    page = compressed.report()
    text = page.with_suffix(".md").read_text()
    record = read_record(compressed.out / "results.json")
    shown = record_page(record)
    assert "student “narrow” is" in shown.verdict
    assert "its teacher's" in shown.verdict
    assert "stated beforehand" in shown.verdict
    assert "As exported, a file of" in shown.reasons
    assert shown.outcome == ("gain" if proof_of(compressed).shown else "open")
    assert "3 candidates" in shown.lead
    section = next(each for each in shown.sections if each.heading == "Search")
    assert "The test data chose nothing." in section.text[0]
    assert section.table is not None
    names = [row[0][1] for row in section.table.rows]
    assert sorted(names) == ["blind", "narrow", "wide"]
    assert "narrow, chosen" in text
    assert "strongest control" not in text
    assert str(compressed).startswith(shown.verdict)


@pytest.mark.parametrize(
    ("student", "examples", "helps"),
    [(Blind, 700, "longer training or a larger student"),
     (lambda: network(256), 60, "more inputs for the teacher to label")],
)  # fmt: skip
def test_where_none_is_within_the_margin_the_report_says_what_would_help(
    digits, out, student, examples, helps
):
    train, students = digits.part(0, examples), {"one": student}
    found = digits.compress(out, train=train, students=students, margin=0.001, budget="15s")
    page = record_page(read_record(found.out / "results.json"))
    text = " ".join(next(each for each in page.sections if each.heading == "Search").text)
    assert f"{helps} would help most" in text
    (candidate,) = search_of(found).candidates
    assert (candidate.before is None) == (candidate.steps == 100)
    assert ("Its last round, of four times as many steps" in text) == (candidate.steps != 100)


def test_without_a_margin_the_best_within_the_limits_is_chosen(digits, out):
    found = digits.compress(out, margin=None, parameters="0.1x", steps=40, seeds=2)
    teacher = sum(each.numel() for each in digits.teacher.parameters())
    candidates = {each.name: each for each in search_of(found).candidates}
    assert candidates["wide"].value is None  # too large, and so not trained
    assert found.name == "narrow"
    assert (candidates["narrow"].parameters or teacher) <= 0.1 * teacher
    assert candidates["blind"].steps == 40
    assert candidates["narrow"].steps == 160
    assert found.study.results.against_teacher[0].non_inferiority is None
    table = record_page(found.study.results).sections[0].table
    assert table is not None
    assert "Within" not in [each.name for each in table.columns]


def test_limits_that_no_student_keeps_are_refused_before_any_training(digits, out):
    with pytest.raises(tl.ArgumentError, match="`parameters` must leave at least one of the"):
        digits.compress(out, parameters=5)
    assert not (out / "rounds").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precisions": "int8"}, "`precisions` must be a list"),
        ({"precisions": ["int4"]}, "`precision` must be one of"),
        (
            {"students": {"a": Blind, "a, int8": Blind}, "precisions": ["float32", "int8"]},
            "rename some",
        ),
        ({"margin": None}, "must have a `margin`, `latency`, `parameters` or `file_size`"),
        ({"margin": -0.1}, "`margin` must"),
        ({"budget": "soon"}, "`budget` must be a number above zero"),
        ({"seeds": 1}, "`seeds` must"),
        ({"students": {}}, "`students` must"),
    ],
)
def test_bad_arguments_are_refused(digits, tmp_path, changes, message):
    with pytest.raises(tl.ArgumentError, match=message):
        digits.compress(tmp_path / "run", **changes)


def test_other_students_under_the_same_names_are_measured_anew(digits, out):
    changed = {"wide": lambda: network(16), "narrow": lambda: network(8), "blind": Blind}
    found = digits.compress(out, students=changed, margin=0.5, steps=20)
    sizes = {each.name: each.parameters for each in search_of(found).candidates}
    assert sizes == {
        "wide": sum(each.numel() for each in network(16).parameters()),
        "narrow": sum(each.numel() for each in network(8).parameters()),
        "blind": 20,
    }


class Diverging(nn.Linear):
    """A student whose training diverges at once, and whose export does not show it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as its base has it
        return super().forward(input) / (0.0 if self.training else 1.0)


def test_a_student_that_diverges_does_not_stop_the_others(digits, tmp_path, caplog):
    students = {"diverging": lambda: Diverging(64, 10), "linear": nn.Linear(64, 10)}
    with caplog.at_level(logging.WARNING):
        found = digits.compress(tmp_path / "run", students=students, margin=0.5, steps=20)
    assert found.name == "linear"
    assert "Student 'diverging' is given up" in caplog.text
    assert [each.value is None for each in search_of(found).candidates if each.steps is None] == [
        True
    ]
    with pytest.raises(tl.NonFiniteError, match="at least one student must train"):
        digits.compress(tmp_path / "none", students={"diverging": lambda: Diverging(64, 10)})


def test_data_that_prove_nothing_are_refused_before_any_training(digits, tmp_path):
    with pytest.raises(tl.DataError, match="`val` and `test` must have no examples in common"):
        digits.compress(tmp_path, test=digits.val)
    with pytest.raises(tl.DataError, match="`test` must be labelled"):
        digits.compress(tmp_path, test=TensorDataset(digits.inputs[1200:]))
    assert not any(tmp_path.iterdir())


def test_one_validation_example_shows_nothing(digits, out):
    one = {"val": digits.part(700, 701), "students": {"linear": nn.Linear(64, 10)}}
    found = digits.compress(out, **one, margin=0.5, steps=20)
    assert not search_of(found).within
    assert all(each.low is None for each in search_of(found).candidates)


def test_a_transform_asks_the_teacher_in_each_step(digits, out):
    found = digits.compress(out, transform=tl.data.Noise(0.1), margin=0.5, steps=20)
    assert not (out / "targets").exists()
    assert "Noise" in str(found.study.results.arm(found.name).settings)


class Unexportable(nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - as its base has it
        found = super().forward(input)
        return found if float(found.sum()) > 1e9 else found + 0


def test_students_that_cannot_be_exported_are_left_out(digits, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        found = digits.compress(
            tmp_path / "run",
            students={"odd": lambda: Unexportable(64, 10), "linear": lambda: nn.Linear(64, 10)},
            margin=0.5, steps=20,
        )  # fmt: skip
    assert found.name == "linear"
    assert "Student 'odd' is left out" in caplog.text
    with pytest.raises(tl.ModelError, match="at least one student must be exported to ONNX"):
        digits.compress(tmp_path / "none", students={"odd": lambda: Unexportable(64, 10)})


def test_examples_that_are_in_val_and_in_train_are_named_so(digits, out):
    with pytest.raises(tl.DataError, match="`train` and `val` must have no examples in common"):
        digits.compress(out, val=digits.train)


def test_a_teacher_that_has_seen_the_validation_data_is_told(digits, tmp_path, caplog):
    torch.manual_seed(0)
    teacher = network(64)
    noise = torch.randint(0, 10, (600,))
    seen = TensorDataset(digits.inputs[:600], noise)
    tl.fit(teacher, train=seen, epochs=150, engine=QUIET)
    with caplog.at_level(logging.WARNING):
        found = tl.compress(
            teacher, train=TensorDataset(digits.inputs[300:600], noise[300:]),
            val=TensorDataset(digits.inputs[:300], noise[:300]),
            test=TensorDataset(digits.inputs[600:900], torch.randint(0, 10, (300,))),
            objective=tl.SoftTargets(4), students={"linear": lambda: nn.Linear(64, 10)},
            margin=0.5, steps=20, seeds=2, training=tl.Training(engine=QUIET), out=tmp_path,
        )  # fmt: skip
    assert "as if it had been trained on `val`" in caplog.text
    assert "as if it had been trained on `val`" in found.study.results.notes[-1]


class Deep(nn.Module):
    """A network of repeated blocks."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 16)
        self.blocks = nn.ModuleList(
            [nn.Sequential(nn.Linear(16, 16), nn.ReLU()) for _ in range(depth)]
        )
        self.last = nn.Linear(16, 10)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = self.first(inputs)
        for each in self.blocks:
            inputs = each(inputs)
        return self.last(inputs)


def test_without_students_the_teacher_s_layers_are_thinned_out(digits, tmp_path):
    teacher = Deep(3)
    tl.fit(teacher, train=digits.train, epochs=8, engine=QUIET)
    found = tl.compress(
        teacher, train=digits.train, val=digits.val, test=digits.test,
        objective=tl.SoftTargets(4), margin=0.5, steps=20, seeds=2, precisions=["float32"],
        training=tl.Training(engine=QUIET), out=tmp_path,
    )  # fmt: skip
    names = {each.name for each in search_of(found).candidates}
    assert names == {"2 of 3 layers", "1 of 3 layers"}
    assert isinstance(found.student, Deep)


def test_the_teacher_itself_in_int8_is_a_candidate(digits, tmp_path):
    found = tl.compress(
        Deep(2), train=digits.train, val=digits.val, test=digits.test, steps=4, seeds=2,
        objective=tl.SoftTargets(4), file_size="1MB", precisions=["int8"], budget="1s",
        training=tl.Training(engine=QUIET), out=tmp_path,
    )  # fmt: skip
    assert "2 of 2 layers, int8" in {each.name for each in search_of(found).candidates}


def test_a_recipe_of_a_table_needs_only_a_margin(tmp_path, monkeypatch):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"one": random.normal(size=900), "two": random.normal(size=900)})
    label = np.where((frame["one"] > 0.3) ^ (frame["two"] > -0.2), "yes", "no")
    model = lightgbm.LGBMClassifier(n_estimators=20, verbose=-1)
    model.fit(frame.to_numpy()[:500], label[:500])
    model.booster_.save_model(tmp_path / "teacher.txt")
    frame = frame.assign(label=label)
    for name, part in {"train": frame[:500], "val": frame[500:700], "test": frame[700:]}.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "small.yaml").write_text(
        "teacher: teacher.txt\n"
        "data: {train: train.csv, val: val.csv, test: test.csv, label: label}\n"
        "training: {engine: {device: cpu, progress: false}, optimizer: {AdamW: {lr: 0.01}}}\n"
        "compress: {margin: 0.2, steps: 60, seeds: 2}\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tutelage.recipes.compress_recipe.TABLE_WIDTHS", ((16,), ()))
    result = CliRunner().invoke(app, ["compress", "small.yaml", "--json"])
    assert result.exit_code == 0, result.output
    for text in ("timing 4 files", "Round 1: ", "against the teacher (at least ", "Chosen: "):
        assert text in result.stderr
    found = json.loads(result.stdout[result.stdout.index("{") :])
    assert Path(found["file"]).is_file()
    assert Path(found["report"]).is_file()
    assert found["chosen"].removesuffix(", int8") in ("16", "linear")
    # Without its columns and classes a program could not use the file.
    session = onnxruntime.InferenceSession(found["file"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["student.json"])
    assert about["classes"] == ["no", "yes"]
    assert [each["name"] for each in about["inputs"]["columns"]] == ["one", "two"]
    teacher = tl.references.load_model("teacher", found["file"])
    assert isinstance(teacher, tl.teachers.Predictor)
    assert "its teacher's" in found["verdict"]
    missing = "teacher: teacher.txt\ndata: {train: train.csv, val: val.csv, label: label}\n"
    (tmp_path / "bad.yaml").write_text(missing + "compress: {margin: 0.2}\n")
    result = CliRunner().invoke(app, ["compress", "bad.yaml"])
    assert result.exit_code == 1
    assert "got no test" in result.output
    (tmp_path / "stages.yaml").write_text(
        (tmp_path / "small.yaml").read_text()
        + "stages: [{objective: {SoftTargets: {}}, epochs: 1}]\n"
    )
    result = CliRunner().invoke(app, ["compress", "stages.yaml"])
    assert "got `stages`; leave it out" in result.output
