from collections import UserDict, namedtuple
from typing import Any

import pytest
import torch

import tutelage as tl
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import warn_unused
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Fields, Wants

X, Y = torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 2, 3])
INDEX = torch.tensor([7, 8, 9, 10])
NAMES = ["a", "b", "a", "b"]
Pair = namedtuple("Pair", ["image", "label"])


class TestReadingWhatALoaderYields:
    def test_a_tensor_is_inputs_without_labels(self):
        batch = Batch.of(X)
        assert batch.inputs is X
        assert batch.labels is batch.index is batch.domain is None

    @pytest.mark.parametrize("kind", [tuple, list])
    def test_a_sequence_is_inputs_and_labels(self, kind):
        assert Batch.of(kind([X, Y])).labels is Y
        assert Batch.of(kind([X, Y])).inputs is X
        assert Batch.of(kind([X])).labels is None

    def test_a_named_tuple_is_a_tuple(self):
        assert Batch.of(Pair(X, Y)).labels is Y

    @pytest.mark.parametrize("key", ["labels", "label"])
    def test_a_dicts_labels_and_domain_are_set_apart_and_an_index_is_an_input(self, key):
        batch = Batch.of({"ids": X, "index": INDEX, key: Y, "domain": NAMES})
        assert list(batch.inputs) == ["ids", "index"]
        assert batch.labels is Y
        assert batch.index is None
        assert batch.domain is NAMES

    def test_a_mapping_of_another_library_is_a_dict(self):
        batch = Batch.of(UserDict({"ids": X, "labels": Y}))
        assert list(batch.inputs) == ["ids"]
        assert batch.labels is Y

    def test_a_batch_passes_through_with_the_progress_given(self):
        batch = Batch(X, Y, INDEX, NAMES, progress=0.1)
        again = Batch.of(batch, progress=0.7)
        assert again.inputs is X
        assert again.index is INDEX
        assert again.progress == 0.7

    @pytest.mark.parametrize("raw", [None, 3, "text", (), {X}])
    def test_anything_else_is_refused_with_the_way_out(self, raw):
        with pytest.raises(DataError, match=r"must be a tensor, a tuple .*make the data set or"):
            Batch.of(raw)


@pytest.mark.parametrize("inputs", [X, (X, X), [X, X], {"a": X, "b": X}, UserDict({"a": X})])
def test_length_is_that_of_the_first_tensor(inputs):
    assert len(Batch(inputs)) == 4


def test_a_tensor_without_dimensions_is_for_the_whole_batch():
    batch = Batch({"scale": torch.tensor(2.0), "x": X})
    assert len(batch) == 4
    assert batch[:2].inputs["scale"] == 2.0
    assert batch[:2].inputs["x"].shape == (2, *X.shape[1:])


def test_a_slice_takes_the_same_examples_of_every_part():
    batch = Batch({"a": X, "b": (X, X)}, Y, INDEX, NAMES, progress=0.5)[1:3]
    assert torch.equal(batch.inputs["a"], X[1:3])
    assert [torch.equal(part, X[1:3]) for part in batch.inputs["b"]] == [True, True]
    assert batch.labels.tolist() == [1, 2]
    assert batch.index.tolist() == [8, 9]
    assert batch.domain == ["b", "a"]
    assert batch.progress == 0.5


def test_a_slice_takes_the_tokens_that_a_model_made_of_the_same_examples():
    tokens = torch.tensor([[True, False], [True, True], [True, False]])
    batch = Batch(["a", "b c", "d"], tokens=tokens)[1:]
    assert torch.equal(batch.token_mask(), tokens[1:])


def test_a_slice_of_inputs_without_labels():
    assert Batch(X)[:2].labels is None


def test_all_tensors_move_to_a_device_and_the_rest_stays():
    batch = Batch((X, {"a": X}, "text"), Y, INDEX, NAMES, progress=0.5).to(torch.device("meta"))
    moved = [batch.inputs[0], batch.inputs[1]["a"], batch.labels, batch.index]
    assert {tensor.device.type for tensor in moved} == {"meta"}
    assert batch.inputs[2] == "text"
    assert list(batch.domain) == NAMES
    assert batch.progress == 0.5


def test_progress_may_be_set_on_the_way_to_the_device():
    batch = Batch(X, Y, progress=0.25, replicas=3)
    moved = batch.to(torch.device("cpu"), progress=0.5)
    assert (moved.progress, moved.replicas) == (0.5, 3)
    assert batch.progress == 0.25
    assert batch.to(torch.device("cpu")).progress == 0.25


def test_a_tensor_that_is_on_the_device_is_not_copied():
    assert Batch(X, Y).to(torch.device("cpu")).inputs is X


def test_parts_of_a_batch_are_held_by_as_many_processes():
    assert Batch(X, Y, replicas=3)[1:].replicas == 3


def test_wants_of_two_are_their_union():
    hard, soft = Wants(student=OUTPUT, labels=True), Wants(OUTPUT, OUTPUT)
    assert hard | soft == soft | hard == Wants(OUTPUT, OUTPUT, labels=True)
    assert Wants() | Wants() == Wants()


def test_fields_are_a_set_of_layer_paths():
    with pytest.raises(ArgumentError, match=r"a set of layer paths, got 'layer1'; write frozenset"):
        Fields(features="layer1")
    several: Any = ["layer1", "layer2"]
    assert Fields(features=several) | Fields(features=frozenset({"layer3"})) == Fields(
        features=frozenset({"layer1", "layer2", "layer3"})
    )


def test_fields_are_true_if_something_is_required():
    assert not Fields()
    assert OUTPUT
    assert (Fields() | OUTPUT) == OUTPUT


def test_reading_an_output_that_is_not_in_wants_is_refused():
    assert Signals(X).logits is X
    with pytest.raises(DataError, match="do not contain; add it to `wants`"):
        _ = Signals().logits


def test_positions_take_the_same_examples_of_every_part():
    rows = torch.tensor([3, 0])
    batch = Batch({"a": X, "b": (X, X)}, Y, INDEX, NAMES, progress=0.5, replicas=2)[rows]
    assert torch.equal(batch.inputs["a"], X[rows])
    assert [torch.equal(part, X[rows]) for part in batch.inputs["b"]] == [True, True]
    assert batch.labels.tolist() == [3, 0]
    assert batch.index.tolist() == [10, 7]
    assert batch.domain == ["b", "a"]
    assert (batch.progress, batch.replicas) == (0.5, 2)


def test_positions_take_the_domains_of_a_tensor_too():
    assert Batch(X, domain=Y)[torch.tensor([2, 2])].domain.tolist() == [2, 2]
    assert Batch(X)[torch.tensor([2])].domain is None


class TestSeveralParts:
    """What follows (inputs, labels) means nothing unless it is said what it is."""

    @pytest.mark.parametrize("labels", [Y, Y.double(), X, Y.numpy()])
    @pytest.mark.parametrize("kind", [tuple, list])
    def test_several_inputs_are_a_tuple_of_their_own(self, labels, kind):
        batch = Batch.of((kind([X, X + 1, X + 2]), labels))
        assert [part[0, 0].item() for part in batch.inputs] == [0, 1, 2]
        assert batch.labels.tolist() == labels.tolist()
        assert batch.domain is None

    def test_a_domain_is_named(self):
        batch = Batch.of(tl.data.DomainExample((X, X + 1), Y, NAMES))
        assert (len(batch.inputs), batch.labels is Y, batch.domain) == (2, True, NAMES)

    @pytest.mark.parametrize(
        "third", [["a.jpg", "b.jpg", "c.jpg", "d.jpg"], Y, Y.double(), X, None, {"id": Y}]
    )
    def test_further_parts_are_not_used(self, third, caplog):
        warn_unused.cache_clear()
        batch = Batch.of((X, Y, third))
        assert batch.inputs is X
        assert batch.labels is Y
        assert batch.domain is batch.index is None
        assert "the last 1 parts are not used" in caplog.text


class TestLabels:
    @pytest.mark.parametrize("key", ["labels", "label", "targets", "target", "y"])
    def test_are_found_under_the_usual_keys(self, key):
        batch = Batch.of({"ids": X, key: Y})
        assert (list(batch.inputs), batch.labels) == (["ids"], Y)

    def test_are_the_first_of_the_usual_keys_and_the_others_inputs(self):
        batch = Batch.of({"y": X, "labels": Y, "target": X})
        assert (list(batch.inputs), batch.labels) == (["y", "target"], Y)

    def test_keys_are_named_where_a_batch_cannot_be_read(self):
        with pytest.raises(DataError, match="labels under labels, label, targets, target, y, got"):
            Batch.of(3)

    @pytest.mark.parametrize("labels", [[0, 1, 2, 3], Y.numpy(), (0, 1, 2, 3)])
    def test_may_be_numbers_in_a_list(self, labels):
        assert torch.equal(Batch.of((X, labels)).labels, Y)
        assert torch.equal(Batch.of({"x": X, "label": labels}).labels, Y)

    @pytest.mark.parametrize("labels", [["cat", "dog", "cat", "dog"], [[0], [1, 2]], {"a": 1}])
    def test_that_are_not_numbers_are_refused(self, labels):
        with pytest.raises(DataError, match=r"labels of a batch must be .*number the classes"):
            Batch.of((X, labels))


TEXTS = ["a", "b", "c", "d"]


class TestInputsThatAreNoTensors:
    def test_arrays_become_tensors(self):
        assert torch.equal(Batch.of(X.numpy()).inputs, X)
        assert torch.equal(Batch.of([X.numpy(), Y.numpy()]).inputs, X)

    @pytest.mark.parametrize("raw", [TEXTS, tuple(TEXTS)])
    def test_strings_are_inputs(self, raw):
        assert (Batch.of(raw).inputs, Batch.of(raw).labels) == (raw, None)
        assert len(Batch.of(raw)) == len(Batch.of((raw, Y))) == 4

    @pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([1, 2]), Y.ge(1) & Y.le(2)])
    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            (TEXTS, ["b", "c"]),
            ({"x": X, "text": TEXTS}, {"x": X[1:3], "text": ["b", "c"]}),
            ({"x": X, "n": [3, 1, 4, 1]}, {"x": X[1:3], "n": [1, 4]}),
            (
                {"x": X, "boxes": [[X[0]], [], [X[1]], [X[0]] * 2]},
                {"x": X[1:3], "boxes": [[], [X[1]]]},
            ),
            ({"x": X, "masks": [X[:2], X, X[:1], X]}, {"x": X[1:3], "masks": [X, X[:1]]}),
            ((X, TEXTS), (X[1:3], ["b", "c"])),
            ({"x": X, "array": X.numpy()}, {"x": X[1:3], "array": X[1:3].numpy()}),
            ({"x": X, "size": 3, "t": torch.tensor(2.0), "f": None},) * 2,
        ],
    )
    def test_are_split_by_example(self, rows, inputs, expected):
        found = Batch(inputs, Y, domain=TEXTS)[rows]
        assert found.domain == ["b", "c"]
        if isinstance(expected, dict) and "size" in expected:
            expected = expected | {"x": X[1:3]}
        same(found.inputs, expected)

    def test_several_tensors_in_a_part_are_split_each(self):
        found = Batch({"x": X, "cache": ((X, X), (X, X), (X, X))})[:2]
        same(found.inputs["cache"], ((X[:2], X[:2]),) * 3)

    @pytest.mark.parametrize(
        "inputs",
        [
            {"x": X, "text": ["a", "b", "c"]},
            {"x": X, "table": X[:3]},
            {"x": X, "table": X[:3].numpy()},
            {"x": X, "object": object()},
            (X, X[:3]),
            {"x": X, "either": [X, X, X, X]},  # per example, or four tensors of the batch
        ],
    )
    def test_that_cannot_be_split_are_refused(self, inputs):
        with pytest.raises(DataError, match=r"batch of 4 examples must be .*to be split.* got"):
            Batch(inputs, Y)[:2]

    def test_without_a_length_are_refused(self):
        with pytest.raises(DataError, match="one item per example, got"):
            len(Batch({"a": None}))


def same(found, expected):
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif hasattr(expected, "shape"):
        assert type(found) is type(expected)
        assert found.tolist() == expected.tolist()
    else:
        assert found is expected or found == expected
