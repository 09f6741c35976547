"""Stores of drawn classes: sizes, learning, and what refuses them."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)


class Said(nn.Module):
    """A teacher whose inputs are its logits."""

    def forward(self, inputs):
        return inputs


def data(rows=600, classes=7):
    return TensorDataset(2 * torch.randn(rows, classes, generator=torch.Generator().manual_seed(1)))


def label(out, dataset=None, teacher=None, **options):
    asked: dict[str, Any] = {"sampled_classes": 5, "batch_size": 64} | options
    return tl.label(teacher or Said(), dataset or data(), out=out, engine=QUIET, **asked)


def rows_of(store, rows):
    found = store.read("output", rows)
    assert isinstance(found, tl.CoarseLogits)
    return found


def content(folder):
    names = (path for path in sorted(folder.iterdir()) if path.name != ".lock")
    return {path.name: path.read_bytes() for path in names}


def taught(teacher, dataset, objective):
    """A linear student after some epochs: its weights."""
    torch.manual_seed(0)
    student = nn.Linear(7, 7)
    run = tl.distill(
        teacher,
        student,
        train=dataset,
        objective=objective,
        epochs=8,
        batch_size=100,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        engine=QUIET,
    )
    (weight, _) = run.student.parameters()
    return weight.detach()


def test_it_is_two_bytes_a_draw_and_the_same_each_time(tmp_path):
    store = label(tmp_path / "one")
    assert store.fields[0].columns(0)[0].entry_bytes == 10
    label(tmp_path / "two")
    assert content(tmp_path / "one") == content(tmp_path / "two")
    rows = rows_of(store, [0, 64, 599])
    assert (rows.sampled_at, rows.ids.shape) == (1.0, (3, 5))


def test_examples_alike_are_drawn_apart(tmp_path):
    same = TensorDataset(torch.zeros(256, 7))
    ids = rows_of(label(tmp_path, same), range(256)).ids
    assert len(ids.unique(dim=0)) > 20
    assert not torch.equal(ids[:64], ids[64:128])


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_a_student_learns_what_the_teacher_itself_teaches(temperature, tmp_path):
    dataset = data(3000)
    store = label(tmp_path, dataset, sampled_classes=20, temperature=temperature)
    objective = tl.SoftTargets(temperature)
    found, exact = taught(store, dataset, objective), taught(Said(), dataset, objective)
    torch.manual_seed(0)
    moved = (exact - nn.Linear(7, 7).weight.detach()).norm()
    assert float((found - exact).norm() / moved) < 0.03


def test_other_objectives_and_temperatures_are_refused(tmp_path):
    store, dataset = label(tmp_path, temperature=3), data()
    with pytest.raises(tl.ModelError, match="`temperature` must be that at which"):
        taught(store, dataset, tl.SoftTargets(4))
    with pytest.raises(tl.ModelError, match="outputs for all classes"):
        taught(store, dataset, tl.LogitRegression())
    with pytest.raises(tl.StoreError, match=r"settings\.sampled_classes: 5 there, 6 now"):
        label(tmp_path, temperature=3, sampled_classes=6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampled_classes": 0}, "`sampled_classes` must be at least 1"),
        ({"top_k": 2}, "leave one of the two out"),
        ({"fields": tl.Fields(features=frozenset({""}))}, "require the output"),
        ({"temperature": 0}, "`temperature` must be positive"),
        (
            {"sampled_classes": None, "temperature": 4},
            "`temperature` is that of `sampled_classes`, got 4 without",
        ),
    ],
)
def test_bad_arguments(options, message, tmp_path):
    with pytest.raises(tl.ArgumentError, match=message):
        label(tmp_path, **options)


def test_drawn_answers_are_not_labelled_with_again(tmp_path):
    store = label(tmp_path / "one")
    again = {"teacher": tl.teachers.Stored(store), "sampled_classes": None}
    for options, error in (({}, tl.ModelError), ({"sampled_classes": 2}, tl.ArgumentError)):
        with pytest.raises(error, match=r"CoarseLogits|sampled classes"):
            label(tmp_path / str(error), **again | options)


class Changing(nn.Module):
    """A teacher whose second batch is answered in another form."""

    def __init__(self, other):
        super().__init__()
        self.other, self.asked = other, 0

    def forward(self, inputs):
        self.asked += 1
        return inputs if self.asked <= 2 else self.other(inputs)


def test_a_teacher_that_changes_its_classes_is_refused(tmp_path):
    with pytest.raises(tl.ModelError, match=r"'output' in one shape, got .*6.* after rows of .7."):
        label(tmp_path, teacher=Changing(lambda inputs: inputs[:, 1:]))


def test_a_teacher_that_comes_to_know_some_classes_only_is_refused(tmp_path):
    class Partly(tl.teachers.Teacher):
        asked = Changing(tl.CoarseLogits.of)

        def signals(self, batch, fields):
            return tl.Signals(self.asked(batch.inputs))

        def fingerprint(self):
            return "partly"

    with pytest.raises(tl.ModelError, match=r"in one shape, got .*CoarseLogits.* give"):
        label(tmp_path, teacher=Partly())


def test_a_teacher_that_is_not_finite_is_refused(tmp_path):
    logits = data().tensors[0].clone()
    logits[311, 2] = torch.nan
    with pytest.raises(tl.NonFiniteError, match=r"must be finite, got nan in row 311"):
        label(tmp_path, TensorDataset(logits))
