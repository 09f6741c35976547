"""Data sets of Python are used as they are, by reference or as objects."""

import pytest
import torch
from torch.utils.data import TensorDataset

from tutelage.datasets import load_data
from tutelage.errors import ArgumentError, DataError

SET = TensorDataset(torch.arange(20.0).unsqueeze(1), torch.arange(20) % 2)


def load(argument, reference):
    assert argument.startswith("data.")
    return {
        "mine.py:train": SET,
        "package.module:test": (torch.zeros(4, 1), torch.zeros(4).long()),
    }[reference]


def test_references_are_loaded_by_the_given_function():
    splits = load_data("data", {"train": "mine.py:train", "test": "package.module:test"}, load)
    assert splits.train is SET
    assert len(splits.test) == 4
    assert (splits.kind, splits.columns, splits.classes) == (None, None, ())


def test_shares_are_random_and_seeded():
    options = {"train": SET, "val": 0.25, "test": 0.25, "split": {"seed": 3}}
    splits, again = load_data("data", options), load_data("data", options)
    assert [len(each) for each in (splits.train, splits.val, splits.test)] == [10, 5, 5]
    assert [each[0].item() for each in splits.val] == [each[0].item() for each in again.val]


def test_unlabelled_examples_are_added():
    more = TensorDataset(torch.ones(3, 1), torch.full((3,), -100))
    splits = load_data("data", {"train": SET, "unlabelled": more})
    assert (len(splits.train), splits.labelled) == (23, SET)


def test_references_without_a_function_are_refused():
    with pytest.raises(ArgumentError, match="a data set of Python"):
        load_data("data", {"train": "mine.py:train"})


def test_options_for_files_are_refused():
    with pytest.raises(ArgumentError, match=r"`data.label` is for data in files"):
        load_data("data", {"train": SET, "label": "y"})
    for split in ({"column": "part"}, {"group": "who"}, {"stratified": True}):
        [option] = split
        with pytest.raises(ArgumentError, match=rf"`data.split.{option}` is for data in files"):
            load_data("data", {"train": SET, "val": 0.2, "split": split})
    with pytest.raises(ArgumentError, match=r"got 'a.csv'"):
        load_data("data", {"train": SET, "val": "a.csv"}, load)


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([])


def test_shares_of_data_without_a_length_are_refused():
    with pytest.raises(DataError, match="must have a length"):
        load_data("data", {"train": Stream(), "val": 0.1})


def test_streams_are_not_joined_with_unlabelled_data():
    with pytest.raises(DataError, match=r"`data.train` must be a map-style data set .* got Stream"):
        load_data("data", {"train": Stream(), "unlabelled": torch.ones(3, 1)})


def test_errors_name_data_by_its_type():
    with pytest.raises(ArgumentError, match="got TensorDataset; leave it out"):
        load_data("data", {"train": SET, "label": "y"})
