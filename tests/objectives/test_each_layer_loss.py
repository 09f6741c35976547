"""Checks that every formula on features must pass."""

import pytest
import torch

from objective_samples import MAPS, TOKENS, Formula, found
from tutelage.errors import ModelError

EACH = found(Formula)
EVERY = pytest.mark.parametrize(
    ("formula", "shape"),
    [
        pytest.param(formula, shape, id=f"{name} {len(shape)}d")
        for name, formula in EACH.items()
        for shape in formula.shapes
    ],
)
OF_BATCHES = pytest.mark.parametrize(
    "formula",
    [
        pytest.param(each, id=name)
        for name, each in EACH.items()
        if each.over_the_batch and MAPS in each.shapes
    ],
)
OF_TOKENS = pytest.mark.parametrize(
    "formula",
    [pytest.param(each, id=name) for name, each in EACH.items() if TOKENS in each.shapes],
)

OF_MAPS = pytest.mark.parametrize(
    "formula",
    [
        pytest.param(each, id=name)
        for name, each in EACH.items()
        if {MAPS, TOKENS} <= set(each.shapes)  # and so a mask
    ],
)


def features(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, *shape, generator=generator, dtype=torch.float64).to(dtype)
    return student.requires_grad_(), teacher


def gradient(values, student):
    return torch.autograd.grad(values.sum(), student)[0]


def finite(loss, student, teacher):
    student = student.clone().requires_grad_()
    values = loss(student, teacher)
    assert values.shape == student.shape[:1]
    assert values.isfinite().all()
    assert gradient(values, student).isfinite().all()
    return values


@EVERY
def test_gradcheck(formula, shape):
    student, teacher = features(shape)
    student, teacher = student[:3].detach().requires_grad_(), teacher[:3]
    assert torch.autograd.gradcheck(lambda each: formula.loss(each, teacher), student)


@EVERY
def test_one_value_of_zero_or_more_for_each_example(formula, shape):
    values = formula.loss(*features(shape))
    assert values.shape == (6,)
    assert values.dtype == torch.float64
    assert values.min() >= 0


@EVERY
def test_at_equality_value_and_gradient_are_zero(formula, shape):
    student, _ = features(shape)
    values = formula.loss(student, student.detach())
    if not formula.zero_at_equality:
        assert values.min() > 0
    else:
        assert values.abs().max() < 1e-13
        assert gradient(values, student).abs().max() < 1e-7


@EVERY
def test_follows_a_permutation_of_the_batch(formula, shape):
    student, teacher = features(shape)
    rows = torch.tensor([5, 2, 0, 4, 1, 3])
    torch.testing.assert_close(
        formula.loss(student[rows], teacher[rows]), formula.loss(student, teacher)[rows]
    )


@EVERY
def test_half_a_batch_has_half_the_values_unless_examples_are_related(formula, shape):
    student, teacher = features(shape)
    half, whole = formula.loss(student[:3], teacher[:3]), formula.loss(student, teacher)[:3]
    assert torch.allclose(half, whole) == (not formula.over_the_batch)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(formula, shape, dtype):
    student, teacher = features(shape, dtype)
    ours = formula.loss(student, teacher)
    assert ours.dtype == torch.float32
    expected = formula.loss(student.double(), teacher.double())
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)
    assert gradient(ours, student).dtype == dtype


@EVERY
def test_float32_is_enough(formula, shape):
    student, teacher = features(shape, torch.float32)
    ours, expected = (
        formula.loss(student, teacher),
        formula.loss(student.double(), teacher.double()),
    )
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)


@EVERY
def test_autocast_changes_nothing(formula, shape):
    student, teacher = features(shape, torch.float32)
    plain = formula.loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        values = formula.loss(student, teacher)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, plain)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_features_give_finite_values_and_gradients(formula, shape, dtype):
    student, teacher = (side.detach().sign() * 1e4 for side in features(shape))
    finite(formula.loss, student.to(dtype), teacher.to(dtype))
    finite(formula.loss, (1e-4 * student).to(dtype), teacher.to(dtype))


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_features_of_zeros_give_finite_values_and_gradients(formula, shape, dtype):
    student, teacher = (side.detach() for side in features(shape, dtype))
    finite(formula.loss, torch.zeros_like(student), teacher)
    finite(formula.loss, student, torch.zeros_like(teacher))
    finite(formula.loss, torch.zeros_like(student), torch.zeros_like(teacher))


@EVERY
def test_a_batch_of_one_gives_finite_values_and_gradients(formula, shape):
    student, teacher = (side.detach()[:1] for side in features(shape))
    finite(formula.loss, student, teacher)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_identical_examples_give_finite_values_and_gradients(formula, shape, dtype):
    student, teacher = (side.detach()[:1].expand(shape) for side in features(shape, dtype))
    values = finite(formula.loss, student, teacher)
    torch.testing.assert_close(values, values[:1].expand(6))
    # Two of six alike, as a data set has them.
    student, teacher = (side.detach().clone() for side in features(shape, dtype))
    student[1], teacher[1] = student[0], teacher[0]
    values = finite(formula.loss, student, teacher)
    torch.testing.assert_close(values[1], values[0])


@EVERY
def test_the_arguments_stay_as_they_are(formula, shape):
    student, teacher = features(shape)
    before = student.detach().clone(), teacher.clone()
    formula.loss(student, teacher).sum().backward()
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@OF_BATCHES
def test_maps_are_flattened_where_examples_are_related(formula):
    student, teacher = torch.randn(9, 2, 3, 3), torch.randn(9, 5, 2)
    torch.testing.assert_close(
        formula.loss(student, teacher), formula.loss(student.flatten(1), teacher.flatten(1))
    )


@OF_BATCHES
@pytest.mark.parametrize("shape", [(3, 4), (1, 4), (2,)])
def test_other_examples_are_refused_where_examples_are_related(formula, shape):
    """One example would be compared with each of many."""
    with pytest.raises(ModelError, match=r"of the same examples, got \[2, 4\] \(student\) and \["):
        formula.loss(torch.zeros(2, 4), torch.zeros(shape))


@EVERY
def test_a_feature_that_all_examples_share_is_refused(formula, shape):
    """Such as an embedding of positions, `[1, tokens, d]`."""
    student, teacher = features(shape)
    with pytest.raises(ModelError):
        formula.loss(student, teacher[:1])


@OF_TOKENS
@pytest.mark.parametrize("junk", [0.0, 1.0, 1e4])
def test_padded_tokens_are_ignored(formula, junk):
    student, teacher = features(TOKENS)
    padded = [
        torch.cat([side.detach(), torch.full((6, 3, 4), junk)], 1) for side in (student, teacher)
    ]
    padded[1][:, -1] *= -3  # the sides differ there
    mask = torch.arange(8).expand(6, 8) < 5
    longer = padded[0].requires_grad_()
    values = formula.loss(longer, padded[1], mask=mask)
    torch.testing.assert_close(values, formula.loss(student, teacher))
    ours = gradient(values, longer)
    torch.testing.assert_close(ours[:, :5], gradient(formula.loss(student, teacher), student))
    assert ours[:, 5:].abs().max() == 0


@OF_TOKENS
def test_each_text_has_its_own_length(formula):
    """Padding of different lengths: each example is as it would be in a batch of that length."""
    student, teacher = (side.detach() for side in features(TOKENS))
    lengths = torch.tensor([5, 1, 3, 2, 4, 5])
    mask = torch.arange(5) < lengths.unsqueeze(1)
    values = formula.loss(student, teacher, mask=mask)
    if formula.over_the_batch:
        clean = [side.masked_fill(~mask.unsqueeze(2), 0) for side in (student, teacher)]
        torch.testing.assert_close(values, formula.loss(*clean))
    else:
        for row, length in enumerate(lengths):
            alone = (side[row : row + 1, :length] for side in (student, teacher))
            torch.testing.assert_close(values[row], formula.loss(*alone)[0])


@OF_TOKENS
def test_a_text_of_padding_only_gives_finite_values_and_gradients(formula):
    student, teacher = features(TOKENS)
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[2] = False
    values = finite(lambda *sides: formula.loss(*sides, mask=mask), student.detach(), teacher)
    if not formula.over_the_batch:
        assert values[2] == 0
    everything = torch.zeros(6, 5, dtype=torch.bool)
    finite(lambda *sides: formula.loss(*sides, mask=everything), student.detach(), teacher)


@OF_TOKENS
def test_a_mask_of_other_tokens_is_ignored(formula):
    """Inputs may have a mask where a layer has other tokens, or none."""
    sides = features(TOKENS)
    mask = torch.zeros(6, 9, dtype=torch.bool)
    assert torch.equal(formula.loss(*sides, mask=mask), formula.loss(*sides))


@OF_MAPS
@pytest.mark.parametrize("junk", [0.0, 1e4, torch.nan])
def test_void_positions_of_maps_are_ignored(formula, junk):
    """Where valid positions are a rectangle, the values are those of that part of the map."""
    student, teacher = features(MAPS)
    mask = torch.zeros(6, 5, 4, dtype=torch.bool)
    mask[:, 1:4, 2:] = True
    padded = [torch.full((6, 4, 5, 4), junk, dtype=torch.float64) for _ in range(2)]
    padded[1] *= -3  # the sides differ there
    for each, side in zip(padded, (student, teacher), strict=True):
        each[:, :, 1:4, 2:] = side.detach()
    larger = padded[0].requires_grad_()
    values, expected = formula.loss(larger, padded[1], mask=mask), formula.loss(student, teacher)
    torch.testing.assert_close(values, expected)
    ours = gradient(values, larger)
    torch.testing.assert_close(ours[:, :, 1:4, 2:], gradient(expected, student))
    assert (ours.masked_fill(mask.unsqueeze(1), 0) == 0).all()


@OF_MAPS
def test_a_mask_of_another_size_is_resized(formula):
    student, teacher = features(MAPS)
    mask = torch.rand(6, 3, 2, generator=torch.Generator().manual_seed(3)) < 0.6
    assert mask.flatten(1).any(dim=1).all()
    finer = mask.repeat_interleave(4, dim=1).repeat_interleave(2, dim=2)
    expected = formula.loss(student, teacher, mask=mask)
    assert not torch.allclose(expected, formula.loss(student, teacher))
    torch.testing.assert_close(formula.loss(student, teacher, mask=finer), expected)


@OF_MAPS
def test_a_map_of_void_positions_only_has_no_loss_and_no_gradient(formula):
    student, teacher = features(MAPS)
    mask = torch.ones(6, 3, 2, dtype=torch.bool)
    mask[2] = False
    values = finite(lambda *sides: formula.loss(*sides, mask=mask), student.detach(), teacher)
    everything = torch.zeros(6, 3, 2, dtype=torch.bool)
    nothing = formula.loss(student, teacher, mask=everything)
    assert (gradient(nothing, student) == 0).all()
    if not formula.over_the_batch:
        assert values[2] == 0
        assert (nothing == 0).all()


@OF_MAPS
def test_gradcheck_with_a_mask(formula):
    student, teacher = features(MAPS)
    student, teacher = student[:3].detach().requires_grad_(), teacher[:3]
    mask = torch.tensor([[[1, 0], [1, 1], [0, 1]], [[1, 1]] * 3, [[0, 0], [0, 1], [1, 0]]]).bool()
    assert torch.autograd.gradcheck(lambda each: formula.loss(each, teacher, mask=mask), student)
