"""Which view an epoch shows, through every way that data takes into training."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from augmentations import Images, all_noise, numpy_noise, torch_noise
from tutelage.data import (
    Domains,
    Indexed,
    Shard,
    Views,
    as_source,
    randomness,
    show_epoch,
    views_in,
)
from tutelage.errors import DataError
from tutelage.identity import dataset_fingerprint, declared_data, draws_at_random
from tutelage.signals import Batch, IndexedExample

IMAGES = Images()


def make(count=2, seed=0, transform=all_noise):
    return Views(IMAGES, transform, count=count, seed=seed)


def source(data, **options):
    return as_source("train", data, 6, seed=0, **options)


def check(batches, views, view):
    """Every example of the batches is that of its position under the view."""
    seen = []
    for batch in batches:
        assert batch.view == view
        for image, label, position in zip(batch.inputs, batch.labels, batch.index, strict=True):
            assert torch.equal(image, views.example(int(position), view)[0])
            assert label == IMAGES.labels[position]
            seen.append(int(position))
    return seen


LOADERS = {
    "plain": {},
    "workers": {"num_workers": 2},
    "persistent workers": {"num_workers": 2, "persistent_workers": True},
}


class TestSources:
    @given(st.integers(0, 50), st.integers(1, 4), st.integers(0, 3))
    def test_a_set_shows_epoch_modulo_views(self, epoch, count, start):
        views = make(count, transform=torch_noise)
        batches = list(source(views).epoch(epoch, start))
        assert len(check(batches, views, epoch % count)) == 20 - 6 * start

    @pytest.mark.parametrize("kind", LOADERS)
    def test_a_shuffling_loader_of_indexed_views(self, kind):
        views = make(3)
        data = source(DataLoader(Indexed(views), 6, shuffle=True, **LOADERS[kind]))
        for epoch in range(4):
            seen = check(data.epoch(epoch), views, epoch % 3)
            assert sorted(seen) == list(range(20))
            assert seen != sorted(seen)

    @pytest.mark.parametrize("kind", LOADERS)
    @pytest.mark.parametrize("start", [0, 1])
    def test_a_resumed_loader_uses_the_same_views(self, kind, start):
        def begin():
            return source(DataLoader(Indexed(make(3)), 6, shuffle=True, **LOADERS[kind]))

        first = begin()
        list(first.epoch(0))
        state, drawn = first.state(), randomness.capture()
        running = first.epoch(1)
        before = [next(running) for _ in range(start)]
        if start:
            state, drawn = first.state(), randomness.capture()
        whole = before + list(running)
        torch.rand(5)
        later = begin()
        later.load(state)
        randomness.restore(drawn)
        rest = list(later.epoch(1, start))
        assert all(
            torch.equal(a.inputs, b.inputs) and torch.equal(a.index, b.index) and a.view == 1
            for a, b in zip(rest, whole[start:], strict=True)
        )

    def test_batches_of_views_without_indices_have_the_view_only(self):
        views = make()
        batches = list(source(DataLoader(views, 6)).epoch(3))
        assert all(batch.view == 1 and batch.index is None for batch in batches)
        assert torch.equal(batches[0].inputs[2], views.example(2, 1)[0])

    def test_fewer_views_than_available_can_be_used(self):
        views = make(5)
        for data in (views, DataLoader(Indexed(views), 6)):
            check(source(data, views=2).epoch(3), views, 1)

    def test_views_without_a_count_are_cycled_as_requested(self):
        views = make(None)
        check(source(views, views=2).epoch(3), views, 1)
        check(source(views).epoch(3), views, 3)

    def test_an_epoch_keeps_its_view_whatever_happens_to_the_set_meanwhile(self):
        views = make(4)
        running = source(views).epoch(1)
        batches = [next(running)]
        check(source(views).epoch(2), views, 2)
        views.set_view(3)
        check(batches + list(running), views, 1)

    def test_two_processes_get_the_same_pixels(self):
        views = make()
        parts = [list(source(views, shard=Shard(rank, 2)).epoch(1)) for rank in (0, 1)]
        seen = [check(part, views, 1) for part in parts]
        assert sorted(seen[0] + seen[1]) == list(range(20))

    def test_sets_without_views_have_view_0(self):
        for data in (IMAGES, TensorDataset(IMAGES.images), DataLoader(IMAGES, 6)):
            assert all(batch.view == 0 for batch in source(data).epoch(5))

    def test_a_batch_of_the_users_own_keeps_its_view(self):
        loader = DataLoader(IMAGES, 6, collate_fn=lambda _: Batch(torch.zeros(6, 1), view=7))
        assert next(iter(source(loader).epoch(0))).view == 7

    def test_parts_of_a_batch_and_copies_on_a_device_keep_the_view(self):
        batch = Batch(torch.zeros(4, 1), index=torch.arange(4), view=3)
        assert batch[1:3].view == batch.to(torch.device("cpu"), 0.5).view == 3


class Wrapped(Dataset):
    """A wrapper that the library does not know."""

    def __init__(self, inner):
        self.inner = inner

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, position):
        return self.inner[position]


class Plain:
    """A wrapper that is no `Dataset` of torch."""

    def __init__(self, inner):
        self.inner = inner

    __len__, __getitem__ = Wrapped.__len__, Wrapped.__getitem__


class TestWrappers:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda views: Subset(views, [4, 2]),
            lambda views: Subset(Subset(views, [1, 4, 2]), [1, 2]),
            lambda views: ConcatDataset([Subset(views, [4]), Subset(views, [2])]),
            lambda views: Domains({"a": Subset(views, [4]), "b": Subset(views, [2])}),
            lambda views: Subset(Wrapped(views), [4, 2]),
            lambda views: Indexed(Subset(views, [4, 2])),
            lambda views: Plain(Subset(views, [4, 2])),
        ],
    )
    def test_pass_the_epoch_on(self, wrap):
        views = make(3)
        data = as_source("train", wrap(views), 2)
        for epoch in range(4):
            (batch,) = data.epoch(epoch)
            assert batch.view == epoch % 3
            assert batch.index.tolist() == [0, 1]
            expected = [views.example(position, epoch % 3)[0] for position in (4, 2)]
            assert torch.equal(batch.inputs, torch.stack(expected))

    def test_are_looked_through_once_for_each_views(self):
        one, other = make(), make()
        assert views_in(ConcatDataset([one, IMAGES, other])) == [one, other]
        assert views_in(IMAGES) == []

    def test_of_different_counts_are_refused(self):
        with pytest.raises(DataError, match=r"same number of views.*2 and 3|3 and 2.*same `count`"):
            show_epoch(ConcatDataset([make(2), make(3)]), 0)

    def test_too_few_views_are_refused(self):
        with pytest.raises(DataError, match=r"must have the 4 views.*count 2.*larger count"):
            list(source(make(2), views=4).epoch(0))


class TestIndexed:
    def test_examples_have_index_and_view(self):
        views = make()
        views.set_view(1)
        example, index, view = Indexed(views)[-1]
        assert (index, view) == (19, 1)
        assert torch.equal(example[0], views.example(19, 1)[0])

    def test_of_a_plain_set_in_a_loader_of_ones_own_collation(self):
        def collate(items):
            images = torch.stack([item.example[0] for item in items])
            return IndexedExample((images, None), torch.tensor([item.index for item in items]), 0)

        loader = DataLoader(Indexed(IMAGES), 5, shuffle=True, collate_fn=collate)
        for batch in source(loader).epoch(0):
            assert torch.equal(batch.inputs, IMAGES.images[batch.index])

    @pytest.mark.parametrize("wrong", [iter([1]), DataLoader(IMAGES), None])
    def test_is_of_a_data_set(self, wrong):
        with pytest.raises(DataError, match=r"`Indexed` must be given a map-style data set.* got"):
            Indexed(wrong)

    def test_is_the_outermost_wrapper(self):
        with pytest.raises(DataError, match=r"outermost.*Indexed\(Subset"):
            dataset_fingerprint(Subset(Indexed(IMAGES), [1]))

    def test_a_batch_of_several_views_is_refused(self):
        raw = IndexedExample(torch.zeros(2, 1), torch.arange(2), torch.tensor([0, 1]))
        with pytest.raises(DataError, match=r"of one view, got views \[0, 1\]; call set_view"):
            Batch.of(raw)


def shift(image):
    return image + torch.rand(())


class Shift:
    """A transform whose repr has its address."""

    def __init__(self, by):
        self.by = by

    def __call__(self, image):
        return image + self.by * torch.rand(())


class TestFingerprints:
    def test_change_with_whatever_changes_the_pixels(self):
        sets = [
            Views(IMAGES, shift),
            Views(IMAGES, shift, seed=1),
            Views(IMAGES, numpy_noise),
            Views(IMAGES, Shift(2)),
            Views(Images(19), shift),
            Views(Subset(IMAGES, range(19, -1, -1)), shift),
            IMAGES,
        ]
        assert len({dataset_fingerprint(each) for each in sets}) == len(sets)

    def test_distinguish_functions_of_the_same_name(self):
        one, other = (lambda x, by=by: x + by * torch.rand(()) for by in (1, 2))
        assert dataset_fingerprint(Views(IMAGES, one)) != dataset_fingerprint(Views(IMAGES, other))

    def test_stay_with_all_that_does_not(self):
        views = Views(IMAGES, Shift(1), count=4)
        expected = dataset_fingerprint(views)
        views.set_view(2)
        torch.rand(3)
        others = [views, Indexed(views), DataLoader(views, 3), Views(IMAGES, Shift(1))]
        others.append(pickle.loads(pickle.dumps(views)))
        assert {dataset_fingerprint(each) for each in others} == {expected}

    def test_views_are_not_random(self):
        assert not draws_at_random(make())
        assert draws_at_random(Images(augment=all_noise))

    @pytest.mark.parametrize("wrap", [lambda data: data, lambda data: DataLoader(data, 6)])
    def test_sources_are_described_by_their_views(self, wrap):
        texts = {
            str(source(wrap(data), views=number).description)
            for data in (make(2), make(2, seed=1), make(2, transform=shift), make(3))
            for number in (None, 1)
        }
        assert len(texts) == 7  # with one view in use, 2 and 3 are the same
        prints = [str(declared_data(wrap(data))) for data in (make(), make(seed=1), IMAGES)]
        assert len(set(prints)) == 3

    def test_studies_know_them_again_whatever_was_shown_meanwhile(self):
        views = make(3)
        before = declared_data(views)
        list(source(views).epoch(2))
        assert declared_data(views) == before == declared_data(make(3))
        assert declared_data(make(3, seed=1)) != before
