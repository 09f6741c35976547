"""What holds for every loss of features: the same checks for each of them."""

import pytest
import torch

from tutelage import losses

VECTORS, TOKENS, MAPS = (6, 4), (6, 5, 4), (6, 4, 3, 2)


def relations(student, teacher, mask=None):
    return losses.minilmv2(student, teacher, relation_heads=2, mask=mask)


def contrast(student, teacher):
    return losses.crd(student, teacher, temperature=0.5)


def match(student, teacher, mask=None):
    return losses.rkd(student, teacher, mask=mask)


# Each loss with the kinds of feature that it takes.
EACH = {
    "feature distance": (losses.feature_match, (VECTORS, TOKENS, MAPS)),
    "standardized distance": (losses.vkd, (VECTORS, TOKENS, MAPS)),
    "attention transfer": (losses.attention_transfer, (TOKENS, MAPS)),
    "relations of examples": (match, (VECTORS, TOKENS, MAPS)),
    "alignment": (losses.cka, (VECTORS, TOKENS, MAPS)),
    "relations of tokens": (relations, (TOKENS,)),
    "contrast": (contrast, (VECTORS,)),
}
EVERY = pytest.mark.parametrize(
    ("loss", "shape"),
    [
        pytest.param(loss, shape, id=f"{name} {len(shape)}d")
        for name, (loss, shapes) in EACH.items()
        for shape in shapes
    ],
)
OF_TOKENS = pytest.mark.parametrize(
    "loss",
    [pytest.param(loss, id=name) for name, (loss, shapes) in EACH.items() if TOKENS in shapes],
)
OVER_THE_BATCH = (match, losses.cka)
NOT_ZERO_AT_EQUALITY = (losses.vkd, contrast)


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
def test_gradcheck(loss, shape):
    student, teacher = features(shape)
    student, teacher = student[:3].detach().requires_grad_(), teacher[:3]
    assert torch.autograd.gradcheck(lambda each: loss(each, teacher), student)


@EVERY
def test_one_value_of_zero_or_more_for_each_example(loss, shape):
    values = loss(*features(shape))
    assert values.shape == (6,)
    assert values.dtype == torch.float64
    assert values.min() >= 0


@EVERY
def test_at_equality_value_and_gradient_are_zero(loss, shape):
    student, _ = features(shape)
    values = loss(student, student.detach())
    if loss in NOT_ZERO_AT_EQUALITY:
        assert values.min() > 0
    else:
        assert values.abs().max() < 1e-13
        assert gradient(values, student).abs().max() < 1e-7


@EVERY
def test_follows_a_permutation_of_the_batch(loss, shape):
    student, teacher = features(shape)
    rows = torch.tensor([5, 2, 0, 4, 1, 3])
    torch.testing.assert_close(loss(student[rows], teacher[rows]), loss(student, teacher)[rows])


@EVERY
def test_half_a_batch_has_half_the_values_unless_examples_are_related(loss, shape):
    student, teacher = features(shape)
    half, whole = loss(student[:3], teacher[:3]), loss(student, teacher)[:3]
    assert torch.allclose(half, whole) == (loss not in (*OVER_THE_BATCH, contrast))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(loss, shape, dtype):
    student, teacher = features(shape, dtype)
    ours = loss(student, teacher)
    assert ours.dtype == torch.float32
    expected = loss(student.double(), teacher.double())
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)
    assert gradient(ours, student).dtype == dtype


@EVERY
def test_float32_is_enough(loss, shape):
    student, teacher = features(shape, torch.float32)
    ours, expected = loss(student, teacher), loss(student.double(), teacher.double())
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-6)


@EVERY
def test_autocast_changes_nothing(loss, shape):
    student, teacher = features(shape, torch.float32)
    plain = loss(student, teacher)
    with torch.autocast("cpu", torch.bfloat16):
        values = loss(student, teacher)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, plain)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_features_give_finite_values_and_gradients(loss, shape, dtype):
    student, teacher = (side.detach().sign() * 1e4 for side in features(shape))
    finite(loss, student.to(dtype), teacher.to(dtype))
    finite(loss, (1e-4 * student).to(dtype), teacher.to(dtype))


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_features_of_zeros_give_finite_values_and_gradients(loss, shape, dtype):
    student, teacher = (side.detach() for side in features(shape, dtype))
    finite(loss, torch.zeros_like(student), teacher)
    finite(loss, student, torch.zeros_like(teacher))
    finite(loss, torch.zeros_like(student), torch.zeros_like(teacher))


@EVERY
def test_a_batch_of_one_gives_finite_values_and_gradients(loss, shape):
    student, teacher = (side.detach()[:1] for side in features(shape))
    finite(loss, student, teacher)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_identical_examples_give_finite_values_and_gradients(loss, shape, dtype):
    student, teacher = (side.detach()[:1].expand(shape) for side in features(shape, dtype))
    values = finite(loss, student, teacher)
    torch.testing.assert_close(values, values[:1].expand(6))
    # Two of six alike, as a data set has them.
    student, teacher = (side.detach().clone() for side in features(shape, dtype))
    student[1], teacher[1] = student[0], teacher[0]
    values = finite(loss, student, teacher)
    torch.testing.assert_close(values[1], values[0])


@EVERY
def test_the_arguments_stay_as_they_are(loss, shape):
    student, teacher = features(shape)
    before = student.detach().clone(), teacher.clone()
    loss(student, teacher).sum().backward()
    assert torch.equal(student, before[0])
    assert torch.equal(teacher, before[1])


@OF_TOKENS
@pytest.mark.parametrize("junk", [0.0, 1.0, 1e4])
def test_tokens_of_padding_do_not_count(loss, junk):
    student, teacher = features(TOKENS)
    padded = [
        torch.cat([side.detach(), torch.full((6, 3, 4), junk)], 1) for side in (student, teacher)
    ]
    padded[1][:, -1] *= -3  # the sides differ there
    mask = torch.arange(8).expand(6, 8) < 5
    longer = padded[0].requires_grad_()
    values = loss(longer, padded[1], mask=mask)
    torch.testing.assert_close(values, loss(student, teacher))
    ours = gradient(values, longer)
    torch.testing.assert_close(ours[:, :5], gradient(loss(student, teacher), student))
    assert ours[:, 5:].abs().max() == 0


@OF_TOKENS
def test_each_text_has_its_own_length(loss):
    """Padding of different lengths: each example is as it would be in a batch of that length."""
    student, teacher = (side.detach() for side in features(TOKENS))
    lengths = torch.tensor([5, 1, 3, 2, 4, 5])
    mask = torch.arange(5) < lengths.unsqueeze(1)
    values = loss(student, teacher, mask=mask)
    if loss in OVER_THE_BATCH:
        clean = [side.masked_fill(~mask.unsqueeze(2), 0) for side in (student, teacher)]
        torch.testing.assert_close(values, loss(*clean))
    else:
        for row, length in enumerate(lengths):
            alone = (side[row : row + 1, :length] for side in (student, teacher))
            torch.testing.assert_close(values[row], loss(*alone)[0])


@OF_TOKENS
def test_a_text_of_padding_alone_gives_finite_values_and_gradients(loss):
    student, teacher = features(TOKENS)
    mask = torch.ones(6, 5, dtype=torch.bool)
    mask[2] = False
    values = finite(lambda *sides: loss(*sides, mask=mask), student.detach(), teacher)
    if loss not in OVER_THE_BATCH:
        assert values[2] == 0
    everything = torch.zeros(6, 5, dtype=torch.bool)
    finite(lambda *sides: loss(*sides, mask=everything), student.detach(), teacher)


@OF_TOKENS
def test_a_mask_of_other_tokens_is_not_looked_at(loss):
    """Inputs may have a mask where a layer has other tokens, or none."""
    sides = features(TOKENS)
    mask = torch.zeros(6, 9, dtype=torch.bool)
    assert torch.equal(loss(*sides, mask=mask), loss(*sides))
