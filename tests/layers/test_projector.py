import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tutelage.errors import ModelError
from tutelage.layers.resolution import project, projector, resize, width

WIDTHS = [(3, 5), (5, 3)]
KINDS = {
    "vectors": lambda d: (6, d),
    "tokens": lambda d: (6, 4, d),
    "maps": lambda d: (6, d, 4, 3),
}
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


class Watched(nn.Module):
    """Doubles what it is given, and notes its shape."""

    def forward(self, feature):
        self.seen = tuple(feature.shape)
        return 2 * feature


def averages(row, size):
    """Each new number is the mean of those that it covers, be it in part."""
    edges = [(i * len(row) // size, -(-(i + 1) * len(row) // size)) for i in range(size)]
    return [np.mean(row[low:high]) for low, high in edges]


def interpolated(row, size):
    """Linear between the middles of the old paths, constant beyond the first and last."""
    middles = (np.arange(size) + 0.5) * len(row) / size - 0.5
    return np.interp(middles, np.arange(len(row)), row)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("narrow", "wide"), WIDTHS)
def test_maps_the_students_width_to_the_teachers(kind, narrow, wide):
    student, teacher = torch.randn(KINDS[kind](narrow)), torch.randn(KINDS[kind](wide))
    module = projector(student, teacher)
    assert module(student).shape == teacher.shape
    assert type(module) is (nn.Conv2d if kind == "maps" else nn.Linear)
    assert sum(each.numel() for each in module.parameters()) == narrow * wide + wide


@pytest.mark.parametrize("kind", KINDS)
def test_equal_widths_give_the_identity(kind):
    student = torch.randn(KINDS[kind](5))
    module = projector(student, torch.randn(KINDS[kind](5)))
    assert module(student) is student
    assert not list(module.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_has_the_students_dtype(dtype):
    module = projector(torch.zeros(2, 3, dtype=dtype), torch.zeros(2, 4))
    assert {each.dtype for each in module.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 3), (2, 4, 3)), ((2, 3, 4), (2, 3, 4, 4)), ((2,) * 5, (2,) * 5)]
)
def test_features_of_different_kinds_are_refused(student, teacher):
    with pytest.raises(
        ModelError, match=r"must both give \[batch, d\].*float32 \[2, .*`projector`"
    ):
        projector(torch.zeros(student), torch.zeros(teacher))


def test_width_is_the_channels_or_the_last_dimension():
    assert [width(torch.zeros(kind(7))) for kind in KINDS.values()] == [7, 7, 7]


@given(SIZES)
def test_tokens_are_averaged_or_interpolated(sizes):
    old, new = sizes
    row = np.random.default_rng(old * 10 + new).normal(size=old)
    ours = resize(torch.from_numpy(row).view(1, old, 1), torch.zeros(1, new, 8))
    assert ours.shape == (1, new, 1)
    expected = averages(row, new) if new <= old else interpolated(row, new)
    np.testing.assert_allclose(ours.flatten().numpy(), expected, atol=1e-6)


@given(SIZES, SIZES)
def test_maps_are_resized_to_the_teachers(before, after):
    maps = torch.randn(2, 3, *before, dtype=torch.float64)
    ours = resize(maps, torch.zeros(2, 5, *after))
    assert ours.shape == (2, 3, *after)
    expected = maps.numpy()
    for axis, (new, old) in enumerate(zip(after, before, strict=True), start=2):
        resized = averages if new <= old else interpolated
        expected = np.apply_along_axis(resized, axis, expected, new)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6)


def test_resizing_to_one_token_is_the_mean():
    maps = torch.randn(2, 3, 5, 7)
    torch.testing.assert_close(
        resize(maps, torch.zeros(2, 9, 1, 1)), maps.mean(dim=(2, 3), keepdim=True)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_equal_sizes_are_not_resized(kind):
    student = torch.randn(KINDS[kind](5))
    assert resize(student, torch.zeros(KINDS[kind](9))) is student


@pytest.mark.parametrize("kind", ["tokens", "maps"])
def test_the_smaller_size_is_projected(kind):
    small, large = ((2, 3, 5), (2, 8, 5)) if kind == "tokens" else ((2, 5, 2, 3), (2, 5, 4, 4))
    for student, teacher in ((small, large), (large, small)):
        module = Watched()
        feature = torch.randn(student)
        ours = project(module, feature, torch.zeros(teacher))
        assert module.seen == small
        torch.testing.assert_close(ours, 2 * resize(feature, torch.zeros(teacher)))


@pytest.mark.parametrize(("old", "new"), [((2, 3), (4, 4)), ((4, 4), (2, 3)), ((6, 2), (3, 5))])
def test_both_orders_give_the_same(old, new):
    student, teacher = torch.randn(2, 3, *old), torch.randn(2, 5, *new)
    module = projector(student, teacher)
    expected = module(resize(student, teacher))
    torch.testing.assert_close(project(module, student, teacher), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(resize(module(student), teacher), expected, rtol=1e-4, atol=1e-5)
