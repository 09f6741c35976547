"""Objectives on features of which some positions are void or padded, and of different sizes."""

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import tutelage as tl
from compiling import compilers_warnings
from tutelage.errors import ModelError
from tutelage.signals import Batch, Signals

LAYERS = {"a": "b"}
KINDS = {
    "feature_match": lambda: tl.FeatureMatch(LAYERS),
    "vkd": lambda: tl.VkD(LAYERS),
    "attention_transfer": lambda: tl.AttentionTransfer(LAYERS),
    "cwd": lambda: tl.CWD(LAYERS, 2.0),
    "skd": lambda: tl.SKD(LAYERS, 3),
}
OVER_THE_BATCH = {"cka": lambda: tl.CKA(LAYERS), "rkd": lambda: tl.RKD(LAYERS)}
POOLED = {"crd": lambda: tl.CRD(LAYERS, dim=4, memory=8)}
EVERY = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
ALL = pytest.mark.parametrize(
    "make", [*KINDS.values(), *OVER_THE_BATCH.values(), *POOLED.values()],
    ids=[*KINDS, *OVER_THE_BATCH, *POOLED],
)  # fmt: skip
SIZES = pytest.mark.parametrize(
    ("old", "new"), [((6, 9), (6, 9)), ((3, 3), (6, 9)), ((12, 18), (6, 9))]
)


def sides(old, new, batch=4):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(batch, 3, *old, generator=generator, dtype=torch.float64)
    return student, torch.randn(batch, 5, *new, generator=generator, dtype=torch.float64)


def built(make, student, teacher):
    torch.manual_seed(0)
    objective = make()
    objective.build(Signals(features={"a": student}), Signals(features={"b": teacher}))
    return objective.eval()


def value(objective, student, teacher, mask=None):
    """The loss of a batch whose labels, and so whose mask, are finer than the maps."""
    batch = Batch(torch.zeros(len(student), 1), row_mask=mask)
    return objective(Signals(features={"a": student}), Signals(features={"b": teacher}), batch)


def rectangle(height, width, batch=4):
    """The upper two thirds of the right two thirds."""
    mask = torch.zeros(batch, height, width, dtype=torch.bool)
    mask[:, : 2 * height // 3, width // 3 :] = True
    return mask


def cropped(feature):
    height, width = feature.shape[2:]
    return feature[:, :, : 2 * height // 3, width // 3 :]


@ALL
@SIZES
@pytest.mark.parametrize("junk", [9.0, torch.nan])
def test_values_at_void_positions_change_nothing(make, old, new, junk):
    student, teacher = sides(old, new)
    objective = built(make, student, teacher)
    mask = rectangle(24, 36)
    expected = value(objective, student, teacher, mask)
    assert not torch.allclose(expected, value(objective, student, teacher))
    inside = [rectangle(*size).unsqueeze(1) for size in (old, new)]
    other = student.masked_fill(~inside[0], junk).requires_grad_()
    found = value(objective, other, teacher.masked_fill(~inside[1], -2 * junk), mask)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), other)
    assert gradient.isfinite().all()
    assert (gradient.masked_fill(inside[0], 0) == 0).all()
    assert (gradient != 0).any()


@EVERY
@SIZES
def test_a_rectangle_of_valid_positions_is_a_cropped_map(make, old, new):
    student, teacher = sides(old, new)
    objective = built(make, student, teacher)
    found = value(objective, student, teacher, rectangle(24, 36))
    if isinstance(objective, tl.SKD):
        objective.grid = 2  # of 3 × 3 nodes, 2 × 2 are left
    torch.testing.assert_close(found, value(objective, cropped(student), cropped(teacher)))


@ALL
@SIZES
def test_a_mask_of_everything_changes_nothing(make, old, new):
    student, teacher = sides(old, new)
    objective = built(make, student, teacher)
    mask = torch.ones(4, 24, 36, dtype=torch.bool)
    torch.testing.assert_close(
        value(objective, student, teacher, mask), value(objective, student, teacher)
    )


@EVERY
@SIZES
def test_void_everywhere_there_is_no_loss_and_no_gradient(make, old, new):
    student, teacher = sides(old, new)
    objective = built(make, student, teacher)
    mask = rectangle(24, 36)
    mask[1] = False
    student.requires_grad_()
    values = value(objective, student, teacher, mask)
    assert values[1] == 0
    assert (values[[0, 2, 3]] > 0).all()
    (gradient,) = torch.autograd.grad(values.sum(), student)
    assert (gradient[1] == 0).all()
    nothing = value(objective, student, teacher, torch.zeros_like(mask))
    assert (nothing == 0).all()
    everything = [student, *objective.parameters()]
    found = torch.autograd.grad(nothing.sum(), everything, allow_unused=True)
    assert all(each is None or (each == 0).all() for each in found)


@EVERY
@pytest.mark.parametrize(("old", "new"), [((3, 3), (4, 3)), ((2, 3), (4, 6)), ((6, 4), (3, 2))])
def test_gradcheck(make, old, new):
    student, teacher = sides(old, new, batch=2)
    objective = built(make, student, teacher)
    mask = torch.rand(2, 12, 18, generator=torch.Generator().manual_seed(1)) < 0.6
    assert torch.autograd.gradcheck(
        lambda each: value(objective, each, teacher, mask), student.requires_grad_()
    )


@EVERY
@SIZES
def test_follows_a_permutation_of_the_batch(make, old, new):
    student, teacher = sides(old, new)
    objective = built(make, student, teacher)
    mask = torch.rand(4, 12, 18, generator=torch.Generator().manual_seed(1)) < 0.6
    rows = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(
        value(objective, student[rows], teacher[rows], mask[rows]),
        value(objective, student, teacher, mask)[rows],
    )


@EVERY
@SIZES
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(make, old, new, dtype):
    student, teacher = (side.to(dtype) for side in sides(old, new))
    objective = built(make, student.float(), teacher.float())
    mask = rectangle(24, 36)
    expected = value(objective, student.float(), teacher.float(), mask)
    if not isinstance(objective, tl.VkD):  # whose matrix stays in float32
        objective = objective.to(dtype)
    found = value(objective, student, teacher, mask)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)  # the projector's rounding


@compilers_warnings
@pytest.mark.parametrize(
    ("make", "old"),
    [("feature_match", (3, 3)), ("vkd", (12, 18)), ("attention_transfer", (12, 18)),
     ("cwd", (6, 9)), ("skd", (12, 18))],
)  # fmt: skip
def test_compiled_it_is_the_same_in_one_graph(make, old):
    torch._dynamo.reset()
    counters.clear()
    student, teacher = sides(old, (6, 9))
    objective = built(KINDS[make], student, teacher)
    student.requires_grad_()
    found = []
    for each in (objective, torch.compile(objective, backend="aot_eager", fullgraph=True)):
        values = value(each, student, teacher, rectangle(24, 36))
        found.append((values, *torch.autograd.grad(values.sum(), student)))
    torch.testing.assert_close(found[1], found[0])
    assert counters["stats"]["unique_graphs"] == 1


@ALL
def test_a_mask_of_rows_with_other_dimensions_is_refused(make):
    student, teacher = sides((6, 9), (6, 9))
    objective = built(make, student, teacher)
    with pytest.raises(ModelError, match=r"must be .* or \[batch, height, width\].*remove dim"):
        value(objective, student, teacher, torch.ones(4, 1, 24, 36).bool())


@ALL
def test_a_mask_of_tokens_is_none_of_a_map(make):
    """As of attention matrices, `[batch, heads, tokens, tokens]`."""
    student, teacher = sides((6, 6), (6, 6))
    objective = built(make, student, teacher)
    mask = torch.arange(6).expand(4, -1) < 4
    expected = value(objective, student, teacher)
    torch.testing.assert_close(value(objective, student, teacher, mask), expected)


class TestTokens:
    """A mask that fits the tokens of one side is brought to the other's."""

    def value(self, make, student, teacher, mask):
        objective = built(make, student, teacher)
        batch = Batch({"attention_mask": mask})
        return objective(Signals(features={"a": student}), Signals(features={"b": teacher}), batch)

    @EVERY
    @pytest.mark.parametrize(("ours", "theirs"), [(12, 6), (6, 12)])
    @pytest.mark.parametrize("fits", ["student", "teacher"])
    def test_padding_changes_nothing_on_either_side(self, make, ours, theirs, fits):
        generator = torch.Generator().manual_seed(0)
        student = torch.randn(4, ours, 3, generator=generator, dtype=torch.float64)
        teacher = torch.randn(4, theirs, 5, generator=generator, dtype=torch.float64)
        tokens = ours if fits == "student" else theirs
        mask = (torch.arange(tokens) < 2 * tokens // 3).expand(4, -1)
        found = self.value(make, student, teacher, mask.long())
        other = student.clone(), teacher.clone()
        other[0][:, 2 * ours // 3 :], other[1][:, 2 * theirs // 3 :] = 9.0, -5.0
        torch.testing.assert_close(self.value(make, *other, mask.long()), found)
        short = student[:, : 2 * ours // 3], teacher[:, : 2 * theirs // 3]
        torch.testing.assert_close(found, self.value(make, *short, torch.ones(4, 0)))

    @EVERY
    def test_a_mask_of_neither_side_is_ignored(self, make):
        student, teacher = torch.randn(4, 6, 3), torch.randn(4, 3, 5)
        mask = torch.zeros(4, 9)
        torch.testing.assert_close(
            self.value(make, student, teacher, mask),
            self.value(make, student, teacher, torch.ones(4, 9)),
        )


@pytest.mark.parametrize("make", OVER_THE_BATCH.values(), ids=OVER_THE_BATCH)
@pytest.mark.parametrize("padded", ["student", "teacher"])
def test_padding_of_one_side_is_ignored_beside_vectors(make, padded):
    generator = torch.Generator().manual_seed(0)
    vectors, tokens = (torch.randn(5, *each, generator=generator) for each in ((4,), (3, 2)))
    mask = torch.tensor([[1, 1, 0]] * 4 + [[1, 1, 1]])
    batch, values = Batch({"attention_mask": mask}), []
    for junk in (0.0, 7.0):
        feature = tokens.masked_fill(mask[..., None] == 0, junk)
        both = (feature, vectors) if padded == "student" else (vectors, feature)
        sides = [Signals(features={name: each}) for name, each in zip("ab", both, strict=True)]
        values.append(make()(*sides, batch))
    torch.testing.assert_close(*values)


def test_a_custom_projector_may_turn_a_map_into_tokens():
    class Tokens(nn.Module):
        def forward(self, feature):
            return feature.flatten(2).transpose(1, 2)

    student, teacher = torch.randn(4, 5, 2, 3), torch.randn(4, 6, 5)
    objective = tl.FeatureMatch(LAYERS, projector=lambda *_: Tokens())
    objective.build(Signals(features={"a": student}), Signals(features={"b": teacher}))
    mask = torch.arange(6).expand(4, -1) < 4
    batch = Batch({"attention_mask": mask})
    found = objective(Signals(features={"a": student}), Signals(features={"b": teacher}), batch)
    expected = (student.flatten(2).transpose(1, 2) - teacher)[:, :4].square().mean(dim=(1, 2))
    torch.testing.assert_close(found, expected)
