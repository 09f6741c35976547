"""Mixup, CutMix, swaps and noise: what both sides see, and which labels go with it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Chain, CutMix, Mixup, Noise, Swap, transformed
from tutelage.errors import ArgumentError, DataError
from tutelage.signals import Batch

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(9) % 5
NAMES = ["a", "b", "a", "a", "b", "a", "b", "b", "a"]
INDEX = torch.arange(9) + 50
IMAGES = torch.randn(9, 3, 8, 6, generator=torch.Generator().manual_seed(1))
EACH = [Mixup(), CutMix(), Swap(0.5), Noise()]
SEEDS = st.integers(0, 2**32)


def batch(inputs=X, labels=Y, domain=NAMES):
    return Batch(inputs, labels, INDEX, domain, progress=0.3, replicas=2)


def fitting(transform):
    """Return images, or for tables a row of each."""
    return IMAGES[:, 0, 0] if isinstance(transform, Swap) else IMAGES


@pytest.mark.parametrize("transform", EACH, ids=repr)
class TestEveryTransform:
    def test_uses_torchs_global_generator(self, transform):
        torch.manual_seed(3)
        first = transform(batch(fitting(transform)))
        torch.manual_seed(3)
        second = transform(batch(fitting(transform)))
        assert torch.equal(first.inputs, second.inputs)
        assert not torch.equal(first.inputs, fitting(transform))

    def test_the_index_goes_and_the_rest_stays(self, transform):
        inputs = fitting(transform)
        kept = inputs.clone()
        found = transform(batch(inputs))
        assert found.index is None
        assert found.domain is NAMES
        assert (found.progress, found.replicas, len(found)) == (0.3, 2, 9)
        assert torch.equal(inputs, kept)

    def test_a_batch_without_labels_stays_without(self, transform):
        found = transform(batch(fitting(transform), None))
        assert found.labels is found.mixture is None

    def test_a_batch_of_one_is_fine(self, transform):
        inputs = fitting(transform)[:1]
        found = transform(Batch(inputs, Y[:1], domain=["a"]))
        if not isinstance(transform, Noise):
            torch.testing.assert_close(found.inputs, inputs)


class TestSwap:
    @given(SEEDS, st.floats(0, 1))
    def test_each_column_keeps_its_values_within_each_domain(self, seed, probability):
        torch.manual_seed(seed)
        found = Swap(probability)(batch()).inputs
        for name in "ab":
            rows = [row for row, each in enumerate(NAMES) if each == name]
            assert torch.equal(found[rows].sort(dim=0).values, X[rows].sort(dim=0).values)

    @given(SEEDS)
    def test_changed_rows_lose_their_label(self, seed):
        torch.manual_seed(seed)
        found = Swap(0.2)(batch())
        stayed = (found.inputs == X).all(dim=1)
        assert torch.equal(found.labels, Y.where(stayed, -100))
        assert found.mixture is None
        torch.manual_seed(seed)
        ones = torch.ones(9, 2, dtype=torch.int64)
        several = Swap(0.2)(batch(labels=ones)).labels
        assert torch.equal(several, ones.where(stayed.unsqueeze(1), -100))
        torch.manual_seed(seed)
        values = Swap(0.2)(batch(labels=X[:, :2])).labels
        assert torch.equal(values.isnan().any(dim=1), ~stayed)
        assert torch.equal(values[stayed], X[stayed, :2])

    @given(SEEDS)
    def test_labels_can_be_mixed_by_fractions_of_features(self, seed):
        torch.manual_seed(seed)
        found = Swap(0.5, mix_labels=True)(batch())
        stayed = found.inputs == X
        torch.testing.assert_close(found.mixture.fraction, stayed.float().mean(dim=1))
        assert torch.equal(found.labels, Y)
        for row in (~stayed.all(dim=1)).nonzero().flatten().tolist():
            changed = found.inputs[row][~stayed[row]]
            owner = [each for each in range(9) if (X[each][~stayed[row]] == changed).all()]
            assert found.mixture.labels[row] == Y[owner[0]]

    def test_the_fraction_of_swapped_features(self):
        torch.manual_seed(0)
        rows = torch.randn(2000, 20)
        changed = Swap(0.1)(Batch(rows)).inputs != rows
        assert changed.float().mean().item() == pytest.approx(0.1, abs=0.01)

    def test_category_ids_can_be_swapped(self):
        torch.manual_seed(0)
        found = Swap(0.5)(batch({"numbers": X, "town": Y, "job": Y.unsqueeze(1)})).inputs
        assert not torch.equal(found["town"], Y)
        assert sorted(found["town"].tolist()) == sorted(Y.tolist())

    def test_labels_in_bytes_can_be_unknown(self):
        torch.manual_seed(0)
        assert -100 in Swap(0.9)(batch(labels=Y.byte())).labels.tolist()

    def test_inputs_that_are_not_a_table_are_refused(self):
        with pytest.raises(DataError, match="for images use CutMix or Mixup"):
            Swap()(batch(IMAGES))


class TestNoise:
    def test_is_normal_with_the_scale_of_each_column(self):
        torch.manual_seed(0)
        added = Noise([0.0, 1.0, 10.0])(Batch(torch.full((4000, 3), 5.0))).inputs - 5
        assert (added[:, 0] == 0).all()
        assert added.std(dim=0)[1:].tolist() == pytest.approx([1, 10], rel=0.05)
        assert added.mean(dim=0)[1:].tolist() == pytest.approx([0, 0], abs=0.5)

    @pytest.mark.parametrize("scale", [X.std(dim=0), X.std(dim=0).numpy(), X.std(dim=0).tolist()])
    def test_scales_may_be_tensors_or_arrays(self, scale):
        assert Noise(scale) == Noise(tuple(X.std(dim=0).tolist()))
        assert Noise(scale)(batch()).inputs.shape == X.shape

    def test_labels_stay(self):
        found = Noise(0.1)(batch())
        assert found.labels is Y
        assert found.mixture is None

    def test_texts_are_refused(self):
        with pytest.raises(DataError, match="Noise must have inputs of floats, got"):
            Noise()(batch(["a text"] * 9))

    def test_bad_input(self):
        with pytest.raises(DataError, match="Noise must have inputs of floats"):
            Noise()(batch(Y))
        with pytest.raises(DataError, match="2 scales must have inputs of as many columns"):
            Noise([0.1, 0.2])(batch())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Mixup(0),
        lambda: Mixup(float("nan")),
        lambda: CutMix(-1),
        lambda: Swap(1.1),
        lambda: Noise(-0.1),
        lambda: Noise([0.1, -0.1]),
        lambda: Noise("0.1"),
        lambda: Noise([[0.1]]),
    ],
)
def test_arguments_out_of_range(make):
    with pytest.raises(ArgumentError):
        make()


class TestChain:
    def test_is_one_after_another(self):
        torch.manual_seed(4)
        found = Chain([Noise(0.5), Mixup()])(batch())
        torch.manual_seed(4)
        expected = Mixup()(Noise(0.5)(batch()))
        assert torch.equal(found.inputs, expected.inputs)
        assert torch.equal(found.mixture.fraction, expected.mixture.fraction)

    def test_labels_are_mixed_once(self):
        for second in (Mixup(), Swap(0.5), Swap(0.5, mix_labels=True)):
            with pytest.raises(DataError, match="one such transform in a chain"):
                Chain([Mixup(), second])(batch())
        with pytest.raises(DataError, match="one such transform"):
            Chain([CutMix(), CutMix()])(batch(IMAGES))

    def test_unknown_labels_of_swaps_stay_unknown_in_a_mixture(self):
        torch.manual_seed(0)
        found = Chain([Swap(0.5), Mixup()])(batch())
        assert not found.labelled().all()


def changed_in_place(batch):
    batch.inputs["x"].mul_(2)
    return batch


def replaced_in_place(batch):
    batch.inputs["x"] = batch.inputs["x"] * 2
    return batch


class TestUsersTransforms:
    @pytest.mark.parametrize("transform", [changed_in_place, replaced_in_place])
    @pytest.mark.parametrize("inference", [False, True])
    def test_inputs_that_are_changed_in_place_lose_the_index(self, transform, inference):
        with torch.inference_mode(inference and transform is replaced_in_place):
            found = transformed(batch({"x": X.clone(), "ids": Y.clone()}), transform)
        assert found.index is None
        assert torch.equal(found.inputs["x"], 2 * X)

    def test_texts_that_are_changed_in_place_lose_the_index(self):
        def shouting(batch):
            batch.inputs["text"][3] = batch.inputs["text"][3].upper()
            return batch

        texts = batch({"text": list(NAMES), "length": X})
        assert transformed(texts, shouting).index is None
        assert transformed(texts, lambda each: each).index is INDEX

    def test_progress_copies_and_a_true_index_are_kept(self):
        found = transformed(batch(), lambda each: Batch(2 * each.inputs, each.labels))
        assert torch.equal(found.inputs, 2 * X)
        assert (found.progress, found.replicas, found.index) == (0.3, 2, None)
        relabelled = transformed(batch(), lambda each: Batch(each.inputs, Y.flip(0), each.index))
        assert relabelled.index is INDEX
        assert transformed(batch(), None).index is INDEX

    @pytest.mark.parametrize("returned", [None, X, (X, Y)])
    def test_a_result_that_is_not_a_batch_is_refused(self, returned):
        with pytest.raises(DataError, match=r"must return a tl\.Batch"):
            transformed(batch(), lambda _: returned)

    @pytest.mark.parametrize(
        "returned", [batch()[:3], Batch(X, Y[:3]), Batch(X, Y, domain=NAMES[1:])]
    )
    def test_other_lengths_are_refused(self, returned):
        with pytest.raises(DataError, match="as many examples and labels as it is given, 9"):
            transformed(batch(), lambda _: returned)
