"""Mixup and CutMix against plain references, within domains, and their distributions."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.data import CutMix, Mixup
from tutelage.data.transforms import partners
from tutelage.errors import DataError
from tutelage.signals import Batch

X = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(9) % 5
NAMES = ["a", "b", "a", "a", "b", "a", "b", "b", "a"]
INDEX = torch.arange(9) + 50
IMAGES = torch.randn(9, 3, 8, 6, generator=torch.Generator().manual_seed(1))
SEEDS = st.integers(0, 2**32)


def batch(inputs=X, labels=Y, domain=NAMES):
    return Batch(inputs, labels, INDEX, domain, progress=0.3, replicas=2)


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
            patch.setattr("tutelage.data.transforms.Beta", Always(1.0))
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
            patch.setattr("tutelage.data.transforms.Beta", Always(share))
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
