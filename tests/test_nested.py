import pytest
import torch

from tutelage.errors import DataError
from tutelage.nested import describe, first_tensor, to_device

X, Y = torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize("inputs", [X, (X, Y), ["text", X], {"a": None, "b": X}])
def test_the_first_tensor_is_found(inputs):
    assert first_tensor(inputs) is X


@pytest.mark.parametrize("inputs", ["text", None, ("a", "b"), {}, {"a": [1, 2]}])
def test_inputs_without_a_tensor_are_refused(inputs):
    with pytest.raises(DataError, match=r"inputs must be a tensor, .*return tensors"):
        first_tensor(inputs)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (X, "float32 [4, 3]"),
        ({"a": Y}, "{a: int64 [4]}"),
        ((X, [Y, None]), "(float32 [4, 3], (int64 [4], NoneType))"),
        ("text", "str"),
    ],
)
def test_description_gives_types_and_shapes(value, words):
    assert describe(value) == words


@pytest.mark.parametrize(("length", "words"), [(4, "(str, str, str, str)"), (5, "5 × str")])
def test_more_than_four_of_a_kind_are_counted(length, words):
    assert describe(["text"] * length) == words


def test_values_without_tensors_do_not_move():
    meta = torch.device("meta")
    inputs = to_device({"a": [X, "text"], "b": None}, meta)
    assert inputs["a"][0].device == meta
    assert (inputs["a"][1], inputs["b"]) == ("text", None)
    assert to_device(X, X.device) is X
