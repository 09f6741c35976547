"""Columns that name rows, or tell the label alone, are told; others are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.datasets import Column, Columns, load_data
from tutelage.datasets.leaks import identifiers, tellers
from tutelage.errors import DataError

SEEDS = st.integers(0, 2**32 - 1)


def names_of(values, name="x"):
    values = np.asarray(values, dtype=np.float64)[:, None]
    return identifiers(values, Columns((Column(name, "number"),)))


def told(values, labels, are_values=False):
    values, labels = (np.asarray(each, dtype=np.float64)[:, None] for each in (values, labels))
    return tellers(values, Columns((Column("x", "number"),)), labels, ("y",), are_values)


class TestIdentifiers:
    @given(st.permutations(range(40)), st.integers(-(10**9), 10**9))
    def test_integers_that_number_the_rows_in_any_order(self, order, start):
        (sentence,) = names_of([start + each for each in order])
        assert "omit: [x]" in sentence

    @given(st.lists(st.integers(0, 10**12), min_size=30, max_size=60, unique=True))
    def test_integers_that_increase(self, values):
        assert names_of(sorted(values))

    @given(SEEDS)
    def test_measures_are_none(self, seed):
        random = np.random.default_rng(seed)
        assert not names_of(np.sort(random.normal(size=100)))  # floats, all different
        assert not names_of(random.integers(0, 50, 100))
        assert not names_of(random.permutation(10_000)[:100])  # wide, all different
        assert not names_of(np.repeat(np.arange(50), 2))
        assert not names_of(np.arange(29))  # too few to tell

    @pytest.mark.parametrize("name", ["id", "ID", "user_id", "userId", "store.id", "index", "uuid"])
    def test_a_name_tells_of_integers(self, name):
        values = np.random.default_rng(0).integers(0, 20, 100)
        assert "20 integers" in names_of(values, name)[0]
        assert not names_of(values + 0.5, name)

    @pytest.mark.parametrize("name", ["paid", "humid", "PAID", "grid", "price_index", "idle"])
    def test_other_names_do_not(self, name):
        assert not names_of(np.random.default_rng(0).integers(0, 20, 100), name)


class TestLabels:
    @given(SEEDS)
    @settings(max_examples=200)
    def test_what_says_nothing_of_the_label_is_none(self, seed):
        random = np.random.default_rng(seed)
        rows, classes = int(random.integers(30, 200)), int(random.integers(2, 5))
        labels = random.choice(classes, rows, p=random.dirichlet(np.ones(classes)))
        for values in (
            random.normal(size=rows),
            random.integers(0, 2, rows),
            random.integers(0, rows // 2, rows),  # most of them occur twice
            np.where(random.random(rows) < 0.5, np.nan, random.normal(size=rows)),
        ):
            assert not told(values, labels)
            assert not told(values, random.normal(size=rows), are_values=True)

    @given(SEEDS)
    def test_a_good_column_is_none(self, seed):
        random = np.random.default_rng(seed)
        values = random.normal(size=200)
        labels = values + random.normal(size=200) / 100
        assert not told(values, labels, are_values=True)
        noisy = values > 0
        noisy[np.argmax(values)] ^= True
        assert not told(values, noisy)

    @given(SEEDS)
    def test_copies_are(self, seed):
        random = np.random.default_rng(seed)
        labels = np.repeat([0, 1, 2], [15, 15, 30])
        random.shuffle(labels)
        assert "equal values" in told(np.array([7, -2, 3])[labels], labels)[0]
        assert "equal values" in told(labels * 4 + random.integers(0, 4, 60), labels)[0]
        assert "interval" in told(labels + random.random(60) / 2, labels)[0]
        values = random.normal(size=60)
        assert "in its order" in told(np.exp(values), values, are_values=True)[0]
        assert told(-3 * values, values, are_values=True)

    @given(SEEDS)
    def test_a_column_that_one_class_lacks_is(self, seed):
        """As the day of leaving, of those who have left."""
        random = np.random.default_rng(seed)
        left = random.random(100) < 0.3
        assert "missing" in told(np.where(left, random.normal(size=100), np.nan), left)[0]

    def test_of_many_rows_all_count(self):
        labels = np.arange(100_000) % 3.0
        assert told(labels + 0.5, labels)
        values = labels.copy()
        values[77] = 2 - values[77]
        assert not told(values, labels)

    def test_large_numbers_are_told_apart(self):
        labels = np.tile([0.0, 1.0, 1.0], 20)
        assert told(np.where(labels > 0, 1e18, 2e18), labels)
        assert told(np.where(labels > 0, 1e18, np.nan), labels)

    def test_rows_without_a_label_are_left_out(self):
        labels = np.tile([0.0, 1.0, np.nan], 20)
        assert told(np.tile([5, 6, 5], 20), labels)
        assert not told(np.tile([5, 6, 5], 20), np.tile([0, 1, 1], 20))

    def test_one_of_the_other_class_is_too_few(self):
        labels = np.zeros(100)
        labels[3] = 1
        assert not told(labels, labels)
        assert not told(np.where(labels > 0, 1.0, np.nan), labels)


def write_table(path):
    rows = [f"{n},{n * 7 % 11},{'ab'[n % 5 < 2]},{n % 5 < 2}" for n in range(60)]
    path.write_text("\n".join(["number,size,copy,y", *rows]))
    return {"train": path, "label": "y", "val": 0.2}


def test_a_table_tells_and_omits_them(tmp_path, caplog):
    options = write_table(tmp_path / "a.csv")
    splits = load_data("data", options)
    assert [each.split("'")[1] for each in splits.warnings] == ["number", "copy"]
    assert all(each in caplog.text for each in splits.warnings)
    splits = load_data("data", options | {"omit": ["number", "copy"]})
    assert (splits.columns.names, splits.warnings) == (("size",), ())
    listed = load_data("data", options | {"columns": ["number", "size"]})
    assert listed.warnings == ()  # who lists it wants it
    with pytest.raises(DataError, match=r"`omit` must name a column of a.csv, got 'numbr'; did"):
        load_data("data", options | {"omit": "numbr"})


@pytest.mark.parametrize("are_values", [True, False])
def test_the_largest_numbers_are_compared(are_values):
    largest = np.finfo(np.float64).max
    values = np.linspace(-1, 1, 40) * largest
    assert told(values, np.arange(40) if are_values else values > 0, are_values)
    assert not told(np.resize([largest, -largest], 40), np.arange(40) // 3 % 2, are_values)
