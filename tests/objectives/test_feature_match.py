import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import LAYER_MAPS, MAPS, TOKENS, VECTORS, Formula, LayerSample
from tutelage.errors import ModelError
from tutelage.layers.resolution import project
from tutelage.objectives import FeatureMatch, feature_match
from tutelage.objectives._layers import pooled

SAMPLES = [
    Formula(feature_match, (VECTORS, TOKENS, MAPS)),
    LayerSample(
        lambda pairs=1: FeatureMatch(LAYER_MAPS[pairs]),
        lambda o, s, t, mask: feature_match(project(o.projectors[0], s, t), t, mask),
        "FeatureMatch({'mix': 'mix'})",
    ),
]

SHAPES = st.sampled_from([(3, 4), (3, 2, 4), (3, 4, 2, 5)])
FEATURES = SHAPES.flatmap(
    lambda shape: st.tuples(*[arrays(np.float64, shape, elements=st.floats(-9, 9))] * 2)
)


def test_value_by_hand():
    student, teacher = (
        torch.tensor([[1.0, 2, 5], [0, 0, 0]]),
        torch.tensor([[2.0, 4, 3], [0, 3, 0]]),
    )
    assert feature_match(student, teacher).tolist() == [3.0, 3.0]


@given(FEATURES)
def test_equals_a_plain_loop(both):
    expected = [
        np.mean([(a - b) ** 2 for a, b in zip(s.flat, t.flat, strict=True)])
        for s, t in zip(*both, strict=True)
    ]
    ours = feature_match(*map(torch.from_numpy, both))
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


@given(FEATURES)
def test_mean_over_the_batch_is_the_mean_squared_error(both):
    student, teacher = map(torch.from_numpy, both)
    expected = torch.nn.functional.mse_loss(student, teacher)
    torch.testing.assert_close(feature_match(student, teacher).mean(), expected)


@given(FEATURES, st.floats(-3, 3))
def test_grows_with_the_square_of_the_scale_and_ignores_a_common_shift(both, scale):
    student, teacher = map(torch.from_numpy, both)
    values = feature_match(student, teacher)
    torch.testing.assert_close(feature_match(scale * student, scale * teacher), scale**2 * values)
    torch.testing.assert_close(feature_match(student + scale, teacher + scale), values)


def test_a_mask_weighs_the_tokens_of_a_text_alike():
    student = torch.tensor([[[1.0], [2], [9]], [[4], [9], [9]]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]]).bool()
    values = feature_match(student, torch.zeros(2, 3, 1), mask)
    assert values.tolist() == [2.5, 16.0]


@pytest.mark.parametrize("shape", [(2, 4), (3, 5), (3, 4, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ModelError, match=r"must have one shape, got \[3, 4\].*use a projector"):
        feature_match(torch.zeros(3, 4), torch.zeros(shape))


def test_pooled_is_the_mean_over_positions_that_are_no_padding():
    tokens = torch.tensor([[[1.0, 2], [3, 6], [50, 50]], [[7, 7], [7, 7], [7, 7]]])
    mask = torch.tensor([[1, 1, 0], [0, 0, 0]]).bool()
    assert pooled(tokens, mask).tolist() == [[2.0, 4.0], [0.0, 0.0]]
    torch.testing.assert_close(pooled(tokens, None), tokens.mean(dim=1))
    maps = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(pooled(maps, mask), maps.mean(dim=(2, 3)))
    assert torch.equal(pooled(maps[:, :, 0, 0], None), maps[:, :, 0, 0])
    assert pooled(tokens.half(), mask).dtype == torch.float32
