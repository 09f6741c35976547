"""Mixup, CutMix, swaps and noise: what both sides see, and which labels go with it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import Chain, CutMix, Mixup, Noise, Swap, transformed
from tutelage.data.mixing import partners
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
    return Batch(inputs, labels, INDEX, domain, progress=0.3, copies=2)


def fitting(transform):
    """Return images, or for tables a row of each."""
    return IMAGES[:, 0, 0] if isinstance(transform, Swap) else IMAGES


class Always:
    """Replaces the distribution of fractions by given ones."""

    def __init__(self, share):
        self.share = share

    def __call__(self, alpha, beta, validate_args):
        assert alpha == beta
        return self

    def sample(self, shape):
        return torch.full(shape, self.share)


def plainly_mixed(value, partner, share):
    """λ·x + (1 − λ)·x', row by row."""
    return torch.stack(
        [share[i].item() * value[i] + (1 - share[i].item()) * value[partner[i]] for i in range(9)]
    )


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
        assert (found.progress, found.copies, len(found)) == (0.3, 2, 9)
        assert torch.equal(inputs, kept)

    def test_a_batch_without_labels_stays_without(self, transform):
        found = transform(batch(fitting(transform), None))
        assert found.labels is found.mixture is None

    def test_a_batch_of_one_is_fine(self, transform):
        inputs = fitting(transform)[:1]
        found = transform(Batch(inputs, Y[:1], domain=["a"]))
        if not isinstance(transform, Noise):
            torch.testing.assert_close(found.inputs, inputs)


class TestMixup:
    @given(SEEDS, st.floats(0.1, 5), st.booleans())
    def test_each_example_matches_its_labels(self, seed, alpha, within):
        torch.manual_seed(seed)
        found = Mixup(alpha, within)(batch())
        torch.manual_seed(seed)
        partner = partners(batch(), within)
        share = found.mixture.fraction
        torch.testing.assert_close(found.inputs, plainly_mixed(X, partner, share))
        assert torch.equal(found.labels, Y)
        assert torch.equal(found.mixture.labels, Y[partner])
        assert ((share >= 0) & (share <= 1)).all()

    @given(SEEDS)
    def test_stays_within_domains(self, seed):
        """One column tells the domain: mixed within, it stays what it was."""
        torch.manual_seed(seed)
        column = torch.tensor([[float(ord(name))] for name in NAMES])
        torch.testing.assert_close(Mixup()(batch(column)).inputs, column)

    def test_may_be_let_out_of_them(self):
        torch.manual_seed(0)
        column = torch.tensor([[float(ord(name))] for name in NAMES])
        assert not torch.equal(Mixup(within_domain=False)(batch(column)).inputs, column)
        assert not torch.equal(Mixup()(batch(column, domain=None)).inputs, column)

    @given(SEEDS)
    def test_at_fraction_one_it_is_the_identity(self, seed):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tutelage.data.mixup.Beta", Always(1.0))
            torch.manual_seed(seed)
            labels = Y.where(Y > 0, -100)
            found = Mixup()(batch(labels=labels))
            assert torch.equal(found.inputs, X)
            assert torch.equal(found.labelled(), labels != -100)
            values = torch.randn(9, 2).where(torch.rand(9, 2) > 0.3, torch.nan)
            mixed = Mixup()(batch(labels=values)).labels
            assert torch.equal(mixed.nan_to_num(7), values.nan_to_num(7))

    @given(SEEDS, st.floats(0.01, 0.99))
    def test_values_are_mixed_as_inputs_are_and_nan_stays(self, seed, share):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tutelage.data.mixup.Beta", Always(share))
            values = X[:, :2].clone()
            values[3, 1] = torch.nan
            torch.manual_seed(seed)
            found = Mixup()(batch(labels=values))
            torch.manual_seed(seed)
            expected = plainly_mixed(values, partners(batch()), torch.full((9,), share))
        assert found.mixture is None
        torch.testing.assert_close(found.labels, expected, equal_nan=True)

    def test_fractions_have_the_beta_distribution(self):
        """Of Beta(α, α) the variance is 1/(4·(2α + 1))."""
        torch.manual_seed(0)
        for alpha in (0.2, 1.0, 4.0):
            many = Batch(torch.zeros(20000, 1), torch.zeros(20000, dtype=torch.int64))
            share = Mixup(alpha)(many).mixture.fraction
            assert share.mean().item() == pytest.approx(0.5, abs=0.01)
            assert share.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=0.004)

    def test_all_tensors_of_the_inputs_are_mixed_alike(self):
        torch.manual_seed(1)
        found = Mixup()(batch({"one": X, "two": (2 * X, X.double().unsqueeze(1))}))
        torch.testing.assert_close(found.inputs["two"][0], 2 * found.inputs["one"])
        assert found.inputs["two"][1].dtype == torch.float64
        torch.testing.assert_close(found.inputs["two"][1][:, 0].float(), found.inputs["one"])

    @pytest.mark.parametrize("inputs", [Y.unsqueeze(1), {"x": X, "ids": Y}, X > 0, X.byte()])
    def test_integers_are_refused(self, inputs):
        with pytest.raises(DataError, match="Mixup must have inputs of floats"):
            Mixup()(batch(inputs))

    def test_half_precision_stays_so(self):
        assert Mixup()(batch(X.bfloat16())).inputs.dtype == torch.bfloat16


class TestCutMix:
    @given(SEEDS, st.floats(0.2, 5))
    def test_pixels_are_ones_own_or_the_partners_and_the_fraction_counts_them(self, seed, alpha):
        torch.manual_seed(seed)
        found = CutMix(alpha)(batch(IMAGES))
        torch.manual_seed(seed)
        partner = partners(batch())
        own = (found.inputs == IMAGES).all(dim=1)
        theirs = (found.inputs == IMAGES[partner]).all(dim=1)
        assert (own | theirs).all()
        for row in range(9):
            if partner[row] == row:
                continue
            assert found.mixture.fraction[row].item() == pytest.approx(
                own[row].float().mean().item()
            )
            pasted = (~own[row]).nonzero()
            if len(pasted):  # what was pasted is a rectangle
                sides = pasted.amax(0) - pasted.amin(0) + 1
                assert sides.prod().item() == len(pasted)
        assert torch.equal(found.mixture.labels, Y[partner])

    def test_fractions_are_uniform_except_for_clipping_at_the_edges(self):
        torch.manual_seed(0)
        many = Batch(torch.zeros(4000, 1, 32, 32), torch.zeros(4000, dtype=torch.int64))
        share = CutMix()(many).mixture.fraction
        assert 0.5 < share.mean().item() < 0.75
        assert share.min().item() < 0.1
        assert share.max().item() > 0.99

    @given(SEEDS)
    def test_stays_within_domains(self, seed):
        torch.manual_seed(seed)
        column = torch.tensor([float(ord(name)) for name in NAMES]).reshape(9, 1, 1, 1)
        images = column.expand(9, 1, 8, 6)
        assert torch.equal(CutMix()(batch(images)).inputs, images)

    def test_bytes_can_be_pasted(self):
        assert CutMix()(batch((100 * IMAGES).byte())).inputs.dtype == torch.uint8

    def test_inputs_that_are_not_images_are_refused(self):
        with pytest.raises(DataError, match="use Mixup or Swap"):
            CutMix()(batch())
        with pytest.raises(DataError, match="images of one size, got 8 × 6"):
            CutMix()(batch({"one": IMAGES, "two": IMAGES[..., :5]}))


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
        lambda: Noise([]),
        lambda: Noise("0.1"),
        lambda: Noise([[0.1]]),
        lambda: Chain([]),
        lambda: Chain([3]),
        lambda: Chain(Mixup()),
        lambda: Chain([Mixup]),
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


class TestUsersTransforms:
    def test_progress_copies_and_a_true_index_are_kept(self):
        found = transformed(batch(), lambda each: Batch(2 * each.inputs, each.labels))
        assert torch.equal(found.inputs, 2 * X)
        assert (found.progress, found.copies, found.index) == (0.3, 2, None)
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
