import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from objective_samples import VALUES, Sample
from tutelage.errors import ArgumentError, DataError
from tutelage.objectives import LabelRegression, OutputRegression, regression
from tutelage.objectives._regression import regression_to_labels

SAMPLES = [
    Sample(OutputRegression(), lambda z, v, _: (z - v).square().mean(dim=1), "OutputRegression()"),
    Sample(
        OutputRegression(huber_delta=0.5),
        lambda z, v, _: regression(z, v, 0.5),
        "OutputRegression(huber_delta=0.5)",
    ),
    Sample(
        LabelRegression(),
        lambda z, _, y: (z - y).square().nanmean(dim=1).nan_to_num(),
        "LabelRegression()",
        VALUES,
    ),
    Sample(
        LabelRegression(huber_delta=0.5),
        lambda z, _, y: regression(z, y, 0.5, ~y.isnan()),
        "LabelRegression(huber_delta=0.5)",
        VALUES,
    ),
]

VALUES = arrays(np.float64, (4, 2), elements=st.floats(-100, 100))
MASKS = arrays(np.bool_, (4, 2))


def plain(output, target, delta):
    error = np.abs(output - target)
    if delta is None:
        return error**2
    return np.where(error <= delta, error**2 / 2, delta * (error - delta / 2))


def test_value_by_hand():
    output, target = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 5.0]])
    assert regression(output, target).item() == 2.0
    # Huber, δ = 1: 1 · (2 − ½) and 0.
    assert regression(output, target, huber_delta=1.0).item() == 0.75


@given(VALUES, VALUES, st.one_of(st.none(), st.floats(0.1, 50)))
def test_equals_a_plain_numpy_reference(output, target, delta):
    ours = regression(torch.from_numpy(output), torch.from_numpy(target), delta)
    np.testing.assert_allclose(ours.numpy(), plain(output, target, delta).mean(axis=1))


@given(VALUES, VALUES, MASKS, st.one_of(st.none(), st.floats(0.1, 50)))
def test_mean_runs_over_the_known_values_of_an_example(output, target, known, delta):
    hidden = np.where(known, target, np.nan)
    ours = regression(
        torch.from_numpy(output), torch.from_numpy(hidden), delta, torch.from_numpy(known)
    )
    errors = plain(output, target, delta)
    expected = [
        row[mask].mean() if mask.any() else 0.0 for row, mask in zip(errors, known, strict=True)
    ]
    np.testing.assert_allclose(ours.numpy(), expected)


def test_unknown_values_have_no_gradient_and_spread_no_nan():
    output = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([[0.0, torch.nan], [torch.nan, torch.nan]])
    (gradient,) = torch.autograd.grad(
        regression(output, target, known=~target.isnan()).sum(), output
    )
    assert gradient.tolist() == [[2.0, 0.0], [0.0, 0.0]]


def test_huber_pulls_with_bounded_force():
    output = torch.tensor([[1e4], [1e-3]], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        regression(output, torch.zeros(2, 1), huber_delta=2.0).sum(), output
    )
    torch.testing.assert_close(gradient, torch.tensor([[2.0], [1e-3]]))


def test_one_dimensional_targets_fit_one_output_and_are_never_broadcast():
    output, target = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([1.0, 2.0, 3.0])
    # Broadcast to [3, 3] the errors would not be zero.
    assert regression(output, target).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    output, target = torch.tensor([[1e4]], dtype=dtype), torch.tensor([[-1e4]], dtype=dtype)
    values = regression(output, target)
    assert values.dtype == torch.float32
    # The square is beyond float16's range.
    assert values.item() == pytest.approx((2 * output.double().item()) ** 2, rel=1e-6)


def test_float64_labels_do_not_change_the_dtype_of_the_loss():
    values = regression(torch.zeros(2, 1), torch.ones(2, dtype=torch.float64))
    assert values.dtype == torch.float32


@pytest.mark.parametrize(
    "target",
    [torch.zeros(3), torch.zeros(4, 3), torch.zeros(2, 4), torch.zeros(4, 2, dtype=torch.int64)],
    ids=["too few", "too wide", "transposed", "integers"],
)
def test_targets_that_do_not_fit_are_refused(target):
    with pytest.raises(DataError, match=r"floating numbers of shape \[4, 2\].*convert the labels"):
        regression(torch.zeros(4, 2), target)


@given(VALUES, VALUES, MASKS, st.one_of(st.none(), st.floats(0.1, 50)))
def test_labels_that_are_nan_are_ignored(output, target, known, delta):
    labels = torch.from_numpy(np.where(known, target, np.nan))
    output = torch.from_numpy(output).requires_grad_()
    found = regression_to_labels(output, labels, delta)
    counts = known.sum(axis=1)
    sums = (plain(output.detach().numpy(), target, delta or None) * known).sum(axis=1)
    np.testing.assert_allclose(found.detach(), sums / np.maximum(counts, 1), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(found.sum(), output)
    assert (gradient[~torch.from_numpy(known)] == 0).all()


def test_infinite_labels_are_not_ignored():
    # Their errors' sum overflows, which must not be taken for a label that is missing.
    labels = torch.tensor([[float("inf"), 0.0], [2e19, 2e19]])
    assert regression_to_labels(torch.zeros(2, 2), labels).tolist() == [float("inf")] * 2


def test_an_output_that_is_nan_shows():
    found = regression_to_labels(torch.tensor([[float("nan")], [1.0]]), torch.zeros(2))
    assert found.isnan().tolist() == [True, False]


@pytest.mark.parametrize("delta", [0, -1, float("inf")])
@pytest.mark.parametrize("objective", [LabelRegression, OutputRegression])
def test_a_huber_threshold_that_is_not_positive_is_refused(objective, delta):
    with pytest.raises(ArgumentError, match=r"`huber_delta` must be .*None for squares"):
        objective(delta)
