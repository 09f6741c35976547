import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import ModelError
from tutelage.layers.resolution import fitting, project, reached, resize, resize_mask

FACTORS = st.tuples(st.integers(1, 3), st.integers(1, 3))


def rectangle(height, width, rows, columns):
    mask = torch.zeros(2, height, width, dtype=torch.bool)
    mask[:, rows, columns] = True
    return mask


@given(FACTORS, st.booleans())
def test_maps_are_resized_from_their_valid_part_alone(factors, grows):
    """A rectangle of whole blocks is resized as if it were the map."""
    down, right = factors
    high, wide = 4 * down, 5 * right
    small = slice(1, 3), slice(2, 5)
    large = slice(down, 3 * down), slice(2 * right, 5 * right)
    before, after = (small, large) if grows else (large, small)
    size, new = ((4, 5), (high, wide)) if grows else ((high, wide), (4, 5))
    feature = torch.randn(2, 3, *size, dtype=torch.float64)
    mask = rectangle(*size, *before)
    spoilt = feature.masked_fill(~mask.unsqueeze(1), torch.nan)
    ours = resize(spoilt, torch.zeros(2, 7, *new), mask)
    cropped = feature[:, :, before[0], before[1]]
    expected = resize(cropped, torch.zeros(2, 7, *ours[:, :, after[0], after[1]].shape[2:]))
    torch.testing.assert_close(ours[:, :, after[0], after[1]], expected)
    assert reached(mask, ours)[:, after[0], after[1]].all()
    if size != new:
        assert (ours.masked_fill(reached(mask, ours).unsqueeze(1), 0) == 0).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_padded_texts_are_resized_from_their_tokens_alone(tokens, padding, factor):
    feature = torch.randn(2, tokens + padding, 3, dtype=torch.float64)
    mask = (torch.arange(tokens + padding) < tokens).expand(2, -1)
    ours = resize(feature, torch.zeros(2, factor * (tokens + padding), 1), mask)
    expected = resize(feature[:, :tokens], torch.zeros(2, factor * tokens, 1))
    torch.testing.assert_close(ours[:, : factor * tokens], expected)


def test_a_mask_of_everything_changes_nothing():
    feature = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    for size in ((5, 7), (3, 2), (8, 9), (2, 9)):
        teacher = torch.zeros(2, 3, *size)
        mask = torch.ones(2, 5, 7, dtype=torch.bool)
        torch.testing.assert_close(resize(feature, teacher, mask), resize(feature, teacher))
        assert reached(mask, teacher).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [(2, 2), (8, 8)])
@pytest.mark.parametrize("masked", [True, False])
def test_half_precision_is_computed_in_float32(dtype, size, masked):
    feature = torch.randn(2, 3, 4, 4).to(dtype)
    mask = rectangle(4, 4, slice(0, 3), slice(1, 4)) if masked else None
    ours = resize(feature, torch.zeros(2, 3, *size), mask)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, resize(feature.float(), torch.zeros(2, 3, *size), mask))


def test_only_valid_positions_have_a_gradient():
    feature = torch.randn(2, 3, 4, 4, requires_grad=True)
    mask = rectangle(4, 4, slice(0, 3), slice(1, 4))
    (gradient,) = torch.autograd.grad(resize(feature, torch.zeros(2, 3, 2, 2), mask).sum(), feature)
    # The four new positions are means of 2, 4, 1 and 2 valid ones.
    expected = torch.zeros(4, 4)
    expected[:2, 1], expected[:2, 2:], expected[2, 1], expected[2, 2:] = 1 / 2, 1 / 4, 1, 1 / 2
    torch.testing.assert_close(gradient, expected.expand(2, 3, 4, 4))


class TestMasks:
    def test_is_valid_where_more_than_half_of_the_area_is(self):
        mask = torch.tensor([[[1, 1, 0, 0, 0, 1], [1, 0, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]]).bool()
        assert resize_mask(mask, (1, 3)).tolist() == [[[True, False, False]]]
        assert resize_mask(mask[:, :2], (1, 3)).tolist() == [[[True, False, False]]]
        assert resize_mask(mask[:, :2], (1, 2)).tolist() == [[[True, False]]]

    @given(st.integers(1, 12), st.integers(1, 12))
    def test_equals_a_plain_loop(self, old, new):
        mask = np.random.default_rng(100 * old + new).random((3, old)) < 0.6
        edges = [(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
        expected = [[row[a:b].mean() > 0.5 for a, b in edges] for row in mask]
        assert resize_mask(torch.from_numpy(mask), (new,)).tolist() == expected

    def test_a_finer_mask_repeats(self):
        mask = torch.rand(2, 3, 5) < 0.5
        finer = mask.repeat_interleave(3, dim=1).repeat_interleave(2, dim=2)
        assert torch.equal(resize_mask(mask, (9, 10)), finer)
        assert torch.equal(resize_mask(finer, (3, 5)), mask)
        assert resize_mask(mask, (3, 5)) is mask

    def test_fits_features_of_its_kind(self):
        tokens, maps = torch.ones(2, 6).bool(), torch.ones(2, 6, 4).bool()
        assert fitting(tokens, torch.zeros(2, 6, 4)) is tokens
        assert fitting(tokens, torch.zeros(2, 5, 4)) is None
        assert fitting(tokens, torch.zeros(2, 4, 6, 4)) is None
        assert fitting(tokens, torch.zeros(2, 6)) is None
        assert fitting(maps, torch.zeros(2, 9, 6, 4)) is maps
        assert fitting(maps, torch.zeros(2, 9, 3, 2)).shape == (2, 3, 2)
        assert fitting(maps, torch.zeros(2, 6, 4)) is None
        assert fitting(None, torch.zeros(2, 9, 6, 4)) is None

    @pytest.mark.parametrize("shape", [(2,), (2, 1, 4, 4)])
    def test_a_mask_of_other_dimensions_is_refused(self, shape):
        with pytest.raises(ModelError, match=r"must be \[batch, tokens\] or .*remove dimensions"):
            fitting(torch.ones(shape).bool(), torch.zeros(2, 3, 4, 4))


class TestProjected:
    @pytest.mark.parametrize(("old", "new"), [((2, 3), (4, 6)), ((4, 6), (2, 3)), ((4, 6), (4, 6))])
    def test_both_orders_give_the_same_and_void_positions_reach_no_projector(self, old, new):
        student, teacher = torch.randn(2, 3, *old), torch.randn(2, 5, *new)
        mask = rectangle(*old, slice(0, 2), slice(0, 2))
        module = nn.Conv2d(3, 5, 1)
        expected = module(resize(student, teacher, mask))
        spoilt = student.masked_fill(~mask.unsqueeze(1), torch.nan)
        ours, valid = project(module, spoilt, teacher, mask), reached(mask, teacher).unsqueeze(1)
        torch.testing.assert_close(ours * valid, expected * valid, rtol=1e-4, atol=1e-5)
        (gradient,) = torch.autograd.grad(ours.sum(), module.weight)
        assert gradient.isfinite().all()

    def test_a_custom_projector_may_change_the_number_of_positions(self):
        module = nn.Conv2d(3, 5, 2, stride=2)
        mask = rectangle(4, 4, slice(0, 2), slice(0, 4))
        ours = project(module, torch.randn(2, 3, 4, 4), torch.zeros(2, 5, 4, 4), mask)
        assert ours.shape == (2, 5, 4, 4)
