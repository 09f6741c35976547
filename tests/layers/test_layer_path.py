"""A path is read from its text, and a path leads to a layer or to the names that are nearest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import ArgumentError
from tutelage.layers.paths import LayerPath, submodule


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("layer3", LayerPath("layer3")),
        ("encoder.layer.3", LayerPath("encoder.layer.3")),
        ("0", LayerPath("0")),
        ("attention:input", LayerPath("attention", input=True)),
        ("attention[1]", LayerPath("attention", item=1)),
        ("attention[hidden_states]", LayerPath("attention", item="hidden_states")),
        ("a.b.0:input[mask]", LayerPath("a.b.0", input=True, item="mask")),
        ("a:input[0]", LayerPath("a", input=True, item=0)),
    ],
)
def test_parsed_paths(text, path):
    assert LayerPath.parse(text) == path


_names = st.text("aZ_09-", min_size=1, max_size=6)
_items = st.none() | st.integers(0, 20) | st.text("az_", min_size=1, max_size=6)


@given(st.lists(_names, min_size=1, max_size=4), st.booleans(), _items)
def test_any_path_is_parsed_as_it_was_written(names, is_input, item):
    path = ".".join(names)
    text = path + ":input" * is_input + (f"[{item}]" if item is not None else "")
    assert LayerPath.parse(text) == LayerPath(path, is_input, item)


@pytest.mark.parametrize("text", ["", 3, None, ["layer3"], b"layer3"])
def test_invalid_paths_are_refused(text):
    with pytest.raises(
        ArgumentError, match=r"must be the path of a module, got .*; write 'layer3'"
    ):
        LayerPath.parse(text)


class Net(nn.Module):
    """Blocks with numbers in their names, one of them under two names."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(4, 4)
        self.layer1 = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.layer2 = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.twin = self.layer2


def test_each_listed_name_finds_its_module():
    model = Net()
    for name, module in model.named_modules(remove_duplicate=False):
        assert submodule(model, name, "student") is module


def test_a_shared_module_has_several_paths():
    model = Net()
    assert submodule(model, "twin.0", "student") is model.layer2[0]


@pytest.mark.parametrize("side", ["student", "teacher"])
@pytest.mark.parametrize(
    ("path", "near"),
    [
        ("layer3", r"nearest are 'layer2', 'layer1'"),
        ("layer1.2", r"nearest are .*'layer1\.1'"),
        ("layer1.0.weight", r"nearest are .*'layer1\.0'"),  # a parameter is no layer
        ("module.layer1", r"nearest are .*'layer1'"),
        ("zzz", r"its parts are 'stem', 'layer1', 'layer2'"),
        ("stem.in.deep", r"nearest are 'stem'|its parts are 'stem'"),
        ("stem.", r"nearest are 'stem'"),
        ("forward", r"its parts are|nearest are"),  # an attribute is no layer
    ],
)
def test_the_error_for_a_missing_path_names_existing_ones(side, path, near):
    with pytest.raises(ArgumentError, match=rf"the {side} \(Net\) has no layer '{path}'; {near}"):
        submodule(Net(), path, side)


def test_a_model_without_layers():
    with pytest.raises(ArgumentError, match=r"\(ReLU\) has no layer 'a'; it has no layers inside"):
        submodule(nn.ReLU(), "a", "student")


def test_a_compiled_module_is_found_under_either_name():
    model = Net()
    compiled = torch.compile(model, backend="eager")
    for path in ("layer1.0", "_orig_mod.layer1.0"):
        assert submodule(compiled, path, "student") is model.layer1[0]
    inner = model.layer1
    model.layer1 = torch.compile(inner, backend="eager")
    for path in ("layer1.0", "layer1._orig_mod.0"):
        assert submodule(model, path, "student") is inner[0]
