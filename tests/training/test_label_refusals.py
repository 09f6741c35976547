"""What `label` refuses: other stores, bad arguments, numbers that do not fit."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

import tutelage as tl
from labelling import Coarse, Rows, content, data, label, quiet


def with_other_weights():
    torch.manual_seed(99)
    return Rows()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"teacher": with_other_weights}, "teacher: 'Rows .*' there, 'Rows .*' now"),
        ({"dataset": lambda: data(301)}, "data.examples: 300 there, 301 now"),
        ({"dataset": lambda: Subset(data(), list(range(299, -1, -1)))}, "data.fingerprint: '"),
        (
            {"dataset": lambda: tl.data.Views(data()), "views": lambda: 2},
            r"views\.count: 1 there, 2 now",
        ),
        ({"dtype": lambda: "float32"}, "settings.dtype: 'float16' there, 'float32' now"),
        ({"top_k": lambda: 2}, "settings.top_k: None there, 2 now"),
        ({"batch_size": lambda: 32}, "settings.batch_size: 256 there, 32 now"),
        (
            {"fields": lambda: tl.FeatureMatch({"1": "hidden"})},
            r"settings.features: \[\] there, \['hidden",
        ),
        ({"engine": lambda: quiet(precision="bf16")}, "settings.precision: 'fp32' there, 'bf16'"),
    ],
)
def test_another_store_in_the_folder_is_refused_with_what_differs(change, message, tmp_path):
    torch.manual_seed(0)
    options = {"teacher": Rows(), "dataset": data(), "engine": quiet(), "out": tmp_path}
    tl.label(**options)
    before = content(tmp_path)
    with pytest.raises(tl.StoreError, match=message):
        tl.label(**options | {name: make() for name, make in change.items()})
    assert content(tmp_path) == before


class Noisy(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, place):
        return torch.randn(6), place % 5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"dtype": "int8"}, tl.ArgumentError, r"one of \['float16', 'float32', 'bfloat16'\], got"),
        ({"top_k": 0}, tl.ArgumentError, "`top_k` must be at least 1, got 0"),
        ({"top_k": 6}, tl.ArgumentError, r"most the number of classes, got 6 .* \[256, 5\]"),
        ({"batch_size": 0}, tl.ArgumentError, "`batch_size` must be at least 1"),
        ({"views": 0}, tl.ArgumentError, "`views` must be at least 1"),
        ({"fields": tl.HardLabels()}, tl.ArgumentError, "requires something of the teacher"),
        (
            {"fields": "output"},
            tl.ArgumentError,
            "must be an objective or tl.Fields .*, got 'output'",
        ),
        (
            {"fields": tl.Fields(features=frozenset({"hidden"})), "top_k": 2},
            tl.ArgumentError,
            "of the output, one of the two, got top_k=2",
        ),
        ({"dataset": DataLoader(data())}, tl.DataError, "got a DataLoader.* loader.dataset"),
        ({"dataset": 3}, tl.DataError, "must have __len__ and __getitem__"),
        ({"dataset": TensorDataset(torch.zeros(0, 6))}, tl.DataError, "at least one example"),
        ({"dataset": Noisy()}, tl.DataError, r"draws them at random.*tl\.data\.Views"),
        ({"out": None}, tl.ArgumentError, "`out` must be the path of a folder, got None"),
        ({"engine": "cpu"}, tl.ArgumentError, "`engine` must be a tl.Engine, got 'cpu'"),
        ({"teacher": 3}, tl.ModelError, "got int"),
        ({"teacher": "model.pt"}, tl.StoreError, "give the module"),
        ({"teacher": Coarse(), "compile": True}, tl.ArgumentError, "is a module, got Coarse"),
    ],
)
def test_arguments_are_checked_before_anything_is_written(change, error, message, tmp_path):
    usual = {"teacher": Rows(), "dataset": data(), "out": tmp_path / "store", "engine": quiet()}
    with pytest.raises(error, match=message):
        tl.label(**usual | change)
    assert not list(tmp_path.glob("store/*.json"))
    assert not list(tmp_path.glob("store/*.npy"))


class Says(nn.Module):
    """A teacher that says one thing of all examples but one."""

    def __init__(self, place, value):
        super().__init__()
        self.place, self.value = place, value

    def forward(self, inputs):
        said = torch.ones(len(inputs), 3)
        said[inputs[:, 0] == self.place, 1] = self.value
        return said


NUMBERED = TensorDataset(torch.arange(500.0)[:, None])


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        (tl.teachers.Specialist(nn.Linear(1, 3), [0, 1]), {}, "at most 2 classes .* got 4"),
        (nn.Linear(1, 3), {"top_k": 2}, r"in one shape, got float32 .* after rows of .3."),
    ],
)
def test_a_domain_of_more_classes_is_refused(first, options, message, tmp_path):
    """It would be cut to the classes of the first in silence, or taken for one of as many."""
    one = TensorDataset(torch.zeros(256, 1), torch.zeros(256).long())
    teacher = tl.teachers.Specialists({"a": first, "b": nn.Linear(1, 4)})
    with pytest.raises(tl.ModelError, match=message):
        label(teacher, tl.data.domains({"a": one, "b": one}), tmp_path, **options)


@pytest.mark.parametrize("value", [7e4, -65520.0])
def test_a_number_that_float16_does_not_hold_is_told(value, tmp_path):
    with pytest.raises(tl.StoreError, match=rf"fit float16, got {value:g} in row 317; .*float32"):
        label(Says(317, value), NUMBERED, tmp_path / "half")
    for dtype in ("float32", "bfloat16"):
        store = label(Says(317, value), NUMBERED, tmp_path / dtype, dtype=dtype)
        assert store.read("output", [317])[0, 1].item() == pytest.approx(value, rel=4e-3)
    assert label(Says(317, 65519.0), NUMBERED, tmp_path / "fits").read("output", [317])[0, 1] > 6e4


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("options", [{}, {"dtype": "float32"}, {"top_k": 3}])
def test_what_is_no_number_is_told(value, options, tmp_path):
    with pytest.raises(tl.NonFiniteError, match=r"'output' must be finite, got .* in row 311"):
        label(Says(311, value), NUMBERED, tmp_path, **options)


def test_answers_of_another_length_are_refused(tmp_path):
    class Pooled(nn.Module):
        def forward(self, inputs):
            return inputs[:1]

    with pytest.raises(tl.DataError, match=r"one .output. for each example, got 1 for the 256"):
        label(Pooled(), NUMBERED, tmp_path)


def test_answers_of_changing_shapes_are_refused(tmp_path):
    class Ragged(nn.Module):
        def forward(self, inputs):
            return inputs.expand(-1, 2 if bool(inputs[0, 0] < 256) else 3)

    with pytest.raises(tl.ModelError, match=r"in one shape, got float32 \[244, 3\] after rows of"):
        label(Ragged(), NUMBERED, tmp_path)


def test_a_folder_that_is_a_file_or_holds_arrays_of_others(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tl.StoreError, match="must be a folder that can be written"):
        label(Rows(), data(), tmp_path / "file" / "store")
    np.save(tmp_path / "mine.npy", np.ones(3))
    with pytest.raises(tl.StoreError, match=r"with mine.npy but without manifest.json"):
        label(Rows(), data(), tmp_path)


@pytest.mark.parametrize("kept", [{"top_k": 3}, {"sampled_classes": 2}])
def test_probabilities_of_some_classes_are_refused(kept, tmp_path):
    """Flattened by another softmax, they would teach almost nothing."""
    teacher = nn.Sequential(nn.Linear(4, 10), nn.Softmax(1))
    rows = TensorDataset(torch.randn(9, 4))
    with pytest.raises(tl.ModelError, match="must return logits of its classes"):
        tl.label(teacher, rows, out=tmp_path, engine=quiet(), **kept)
    tl.label(teacher[0], rows, out=tmp_path, engine=quiet(), **kept)
