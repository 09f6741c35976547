from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from tutelage.errors import ModelError
from tutelage.objectives._feature_match import Orthogonal, orthogonal_projector

DOUBLE = torch.empty(0, dtype=torch.float64)
WIDTHS = [(3, 5), (5, 3), (4, 4), (1, 6), (6, 1), (64, 96)]
OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.1),
    "SGD with momentum and decay": partial(
        torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.01
    ),
    "SGD, far too fast": partial(torch.optim.SGD, lr=100.0),
    "Adam": partial(torch.optim.Adam, lr=0.01),
    "AdamW": partial(torch.optim.AdamW, lr=0.01, weight_decay=0.1),
}


def deviation(module):
    """How far Q is from orthonormal: the largest element of QᵀQ − 1, or of QQᵀ − 1."""
    q = module.matrix().detach()
    gram = q @ q.T if q.shape[0] < q.shape[1] else q.T @ q
    return (gram - torch.eye(len(gram), dtype=q.dtype)).abs().max().item()


@pytest.mark.parametrize(("narrow", "wide"), WIDTHS)
def test_is_orthonormal_from_the_start(narrow, wide):
    module = Orthogonal(narrow, wide)
    assert module.matrix().shape == (wide, narrow)
    assert deviation(module) < 1e-5
    assert [each.numel() for each in module.parameters()] == [narrow * wide]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 0.1], ids=["not clipped", "clipped"])
@pytest.mark.parametrize(("narrow", "wide"), [(6, 9), (9, 6), (7, 7)])
def test_stays_orthonormal_through_training(optimizer, clip, narrow, wide):
    module = Orthogonal(narrow, wide)
    inputs, targets = torch.randn(32, narrow), torch.randn(32, wide)
    steps = OPTIMIZERS[optimizer](module.parameters())
    before = module.matrix().detach()
    for _ in range(50):
        steps.zero_grad()
        (module(inputs) - targets).square().mean().backward()
        if clip is not None:
            clip_grad_norm_(module.parameters(), clip)
        steps.step()
        assert deviation(module) < 1e-5
    assert (module.matrix() - before).abs().max() > 0.05


@pytest.mark.parametrize("optimizer", ["SGD", "Adam"])
@pytest.mark.parametrize(
    ("narrow", "wide", "seed"), [(4, 6, 0), (6, 4, 0), (5, 5, 0), (5, 5, 1), (5, 5, 2)]
)
def test_learns_the_rotation_that_made_the_targets(optimizer, seed, narrow, wide):
    """With the QR factors in the graph, about every second run from 5 to 5 does not get there."""
    torch.manual_seed(seed)
    truth, module = Orthogonal(narrow, wide), Orthogonal(narrow, wide)
    if narrow == wide:  # there is no way from rotations to reflections
        signs = [torch.det(each.weight.detach()).sign() for each in (truth, module)]
        truth.weight.data[:, 0] *= signs[0] * signs[1]
    inputs = torch.randn(128, narrow)
    targets = truth(inputs).detach()
    steps = OPTIMIZERS[optimizer](module.parameters(), lr=1.0 if optimizer == "SGD" else 0.03)
    for _ in range(150):
        steps.zero_grad()
        loss = (module(inputs) - targets).square().mean()
        loss.backward()
        steps.step()
    assert loss.item() < 1e-4
    torch.testing.assert_close(module.matrix(), truth.matrix(), atol=0.05, rtol=0)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("narrow", "wide"), [(2, 4), (4, 2), (3, 3)])
def test_the_gradient_is_the_projection_to_what_keeps_it_orthonormal(narrow, wide, training):
    """G − Q (QᵀG + GᵀQ)/2, Absil et al. 2008, equation 3.35; in Q's tall form."""
    module = Orthogonal(narrow, wide, DOUBLE).train(training)
    pull = torch.randn(wide, narrow, dtype=torch.float64)
    (pull * module.matrix()).sum().backward()
    q, g = (each.T if module.narrows else each for each in (module.matrix().detach(), pull))
    torch.testing.assert_close(module.weight.grad, g - q @ (q.T @ g + g.T @ q) / 2)


@pytest.mark.parametrize(("narrow", "wide"), [(2, 4), (4, 2), (3, 3)])
def test_the_gradient_is_the_slope_along_every_way_it_can_go(narrow, wide):
    module = Orthogonal(narrow, wide, DOUBLE)
    pull = torch.randn(module.weight.shape, dtype=torch.float64)
    # A way: Q turned by the exponential of a skew matrix.
    skew = torch.randn(len(pull), len(pull), dtype=torch.float64)
    start = module.weight.detach().clone()
    turns = [torch.matrix_exp(t * (skew - skew.T)) @ start for t in (-1e-6, 1e-6)]
    slope = ((pull * turns[1]).sum() - (pull * turns[0]).sum()) / 2e-6
    q = module.matrix()
    (pull * (q.T if module.narrows else q)).sum().backward()
    expected = (module.weight.grad * ((skew - skew.T) @ start)).sum()
    assert slope.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("narrow", "wide"), [(2, 4), (4, 2), (3, 3)])
def test_gradcheck_of_what_it_is_given(narrow, wide):
    module = Orthogonal(narrow, wide, DOUBLE)
    inputs = torch.randn(3, narrow, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, inputs)


def test_evaluation_leaves_the_trained_matrix_as_it_is():
    module = Orthogonal(3, 5).eval()
    module.weight.data.normal_()
    before = module.weight.detach().clone()
    feature = torch.randn(4, 3)
    ours = module(feature)
    assert torch.equal(module.weight, before)
    assert deviation(module) < 1e-5
    torch.testing.assert_close(module.train()(feature), ours)  # and training begins from there


def test_two_passes_before_one_backward_are_one_matrix():
    module = Orthogonal(3, 5)
    module.weight.data.normal_()
    one, other = (module(torch.randn(4, 3)) for _ in range(2))
    (one.square().sum() + other.sum()).backward()
    assert module.weight.grad.isfinite().all()


def test_is_the_gram_schmidt_of_the_trained_matrix():
    """Column by column: less its parts along those before, made of length 1."""
    module = Orthogonal(3, 5, DOUBLE)
    module.weight.data.normal_()
    columns = []
    for column in module.weight.detach().T:
        rest = column - sum((column @ each) * each for each in columns)
        columns.append(rest / rest.norm())
    torch.testing.assert_close(module.matrix().detach(), torch.stack(columns, dim=1))


def test_widening_keeps_all_lengths_and_angles():
    feature = torch.randn(8, 5, dtype=torch.float64)
    ours = Orthogonal(5, 9, DOUBLE)(feature)
    torch.testing.assert_close(ours @ ours.T, feature @ feature.T)


def test_narrowing_never_increases_a_length():
    feature = torch.randn(8, 9, dtype=torch.float64)
    ours = Orthogonal(9, 5, DOUBLE)(feature)
    assert (ours.norm(dim=1) <= feature.norm(dim=1) * (1 + 1e-12)).all()
    assert (ours.norm(dim=1) > 0).all()


def test_maps_are_turned_along_their_channels():
    module = Orthogonal(3, 5)
    maps = torch.randn(2, 3, 4, 6)
    expected = torch.einsum("wn,bnyx->bwyx", module.matrix(), maps)
    torch.testing.assert_close(module(maps), expected)
    tokens = maps.flatten(2).transpose(1, 2)
    torch.testing.assert_close(module(tokens), expected.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_computes_in_float32_and_ignores_autocast(dtype):
    student = torch.randn(8, 3).to(dtype)
    module = orthogonal_projector(student.float(), torch.zeros(8, 5, dtype=dtype))
    plain = module(student)
    assert plain.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(student), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("student", "teacher", "text"),
    [
        ((2, 3), (2, 5), "3 → 5"),
        ((2, 4, 7), (2, 6, 5), "7 → 5"),
        ((2, 3, 4, 4), (2, 3, 1, 1), "3 → 3"),
    ],
)
def test_is_made_by_the_shapes_of_two_features(student, teacher, text):
    module = orthogonal_projector(torch.zeros(student), torch.zeros(teacher))
    assert repr(module) == f"Orthogonal({text})"


def test_features_of_different_kinds_are_refused():
    with pytest.raises(ModelError, match=r"must both give \[batch, d\]"):
        orthogonal_projector(torch.zeros(2, 3), torch.zeros(2, 4, 3))


def test_is_a_plain_module_for_state_and_copies():
    module = Orthogonal(3, 5)
    other = Orthogonal(3, 5)
    other.load_state_dict(module.state_dict())
    torch.testing.assert_close(other.matrix(), module.matrix())
    assert isinstance(module, nn.Module)
    assert list(module.state_dict()) == ["weight"]
