"""Targets that are no tensor, such as boxes, and inputs of several sizes."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset

import tutelage as tl
from boxes import Boxes
from tutelage.data import PerExample, Shard, as_source
from tutelage.data.collate import collate
from tutelage.identity import dataset_fingerprint
from tutelage.layers.observe import arguments
from tutelage.nested import describe, joined, to_device

IMAGES, TARGETS = map(list, zip(*Boxes(5), strict=True))


def batches(data, **options):
    return list(as_source("data", data, 2, **options).epoch(0))


def same(found, expected):
    """Nested values are equal, with the same types of lists."""
    assert type(found) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected


class TestBatch:
    @pytest.mark.parametrize("raw", [(IMAGES, TARGETS), (tuple(IMAGES), tuple(TARGETS))])
    def test_lists_of_images_and_targets(self, raw):
        """As the collate functions of torchvision's references return them."""
        batch = tl.Batch.of(raw)
        assert len(batch) == 5
        same(batch.inputs, PerExample(IMAGES))
        same(batch.labels, TARGETS)

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_of_any_number_of_images(self, size):
        """Also as many as they have channels, rows or arguments."""
        batch = tl.Batch.of((tuple(torch.zeros(3, 4, 4) for _ in range(size)), TARGETS[:size]))
        assert len(batch) == size
        assert arguments(batch.inputs)[0] == (batch.inputs,)

    def test_one_tensor_of_images(self):
        images = torch.zeros(5, 1, 8, 8)
        batch = tl.Batch.of((images, TARGETS))
        assert batch.inputs is images
        assert batch.labels == TARGETS

    def test_a_dict_keeps_its_targets(self):
        batch = tl.Batch.of({"pixel_values": torch.zeros(5, 1, 8, 8), "labels": TARGETS})
        assert list(batch.inputs) == ["pixel_values"]
        assert batch.labels == TARGETS

    def test_images_without_targets(self):
        batch = tl.Batch.of(PerExample(IMAGES[:2]))
        assert len(batch) == 2
        assert batch.labels is None

    def test_labels_of_images_of_several_sizes(self):
        batch = tl.Batch.of((PerExample(IMAGES), torch.arange(5)))
        assert torch.equal(batch.labels, torch.arange(5))
        assert len(batch) == 5

    def test_targets_of_one_number_each_stay_tensors(self):
        """Of transcripts that happen to have one letter."""
        letters = [torch.tensor([5]), torch.tensor([2])]
        same(tl.Batch.of((torch.zeros(2, 8), letters)).labels, letters)
        assert torch.equal(tl.Batch.of((torch.zeros(2, 8), [5, 2])).labels, torch.tensor([5, 2]))

    def test_a_dict_of_targets(self):
        targets = {"class": torch.arange(4), "mask": torch.zeros(4, 8, 8)}
        batch = tl.Batch.of((torch.zeros(4, 3), targets))
        same(batch[1:3].labels, {key: each[1:3] for key, each in targets.items()})
        assert len(batch) == 4

    @pytest.mark.parametrize(
        ("rows", "positions"),
        [
            (slice(1, 3), [1, 2]),
            (torch.tensor([4, 0]), [4, 0]),
            (torch.tensor([True, False, True, False, False]), [0, 2]),
        ],
    )
    def test_some_of_the_examples(self, rows, positions):
        batch = tl.Batch.of(tl.data.DomainExample(IMAGES, TARGETS, ["a", "b", "a", "b", "a"]))[rows]
        assert len(batch) == len(positions)
        same(batch.inputs, PerExample(IMAGES[at] for at in positions))
        same(batch.labels, [TARGETS[at] for at in positions])
        assert batch.domain == [["a", "b", "a", "b", "a"][at] for at in positions]

    def test_on_another_device(self):
        batch = tl.Batch.of((IMAGES, TARGETS)).to(torch.device("meta"))
        assert {each.device.type for each in batch.inputs} == {"meta"}
        assert isinstance(batch.inputs, PerExample)
        assert isinstance(batch.labels, list)
        assert {each["boxes"].device.type for each in batch.labels} == {"meta"}

    def test_another_number_of_targets_is_refused(self):
        with pytest.raises(tl.DataError, match="got 5 inputs and 4 targets"):
            tl.Batch.of((IMAGES, TARGETS[:4]))

    def test_which_have_a_label_is_not_known(self):
        with pytest.raises(tl.DataError, match="must have a tensor of labels"):
            tl.Batch.of((IMAGES, TARGETS)).labelled()


class TestCollate:
    def test_targets_are_never_stacked(self):
        """Not even if all are of one shape, which would differ from batch to batch."""
        alike = [(torch.zeros(1, 8, 8), TARGETS[at]) for at in range(2)]
        for examples in (alike, list(Boxes(3))):
            images, targets = collate(examples)
            same(images, PerExample(each for each, _ in examples))
            same(targets, [each for _, each in examples])

    def test_inputs_in_a_dict_are_stacked(self):
        examples = [{"x": torch.ones(2) * at, "labels": TARGETS[at]} for at in range(3)]
        batch = collate(examples)
        assert torch.equal(batch["x"], torch.tensor([[0.0, 0.0], [1, 1], [2, 2]]))
        same(batch["labels"], TARGETS[:3])

    def test_annotations_in_lists(self):
        rows = [
            (torch.zeros(3), [{"bbox": [1, 2, 3, 4]}]),
            (torch.ones(3), [{"bbox": [0, 0, 1, 1]}] * 2),
            (torch.ones(3), []),
        ]
        assert [len(each) for each in collate(rows)[1]] == [1, 2, 0]

    def test_arrays_become_tensors(self):
        rows = [
            (np.zeros((1, 2 + at, 2), np.float32), {"boxes": np.ones((at, 4))}) for at in (0, 1)
        ]
        images, targets = collate(rows)
        assert [tuple(each.shape) for each in images] == [(1, 2, 2), (1, 3, 2)]
        assert all(isinstance(each["boxes"], torch.Tensor) for each in targets)

    def test_other_data_are_as_before(self):
        inputs, labels = collate([(torch.zeros(3), 1), (torch.ones(3), 2)])
        assert torch.equal(labels, torch.tensor([1, 2]))
        assert inputs.shape == (2, 3)

    @pytest.mark.parametrize(
        "examples",
        [
            [(torch.zeros(3), {"boxes": torch.zeros(1, 4)}), torch.zeros(3)],
        ],
    )
    def test_targets_elsewhere_are_refused(self, examples):
        with pytest.raises(tl.DataError, match=r"targets"):
            collate(examples)


class TestSources:
    def test_of_a_data_set(self):
        found = batches(Boxes(5))
        assert [len(each) for each in found] == [2, 2, 1]
        same(found[1].inputs, PerExample(IMAGES[2:4]))
        same(found[1].labels, TARGETS[2:4])
        assert found[2].index.tolist() == [4]

    def test_of_indexed_examples_and_domains(self):
        first, second = Subset(Boxes(5), [0, 1, 2]), Subset(Boxes(5), [3, 4])
        data = tl.data.domains({"one": first, "two": second})
        found = batches(tl.data.Indexed(data))
        same([each for batch in found for each in batch.labels], TARGETS)
        assert [name for batch in found for name in batch.domain] == ["one"] * 3 + ["two"] * 2

    @pytest.mark.parametrize("workers", [0, 1])
    def test_a_loader_equals_the_data_set(self, workers):
        loader = DataLoader(
            Boxes(5), 2, collate_fn=lambda each: tuple(zip(*each, strict=True)), num_workers=workers
        )
        for one, other in zip(batches(loader), batches(Boxes(5)), strict=True):
            same(one.inputs, other.inputs)
            same(one.labels, other.labels)

    @pytest.mark.parametrize("loader", [False, True])
    def test_shards_are_parts_of_the_batches(self, loader):
        data = DataLoader(Boxes(5), 2, collate_fn=collate) if loader else Boxes(5)
        if loader:
            whole = batches(data)
            rows = [batch[Shard(rank, 2).rows(len(batch))] for rank in range(2) for batch in whole]
        else:
            rows = [each for rank in range(2) for each in batches(data, shard=Shard(rank, 2))]
        ones = rows[0].labels + rows[3].labels
        same(ones, TARGETS[:2])
        same(rows[2].labels, TARGETS[4:])

    def test_the_content_of_targets_is_part_of_the_fingerprint(self):
        class Moved(Boxes):
            def __getitem__(self, index):
                image, target = super().__getitem__(index)
                return image, target | {"boxes": target["boxes"] + 1}

        assert dataset_fingerprint(Boxes(5)) == dataset_fingerprint(list(Boxes(5)))
        assert dataset_fingerprint(Boxes(5)) != dataset_fingerprint(Moved(5))


class TestTransforms:
    @pytest.mark.parametrize("transform", [tl.data.Mixup(), tl.data.CutMix(), tl.data.Swap()])
    def test_that_mix_refuse_a_list_of_images(self, transform):
        batch = tl.Batch(PerExample(torch.zeros(3, 3, 3) for _ in range(3)), torch.arange(3))
        with pytest.raises(tl.DataError, match=r"inputs in tensors \[batch, …\]|CutMix must have"):
            transform(batch)

    @pytest.mark.parametrize("transform", [tl.data.Mixup(), tl.data.CutMix()])
    def test_that_mix_refuse_targets(self, transform):
        with pytest.raises(tl.DataError, match="must have a tensor of them, got"):
            transform(tl.Batch(torch.zeros(5, 1, 8, 8), TARGETS))

    def test_swap_refuses_targets(self):
        with pytest.raises(tl.DataError, match="Swap must have a tensor of labels"):
            tl.data.Swap(mix_labels=False)(tl.Batch(torch.zeros(5, 3), TARGETS))

    def test_noise_is_added_to_each_image(self):
        batch = tl.data.Noise(0.1)(tl.Batch(PerExample(IMAGES), TARGETS))
        assert [each.shape for each in batch.inputs] == [each.shape for each in IMAGES]
        assert isinstance(batch.inputs, PerExample)
        assert batch.labels is TARGETS


def test_slices_of_a_list_per_example_are_such():
    images = PerExample(IMAGES)
    assert isinstance(images[1:3], PerExample)
    assert images[0] is IMAGES[0]


def test_named_tuples_stay_such():
    index = tl.signals.IndexedExample(torch.zeros(2), 1, 0)
    assert to_device(index, torch.device("meta")).example.device.type == "meta"


def test_labels_of_several_batches_are_joined():
    assert joined([TARGETS[:2], TARGETS[2:]]) == TARGETS
    assert joined([torch.zeros(2, 3), torch.zeros(1, 3)]).shape == (3, 3)
    assert [len(each) for each in joined([torch.zeros(2, 3), torch.zeros(1, 4)])] == [3, 3, 4]
    assert joined([{"a": torch.zeros(2)}, {"a": torch.zeros(3)}])["a"].shape == (5,)
    assert joined([torch.zeros(2), TARGETS]) is None


def test_long_lists_are_described_briefly():
    text = describe([torch.zeros(at) for at in range(100)])
    assert text.endswith("float32 [7], … 100 in all)")
