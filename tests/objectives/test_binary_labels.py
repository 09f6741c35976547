import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import expit, xlogy

from objective_samples import Sample, gradient
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.objectives import BinaryLabels, binary_labels, hard_labels
from tutelage.objectives._binary import or_nan
from tutelage.signals import Batch, Mixture, Signals

KNOWN = torch.tensor([[1, 0, 1, 0], [0, -100, 1, 1], [-100] * 4, [1, 1, 1, 1], [0, 0, 0, -100]])
KNOWN = torch.cat([KNOWN, torch.full((1, 4), -100)])
SOFT = torch.rand(6, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
SOFT[1, 2], SOFT[4] = torch.nan, torch.nan
WEIGHTS = (0.5, 1.0, 2.0, 8.0)

SAMPLES = [
    Sample(BinaryLabels(), lambda z, _, y: binary_labels(z, y), "BinaryLabels()", KNOWN),
    Sample(
        BinaryLabels(0.1, 3),
        lambda z, _, y: binary_labels(z, y, 0.1, torch.tensor(3.0)),
        "BinaryLabels(smoothing=0.1, positive_weight=3)",
        KNOWN,
    ),
    Sample(
        BinaryLabels(positive_weight=WEIGHTS),
        lambda z, _, y: binary_labels(z, y, 0.0, torch.tensor(WEIGHTS)),
        "BinaryLabels(positive_weight=(0.5, 1.0, 2.0, 8.0))",
        SOFT,
    ),
]

LOGITS = arrays(np.float64, (4, 3), elements=st.floats(-20, 20))
ZEROS_AND_ONES = arrays(np.int64, (4, 3), elements=st.integers(0, 1))


def value(objective, student, labels):
    return objective(Signals(student), Signals(), Batch(torch.zeros(len(student), 1), labels))


def test_value_by_hand():
    student = torch.tensor([[math.log(3), math.log(3), 5.0]]).double()
    # The probabilities of yes are ¾, ¾ and something that is not asked for.
    ours = binary_labels(student, torch.tensor([[1, 0, -100]]))
    assert ours.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    weighted = binary_labels(student, torch.tensor([[1, 0, -100]]), 0.0, torch.tensor(3.0))
    assert weighted.item() == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 2)


@given(LOGITS, arrays(np.float64, (4, 3), elements=st.floats(0, 1)), st.floats(0, 1))
def test_equals_a_plain_numpy_reference(z, y, smoothing):
    target = y * (1 - smoothing) + smoothing / 2
    expected = -(xlogy(target, expit(z)) + xlogy(1 - target, expit(-z))).mean(axis=1)
    ours = binary_labels(torch.from_numpy(z), torch.from_numpy(y), smoothing)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-9)


@given(LOGITS, ZEROS_AND_ONES)
def test_mean_equals_torchs_loss_where_all_labels_are_known(z, y):
    student, target = torch.from_numpy(z), torch.from_numpy(y)
    torch.testing.assert_close(
        binary_labels(student, target).mean(),
        F.binary_cross_entropy_with_logits(student, target.double()),
    )


@given(LOGITS, ZEROS_AND_ONES, st.floats(0, 1))
def test_is_the_mean_of_two_class_hard_labels_with_a_logit_of_zero(z, y, smoothing):
    student, labels = torch.from_numpy(z), torch.from_numpy(y)
    pairs = torch.stack([torch.zeros_like(student), student], dim=2).flatten(0, 1)
    expected = hard_labels(pairs, labels.flatten(), smoothing).reshape(4, 3).mean(dim=1)
    torch.testing.assert_close(binary_labels(student, labels, smoothing), expected)


@given(LOGITS, ZEROS_AND_ONES)
def test_gradient_is_q_minus_the_label_over_the_number_of_labels(z, y):
    student = torch.from_numpy(z).requires_grad_()
    ours = gradient(binary_labels(student, torch.from_numpy(y)), student)
    np.testing.assert_allclose(ours.numpy(), (expit(z) - y) / 3, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@given(LOGITS, arrays(np.int64, (4, 3), elements=st.sampled_from([0, 1, -100])))
def test_missing_labels_are_as_if_they_were_not_there(dtype, z, y):
    student, labels = torch.from_numpy(z).requires_grad_(), torch.from_numpy(y)
    missing = labels == -100
    given_labels = labels if dtype == torch.int64 else labels.to(dtype).masked_fill(missing, np.nan)
    ours = binary_labels(student, given_labels)
    for row in range(4):
        known = ~missing[row]
        expected = (
            binary_labels(student[row : row + 1, known], labels[row : row + 1, known])
            if known.any()
            else torch.zeros(1, dtype=torch.float64)
        )
        torch.testing.assert_close(ours[row : row + 1], expected)
    assert (gradient(ours, student)[missing] == 0).all()


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int32, torch.float16, torch.float64]
)
def test_labels_may_have_any_dtype(dtype):
    student, labels = torch.randn(5, 3).double(), torch.arange(15).reshape(5, 3) % 2
    ours = binary_labels(student, labels.to(dtype))
    torch.testing.assert_close(ours, binary_labels(student, labels))


def test_labels_of_a_single_logit_may_have_one_dimension():
    student, labels = torch.randn(4, 1), torch.tensor([0, 1, -100, 1])
    ours = binary_labels(student, labels)
    torch.testing.assert_close(ours, binary_labels(student, labels.unsqueeze(1)))
    assert ours[2] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_give_the_right_values_and_finite_gradients(dtype):
    student = torch.tensor([[1e4], [-1e4], [1e4], [0.0]], dtype=dtype, requires_grad=True)
    values = binary_labels(student, torch.tensor([0, 1, 1, 1]))
    large = student.detach()[0, 0].item()
    assert values.tolist() == pytest.approx([large, large, 0.0, math.log(2)])
    assert gradient(values, student).tolist() == [[1.0], [-1.0], [0.0], [-0.5]]


@pytest.mark.parametrize("label", [2, -1, -99])
def test_integers_other_than_zero_and_one_are_named(label):
    with pytest.raises(
        DataError, match=rf"0 or 1 \(-100: not known\), got \[{label}\].*HardLabels"
    ):
        binary_labels(torch.zeros(2, 2), torch.tensor([[0, label], [1, -100]]))


@pytest.mark.parametrize("label", [1.5, -0.5, -100.0, math.inf])
def test_floats_outside_of_zero_to_one_are_named(label):
    with pytest.raises(
        DataError, match=r"floats from 0 to 1 \(NaN: not known\), or integers, got \["
    ):
        binary_labels(torch.zeros(2, 2), torch.tensor([[0, label], [1, math.nan]]))


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, -1], [0.0, 1.0, 1.5], [0.0, 0.5, -0.1]])
def test_on_a_device_a_label_out_of_range_makes_the_loss_nan(labels):
    """Without a check of values, which would wait for the device, it must not pass in silence."""
    found = or_nan(torch.tensor(labels))
    assert found.isnan().tolist() == [False, False, True]
    torch.testing.assert_close(found[:2], torch.tensor(labels[:2]).float())


@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 4), (2, 3, 1), ()])
def test_labels_of_another_shape_are_refused(shape):
    with pytest.raises(DataError, match=r"of shape \[2, 3\], one for each logit.*use HardLabels"):
        binary_labels(torch.zeros(2, 3), torch.zeros(shape, dtype=torch.int64))


def test_class_ids_for_several_logits_are_refused():
    with pytest.raises(DataError, match=r"of shape \[2, 3\].*got int64 \[2\].*HardLabels"):
        binary_labels(torch.zeros(2, 3), torch.tensor([0, 2]))


@pytest.mark.parametrize("shape", [(2,), (2, 3, 4)])
def test_logits_that_are_no_table_are_refused(shape):
    with pytest.raises(ModelError, match=r"must be \[batch, labels\].*\[batch, 1\] for a single"):
        binary_labels(torch.zeros(shape), torch.zeros(shape))


def test_a_single_logit_is_refused_as_class_logits():
    with pytest.raises(ModelError, match=r"at least two classes, got 1; .*BinaryLabels"):
        hard_labels(torch.zeros(2, 1), torch.tensor([0, 0]))


def test_several_labels_of_an_example_are_refused_by_hard_labels():
    with pytest.raises(DataError, match=r"class ids of shape \[2\].*BinaryLabels"):
        hard_labels(torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64))


@pytest.mark.parametrize("weights", [0, -1.0, math.nan, math.inf, "2", (1.0, 0.0), [], True])
def test_weights_that_are_not_positive_are_refused(weights):
    with pytest.raises(ArgumentError, match=r"`positive_weight` must .*; it multiplies"):
        BinaryLabels(positive_weight=weights)


def test_weights_may_be_arrays():
    for weights in (np.array([1.0, 2.0]), torch.tensor([1.0, 2.0]), [1, 2]):
        assert BinaryLabels(positive_weight=weights).positive_weight == (1.0, 2.0)
    assert BinaryLabels(positive_weight=torch.tensor(3.0)).positive_weight == 3.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, math.nan])
def test_a_smoothing_outside_0_to_1_is_refused(smoothing):
    with pytest.raises(ArgumentError, match=r"`smoothing` must .*0 leaves the labels"):
        BinaryLabels(smoothing)


@pytest.mark.parametrize("fractions", [(1.0, 0.0, 0.3, 0.3), (0.5, 0.5, 0.5, 0.5)])
def test_a_mixed_example_is_weighted_between_its_two_labels(fractions):
    logits, own, partner = (
        torch.randn(4, 1),
        torch.tensor([0, 1, 1, -100]),
        torch.tensor([1, 1, 0, 1]),
    )
    fraction = torch.tensor(fractions)
    batch = Batch(logits, own, mixture=Mixture(partner, fraction))
    ours = BinaryLabels(0.1)(Signals(logits), Signals(), batch)
    expected = fraction * binary_labels(logits, own, 0.1)
    expected = expected + (1 - fraction) * binary_labels(logits, partner, 0.1)
    torch.testing.assert_close(ours[:3], expected[:3])
    assert ours[3] == 0


def test_weights_of_another_number_of_labels_are_refused():
    with pytest.raises(ModelError, match=r"`positive_weight` must .* 3 labels, got 2"):
        BinaryLabels(positive_weight=[1, 2])(torch.zeros(2, 3), labels=torch.zeros(2, 3))
    assert BinaryLabels(positive_weight=[2])(torch.zeros(2, 3), labels=torch.ones(2, 3)).ndim == 1
