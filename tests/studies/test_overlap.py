"""Examples that are in two of train, validation and test data are found, refused or stated."""

import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Sampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

import tutelage as tl
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.results.record import read_record
from tutelage.studies.eval_data import read_eval_data
from tutelage.studies.overlap import Examples, compare, eval_examples, train_examples

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(300, 4, generator=GENERATOR)
LABELS = torch.arange(300) % 3


class Rows(Dataset):
    """Examples made by a function of their position; any form."""

    def __init__(self, rows, make):
        self.rows, self.make = list(rows), make

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, place):
        return self.make(self.rows[place])


class Augmented(Dataset):
    """A data set of one's own that changes the inputs of another, at random or not."""

    def __init__(self, inner, change):
        self.inner, self.change = inner, change

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, place):
        x, y = self.inner[place]
        return self.change(x), y


def pairs(rows):
    return TensorDataset(INPUTS[rows], LABELS[rows])


FORMS = {
    "tensors": lambda rows: (INPUTS[rows], LABELS[rows]),
    "arrays": lambda rows: (INPUTS[rows].numpy(), LABELS[rows].numpy()),
    "tensor data set": pairs,
    "subset": lambda rows: Subset(TensorDataset(INPUTS, LABELS), range(300)[rows]),
    "joined": lambda rows: ConcatDataset([pairs(rows)]),
    "unlabelled": lambda rows: tl.data.unlabelled(INPUTS[rows]),
    "loader": lambda rows: DataLoader(pairs(rows), 7),
    "tuples": lambda rows: Rows(range(300)[rows], lambda at: (INPUTS[at], LABELS[at])),
    "rows of lists": lambda rows: Rows(
        range(300)[rows], lambda at: (INPUTS[at].tolist(), int(LABELS[at]))
    ),
    "sampler": lambda rows: DataLoader(
        TensorDataset(INPUTS, LABELS), 7, sampler=SubsetRandomSampler(range(300)[rows])
    ),
}


def examples_of(name, data):
    return eval_examples(read_eval_data(name, data))


def common(train, test):
    found = compare(train_examples("train", train), examples_of("test", test))
    return found.examples, found.of


@pytest.mark.parametrize("train", FORMS)
@pytest.mark.parametrize("test", ["tensor data set", "loader", "tuples", "unlabelled"])
def test_the_same_inputs_are_found_in_any_container(train, test):
    whole, other = FORMS[train](slice(0, 200)), FORMS[test](slice(150, 250))
    assert common(whole, other) == (50, 100)
    assert common(whole, FORMS[test](slice(200, 250))) == (0, 50)


@pytest.mark.parametrize(
    "make",
    [
        lambda at: {"x": INPUTS[at], "labels": LABELS[at]},
        lambda at: ((INPUTS[at], INPUTS[at, :2]), LABELS[at]),
        lambda at: (f"row {at}", LABELS[at]),
        lambda at: {"text": f"row {at}", "label": int(LABELS[at])},
        lambda at: INPUTS[at],
    ],
)
def test_inputs_of_any_structure(make):
    train, test = Rows(range(200), make), Rows(range(150, 250), make)
    assert common(train, test) == (50, 100)
    assert common(train, Rows(range(200, 250), make)) == (0, 50)


def _padded(rows):
    texts = [torch.arange(1, 2 + row % 5 + row) for row in rows]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor(rows)}


def test_padding_that_a_mask_marks_does_not_hide_an_example():
    train, test = (
        DataLoader(rows, 8, collate_fn=_padded) for rows in (list(range(40)), list(range(33, 53)))
    )
    assert common(train, test) == (7, 20)


def test_loaders_with_batches_of_their_own_are_read_too():
    batches = [list(range(at, at + 5)) for at in range(0, 40, 5)]
    sampled = DataLoader(list(range(40)), batch_sampler=batches, collate_fn=_padded)
    test = DataLoader(list(range(33, 53)), 8, collate_fn=_padded)
    assert common(sampled, test) == (7, 20)
    whole = [(INPUTS[at : at + 20], LABELS[at : at + 20]) for at in range(0, 200, 20)]
    assert common(DataLoader(whole, batch_size=None), pairs(slice(150, 250))) == (50, 100)


def test_a_study_trains_on_whole_batches(setup):
    parts = [setup.part(at, at + 50).tensors for at in range(0, 300, 50)]
    study = setup.study(train=DataLoader(parts, batch_size=None), seeds=1, controls={})
    assert set(study.results.arm("soft").trials[0].train) == {"agreement", "kl"}


def test_one_input_in_two_domains_is_two_examples():
    first, second = pairs(slice(0, 100)), pairs(slice(100, 200))
    train = tl.data.domains({"a": first, "b": second})
    assert common(train, tl.data.domains({"a": second, "b": first})) == (0, 200)
    assert common(train, tl.data.domains({"a": first, "b": first})) == (100, 200)
    assert common(train, second) == (100, 100)  # without domains the input alone counts


def test_a_random_augmentation_is_compared_without_it():
    """As indices of one data set, or by the content of what is augmented."""
    whole = TensorDataset(INPUTS, LABELS)
    noisy = Augmented(Subset(whole, range(200)), lambda x: x + torch.randn(4))
    for test in (Subset(whole, range(150, 250)), pairs(slice(150, 250))):
        assert common(noisy, test) == (50, 100)
        assert common(tl.data.Views(Subset(whole, range(200)), lambda x: 2 * x), test) == (50, 100)
    plain = Augmented(Subset(whole, range(150, 250)), lambda x: x / 2)
    assert common(noisy, plain) == (50, 100)
    assert common(noisy, Augmented(Subset(whole, range(200, 250)), lambda x: x / 2)) == (0, 50)


def test_what_cannot_be_compared_is_said():
    test = examples_of("test", pairs(slice(0, 100)))

    class Noise(Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, _):
            return torch.randn(4), 0

    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(torch.zeros(4), 0)])

    for data, words in (
        (Noise(), "differ each time they are loaded"),
        (Stream(), "has no length"),
        (Rows(range(9), lambda at: f"row {at}"), "of another kind"),
    ):
        found = compare(train_examples("train", data), test)
        assert found.examples == 0
        assert words in found.unchecked


def test_random_training_data_and_a_stream_to_test_on():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(INPUTS[at], LABELS[at]) for at in range(9)])

    noisy = Augmented(pairs(slice(0, 100)), lambda x: x + torch.randn(4))
    found = compare(train_examples("train", noisy), examples_of("test", Stream()))
    assert (found.of, found.unchecked) == (
        0,
        "test has no length, so its examples were not compared",
    )


class Sized(Sampler):
    """As in detection: an index and a size for each example."""

    def __iter__(self):
        return iter([(at, 32) for at in range(100)])

    def __len__(self):
        return 100


class Sizes(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, place):
        return pairs(slice(0, 100))[place[0] if isinstance(place, tuple) else place]


def test_a_sampler_of_more_than_indices_means_all_examples():
    loader = DataLoader(Sizes(), 10, sampler=Sized())
    assert common(loader, pairs(slice(50, 150))) == (50, 100)


def test_rows_of_few_integers_coincide_innocently():
    """As in the letters of UCI: 7 % of their rows have a twin."""
    rows = torch.randint(0, 2, (4000, 11), generator=torch.Generator().manual_seed(1)).float()
    found = compare(
        train_examples("train", TensorDataset(rows[:3000])),
        examples_of("test", TensorDataset(rows[3000:])),
    )
    assert found.examples > 500
    assert not found.is_leak
    leaked = compare(
        train_examples("train", TensorDataset(rows[:3500])),
        examples_of("test", TensorDataset(rows[3000:])),
    )
    assert leaked.is_leak


@pytest.mark.parametrize(
    ("shared", "of", "leak"),
    [
        (1, 100, False),
        (2, 100, False),
        (5, 100, True),
        (1, 1, True),
        (2, 2, True),
        (10, 2000, False),
        (40, 2000, True),
    ],
)
def test_a_few_examples_in_both_are_no_leak(shared, of, leak):
    keys = [str(each).encode() for each in range(10_000)]
    train = Examples("train", keys[:5000], total=5000)
    test = Examples("test", keys[5000 - shared : 5000 - shared + of], total=of)
    found = compare(train, test)
    assert (found.examples, found.of) == (shared, of)
    assert found.is_leak is leak


def test_only_some_examples_of_a_large_data_set_are_loaded(monkeypatch):
    monkeypatch.setattr("tutelage.studies.overlap.MOST", 50)
    loaded = []
    train = Rows(range(200), lambda at: (loaded.append(at), (INPUTS[at], LABELS[at]))[1])
    found = compare(train_examples("train", train), examples_of("test", pairs(slice(0, 100))))
    assert len(set(loaded)) == 50
    assert found.examples == 25
    assert found.is_leak
    assert "50 of the 200 examples" in found.unchecked


# In studies.


def test_the_data_are_compared_before_any_work(setup):
    def never(_):
        raise AssertionError("an arm was begun")

    half = setup.part(600, 1100)
    for changes, words in (
        (
            {"val": setup.test},
            r"`val` and `test` .* got 1,197 of the 1,197 examples of `test` in both",
        ),
        ({"val": half}, r"got 500 of the 500 examples of `val` in both \(such as 0 and 1\)"),
        ({"train": setup.test}, "`train` and `test`"),
        ({"val": Subset(setup.train, range(50))}, "`train` and `val`"),
        (
            {"train": lambda seed: setup.part(600 * seed, 600 * seed + 300)},
            r"`test` and `train \(seed 1",
        ),
        (
            {"arms": {"own": tl.Arm(objective=tl.SoftTargets(1), train=half)}},
            "`test` and `train of arm 'own'`",
        ),
    ):
        with pytest.raises(tl.DataError, match=words) as caught:
            setup.study(controls={"never": never}, **changes)
        assert "allow_overlap=True" in str(caught.value)


def test_swept_training_data_are_compared_too(setup):
    arm = tl.Arm(objective=tl.SoftTargets(1), sweep={"train": [setup.train, setup.test]})
    with pytest.raises(tl.DataError, match="`train of arm 'own'` and `test`"):
        setup.study(arms={"own": arm}, val=setup.val)


def test_where_the_user_insists_the_page_says_it(setup, tmp_path):
    options = {"seeds": 1, "epochs": 1, "controls": {}}
    study = setup.study(val=setup.test, allow_overlap=True, out=tmp_path, **options)
    text = render(record_page(study.results))
    assert "1,197 of the 1,197 examples of “test” are in “val” too" in text
    assert "never used for selection" not in text
    assert read_record(tmp_path / "results.json") == study.results
    honest = render(record_page(setup.study(val=setup.val, **options).results))
    assert "never used for selection" in honest
    assert "have no examples in common" in honest


def test_training_is_the_same_with_and_without_the_comparison(setup):
    """Reading data must not move the random states that training uses."""
    draws = torch.Generator().manual_seed(3)
    noisy = Augmented(setup.train, lambda x: x + 0.1 * torch.randn(64, generator=draws))
    noisy.draws = draws
    loader = DataLoader(setup.train, 32, shuffle=True, generator=torch.Generator().manual_seed(4))
    states = [draws.get_state(), loader.generator.get_state(), torch.get_rng_state()]
    assert train_examples("train", noisy).augmented
    assert not train_examples("train", loader).augmented
    for one, other in zip(
        states,
        (draws.get_state(), loader.generator.get_state(), torch.get_rng_state()),
        strict=True,
    ):
        assert torch.equal(one, other)


def test_a_function_of_the_seed_without_overlap_is_named_without_a_seed(setup):
    results = setup.study(train=lambda seed: setup.part(100 * seed, 100 * seed + 100)).results
    assert [(each.data, each.other, each.examples) for each in results.overlaps] == [
        ("train", "test", 0)
    ]


def test_test_data_of_one_class_are_said(setup):
    inputs, labels = setup.test.tensors
    study = setup.study(test=TensorDataset(inputs[labels == 3], labels[labels == 3]), seeds=1)
    assert "test examples are of class 3" in render(record_page(study.results))
    assert setup.study(seeds=1).results.notes == ()


def test_training_data_without_an_example_are_refused_in_words():
    class Nothing:
        def __len__(self):
            return 0

        def __getitem__(self, index):
            raise IndexError(index)

    with pytest.raises(tl.DataError, match="at least one example"):
        train_examples("train", Nothing())
