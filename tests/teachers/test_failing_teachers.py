"""A teacher that fails, or returns something else, ends in an error that names it."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ModelError, StoreError
from tutelage.signals import Batch
from tutelage.teachers import Ensemble, Specialist, Specialists, Stored, Teacher, as_teacher
from tutelage.wants import OUTPUT, Fields

X = torch.ones(4, 3)


class Custom(Teacher):
    """A teacher of the user's own."""

    def __init__(self, output):
        self.output = output

    def signals(self, batch, fields):
        return self.output(batch)

    def fingerprint(self):
        return "custom"


def broken(*_):
    raise KeyError("logits of yesterday")


WRAPS = {
    "distiller": lambda each: each,
    "ensemble": lambda each: Ensemble([nn.Linear(3, 3), each]),
    "specialist": lambda each: Specialist(each, [0, 1]),
    "specialists": lambda each: Specialists({"a": each}),
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_a_missing_output_is_named(wrap):
    distiller = tl.Distiller(
        nn.Linear(3, 3), wrap(Custom(lambda _: tl.Signals())), tl.SoftTargets(2)
    )
    with pytest.raises(ModelError, match=r"teacher \(Custom\) .*got signals without its output"):
        distiller(Batch(X, domain=["a"] * 4))


def test_missing_features_are_named():
    teacher = Custom(lambda batch: tl.Signals(batch.inputs))
    with pytest.raises(ModelError, match="got signals without 'layer3'"):
        tl.teachers.ask(teacher, Batch(X), Fields(True, frozenset({"layer3"})))


def test_out_of_memory_errors_are_not_wrapped():
    def output(_):
        raise torch.OutOfMemoryError("full")

    with pytest.raises(torch.OutOfMemoryError):
        tl.teachers.ask(Custom(output), Batch(X), OUTPUT)


class TestStorePaths:
    @pytest.fixture
    def folder(self, tmp_path):
        data = torch.utils.data.TensorDataset(torch.randn(6, 3))
        tl.label(nn.Linear(3, 3), data, out=tmp_path / "targets")
        return tmp_path / "targets", data

    @pytest.mark.parametrize("kind", [str, lambda path: path])
    def test_the_path_of_a_store_is_its_teacher(self, folder, kind):
        path, data = folder
        assert as_teacher(kind(path)).fingerprint() == Stored(path).fingerprint()
        run = tl.distill(
            kind(path), nn.Linear(3, 3), train=data, objective=tl.SoftTargets(2), epochs=1
        )
        assert run.history

    def test_a_path_may_be_in_a_list_or_a_dict(self, folder):
        path, _ = folder
        assert isinstance(as_teacher([path, str(path)]).members[1], Stored)
        assert isinstance(as_teacher({"a": path}).members[0], Stored)

    @pytest.mark.parametrize("path", ["nothing", "model.pt", "."])
    def test_a_path_without_a_store_is_refused(self, path, tmp_path):
        with pytest.raises(StoreError, match=r"folder with manifest.json, .*give the module"):
            as_teacher(tmp_path / path)

    def test_the_error_for_other_data_shows_how_to_pass_several_stores(self, folder):
        path, _ = folder
        other = torch.utils.data.TensorDataset(torch.randn(5, 3))
        with pytest.raises(StoreError, match=r"`test` must .*Stored\(store, val_store\).*study"):
            as_teacher(path).for_data("test", other)
