"""Views: the same pixels whenever, wherever and in whatever order they are made."""

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision.transforms import v2

from augmentations import TRANSFORMS, Images, all_noise, numpy_noise, torch_noise, vision
from tutelage.data import Views, randomness
from tutelage.data.fingerprint import content
from tutelage.errors import ArgumentError, DataError

IMAGES = Images()
NOISY = Views(IMAGES, all_noise, count=3, seed=11)
PLACES = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 2)), min_size=1, max_size=12)


ONE_DRAW = (
    lambda x: x + torch.rand(()),
    lambda x: x + np.random.rand(),
    lambda x: x + random.random(),
)


def states():
    return content(list(randomness.capture().values()))


def pixels(views, view=0):
    return torch.stack([views.example(position, view)[0] for position in range(len(views))])


@pytest.fixture(params=TRANSFORMS)
def views(request):
    return Views(IMAGES, TRANSFORMS[request.param], count=3, seed=11)


class TestTheSamePixels:
    @given(PLACES, st.integers(0, 2**32 - 1))
    def test_in_any_order_and_from_any_random_state(self, positions, seed):
        expected = {
            (position, view): NOISY.example(position, view)[0] for position, view in positions
        }
        randomness.seed_everything(seed)
        for position, view in reversed(positions):
            torch.rand(3), np.random.randn(), random.gauss(0, 1)
            assert torch.equal(NOISY.example(position, view)[0], expected[position, view])

    @given(st.lists(st.integers(0, 19), min_size=1), st.integers(0, 2))
    def test_one_by_one_and_by_whole_batches(self, positions, view):
        NOISY.set_view(view)
        several = NOISY.__getitems__(positions)
        for position, (image, label) in zip(positions, several, strict=True):
            assert torch.equal(NOISY[position][0], image)
            assert torch.equal(NOISY.example(position, view)[0], image)
            assert label == IMAGES.labels[position]

    def test_for_each_kind_of_generator(self, views):
        seen = [pixels(views, view) for view in range(3)]
        assert all(torch.equal(pixels(views, view), seen[view]) for view in range(3))
        assert not any(torch.equal(seen[a], seen[b]) for a in range(3) for b in range(a))
        assert not torch.equal(pixels(Views(IMAGES, views.transform, seed=12)), seen[0])

    def test_where_a_plain_loop_seeds_by_hand(self):
        """The draws of an example are those of generators that begin from its own seed."""
        for position, view in [(0, 0), (7, 2), (19, 1)]:
            from tutelage.data.randomness import mixed_seed  # noqa: PLC0415

            randomness.seed_everything(mixed_seed(mixed_seed(11, view), position))
            expected = all_noise(IMAGES.images[position])
            assert torch.equal(NOISY.example(position, view)[0], expected)

    def test_the_data_sets_own_augmentation_is_seeded_too(self):
        views = Views(Images(augment=all_noise), count=2)
        assert torch.equal(pixels(views, 1), pixels(views, 1))
        assert not torch.equal(pixels(views, 0), pixels(views, 1))

    def test_views_of_views(self):
        views = Views(Views(IMAGES, numpy_noise), torch_noise)
        first = pixels(views)
        torch.rand(1)
        assert torch.equal(pixels(views), first)

    def test_views_inside_of_others_follow_them(self):
        inside = Views(IMAGES, numpy_noise, count=2)
        views = Views(Subset(inside, range(5)), lambda image: -image, count=4)
        for view in range(4):
            views.set_view(view)
            assert torch.equal(views[3][0], -inside.example(3, view % 2)[0])
            assert torch.equal(views.example(3, 3 - view)[0], -inside.example(3, 1 - view % 2)[0])
            assert (views.view, inside.view) == (view, view % 2)

    def test_examples_have_different_random_numbers(self):
        same = Images()
        same.images = same.images[:1].expand(20, 3, 8, 8)
        seen = [
            content(image) for view in range(3) for image in pixels(Views(same, vision()), view)
        ]
        assert len(set(seen)) > 50

    def test_random_numbers_differ_between_examples_views_and_seeds(self):
        zero = TensorDataset(torch.zeros(400))
        sets = [Views(zero, draw, seed=seed) for draw in ONE_DRAW for seed in (0, 1)]

        def drawn(views, view):
            views.set_view(view)
            return [float(each[0]) for each in views.__getitems__(range(400))]

        table = np.array([drawn(each, view) for each in sets for view in (0, 1)])
        assert np.all(abs(table.mean(1) - 0.5) < 4 * 0.2887 / 20)
        assert np.all(abs(table.var(1) - 1 / 12) < 0.02)
        correlation = np.corrcoef(np.concatenate([table, np.roll(table, 1, axis=1)]))
        assert np.abs(correlation - np.eye(len(correlation))).max() < 0.25


class TestRandomStates:
    def test_are_left_as_they_were(self, views):
        torch.rand(3), np.random.randn(), random.gauss(0, 1)  # with a second normal draw in stock
        before = states()
        views[0], views.__getitems__([3, 4])
        Views(IMAGES, views.transform)
        assert states() == before

    def test_are_left_as_they_were_after_an_error(self):
        def fail(image):
            torch.rand(1), np.random.rand(), random.random()
            if broken:
                raise OSError("no such file")
            return image

        broken = []
        views = Views(IMAGES, fail)
        broken.append(True)
        before = states()
        with pytest.raises(OSError, match="no such file"):
            views[0]
        assert states() == before


def sorted_rows(images):
    return sorted(content(image) for image in images)


class TestWorkers:
    def test_make_the_same_pixels(self):
        views = Views(IMAGES, TRANSFORMS["all"], count=2, seed=3)
        for view in (0, 1):
            views.set_view(view)
            loader = DataLoader(views, 4, shuffle=True, num_workers=2)
            images = torch.cat([images for images, _ in loader])
            assert sorted_rows(images) == sorted_rows(pixels(views, view))

    def test_that_persist_see_the_next_view(self):
        views = Views(IMAGES, torch_noise, count=2)
        loader = DataLoader(views, 4, num_workers=2, persistent_workers=True)
        for epoch in range(3):
            views.set_epoch(epoch)
            images = torch.cat([images for images, _ in loader])
            assert torch.equal(images, pixels(views, epoch % 2))

    def test_that_persist_and_were_spawned_see_the_next_view(self):
        views = Views(TensorDataset(torch.ones(20, 3)), torch.nn.Dropout())
        loader = DataLoader(
            views, 10, num_workers=1, persistent_workers=True, multiprocessing_context="spawn"
        )
        for epoch in range(2):
            views.set_epoch(epoch)
            assert torch.equal(torch.cat([images for (images,) in loader]), pixels(views, epoch))

    def test_copies_have_a_view_of_their_own(self):
        NOISY.set_view(1)
        for other in (copy.deepcopy(NOISY), pickle.loads(pickle.dumps(NOISY))):
            assert other.view == 1
            other.set_view(2)
            assert NOISY.view == 1
            assert torch.equal(pixels(other, 2), pixels(NOISY, 2))


class TestTransformInputs:
    def test_the_image_of_a_pair(self):
        seen = []
        Views(IMAGES, lambda image: seen.append(image.shape) or image)[3]
        assert set(seen) == {(3, 8, 8)}

    def test_the_example_without_labels(self):
        inputs = [image for image, _ in IMAGES]
        assert torch.equal(Views(inputs, lambda image: -image)[3], -inputs[3])

    def test_the_inputs_of_a_dict(self):
        examples = [{"image": torch.ones(2), "labels": 1, "row_mask": 5, "domain": "a"}]
        found = Views(examples, lambda inputs: {name: -each for name, each in inputs.items()})[0]
        assert torch.equal(found.pop("image"), -torch.ones(2))
        assert found == {"labels": 1, "row_mask": 5, "domain": "a"}

    def test_the_whole_example_with_whole(self):
        views = Views(IMAGES, lambda pair: (pair[0], pair[1] + 10), whole=True)
        assert views[4][1] == IMAGES[4][1] + 10

    def test_an_image_of_pillow(self):
        shades = [
            (Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) + n), n) for n in (0, 9)
        ]
        views = Views(shades, v2.Compose([v2.RandomCrop(4), v2.PILToTensor()]))
        assert torch.equal(views[1][0], views[1][0])
        assert views[1][0].shape == (1, 4, 4)

    def test_domains_stay(self):
        assert Views([(torch.ones(1), 0, "photo")], torch_noise)[0][2] == "photo"


class TestViewsCycle:
    @given(st.integers(0, 1000), st.integers(1, 7))
    def test_by_epochs(self, epoch, count):
        views = Views([0.0], count=count)
        views.set_epoch(epoch)
        assert views.view == epoch % count

    def test_without_a_count_each_epoch_has_its_own(self):
        views = Views(IMAGES, torch_noise)
        views.set_epoch(1000)
        assert views.view == 1000

    def test_negative_positions_count_from_the_end(self):
        assert torch.equal(NOISY[-1][0], NOISY[19][0])
        with pytest.raises(IndexError):
            NOISY[20]
        assert len(list(NOISY)) == 20  # iteration by position comes to an end


class TestRefusals:
    def test_a_generator_of_its_own(self):
        generator = np.random.default_rng(0)
        with pytest.raises(DataError, match=r"two that differ.*numpy\.random\.rand"):
            Views(IMAGES, lambda image: image + generator.random())

    def test_a_rarely_used_generator(self):
        generator = np.random.default_rng(0)
        with pytest.raises(DataError, match="generator of its own"):
            Views(IMAGES, lambda image: image + (generator.random() < 0.5))

    @pytest.mark.parametrize("count", [0, -1, 1.5, True])
    def test_an_invalid_count(self, count):
        with pytest.raises(ArgumentError, match="`count`"):
            Views(IMAGES, count=count)

    def test_an_invalid_seed(self):
        with pytest.raises(ArgumentError, match="`seed`"):
            Views(IMAGES, seed="one")

    def test_a_transform_that_cannot_be_called(self):
        with pytest.raises(ArgumentError, match=r"`transform` must be a callable.*v2\.Random"):
            Views(IMAGES, "flip")

    @pytest.mark.parametrize("view", [3, -1, 0.5])
    def test_a_view_out_of_range(self, view):
        with pytest.raises(ArgumentError, match="`view`"):
            NOISY.example(0, view)
        with pytest.raises(ArgumentError, match="`view`"):
            NOISY.set_view(view)

    def test_no_data_set(self):
        with pytest.raises(DataError, match="put the loader around `Views`"):
            Views(DataLoader(IMAGES))
        with pytest.raises(DataError, match="at least one example"):
            Views([])

    def test_a_transform_of_a_dict_that_returns_none(self):
        with pytest.raises(DataError, match=r"must return a dict.*got float32 \[2\]"):
            Views([{"image": torch.ones(2)}], lambda inputs: inputs["image"])
