"""Losses of logits that are made for some rows at a time: equal to those of whole logits."""

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from objective_samples import CLASSES, Sample, found
from tutelage import heads
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives._valid import values_of
from tutelage.rows import Rows
from tutelage.signals import Batch, Mixture, Signals

EACH = found(Sample)
BY_ROW = {name: each for name, each in EACH.items() if each.objective.rowwise}
OTHERS = {name: each for name, each in EACH.items() if name not in BY_ROW}
FORMS = {
    "plain": {},
    "bias": {"bias": torch.linspace(-1, 1, 4, dtype=torch.float64)},
    "scaled and capped": {"scale": 0.3, "soft_cap": 2.0},
}


@pytest.fixture(params=[1, 8, 12, 10**6], ids=lambda each: f"{each // 4} rows at once")
def _rows_at_once(request, monkeypatch):
    monkeypatch.setattr(heads, "_LOGITS_AT_ONCE", {"cpu": request.param})
    monkeypatch.setattr(heads, "_LOSSES_AT_ONCE", {"cpu": max(request.param // 2, 1)})


def sides(dtype=torch.float64, rows=6, classes=4, width=3, **form):
    """Return a student's head, which takes gradients, and a teacher's."""
    generator = torch.Generator().manual_seed(0)

    def head(width):
        hidden = torch.randn(rows, width, generator=generator, dtype=torch.float64)
        weight = torch.randn(classes, width, generator=generator, dtype=torch.float64)
        return hidden.to(dtype), weight.to(dtype)

    own = {name: each.clone().to(dtype) if name == "bias" else each for name, each in form.items()}
    student = HeadLogits(*(each.requires_grad_() for each in head(width)), **own)
    if student.bias is not None:
        student.bias.requires_grad_()
    return student, HeadLogits(*head(width + 2))


def gradients(values, head, weights):
    """Return the gradients of a weighted sum of values."""
    tensors = [each for each in (head.hidden, head.weight, head.bias) if each is not None]
    total = sum((each * weights[: len(each)]).sum() for each in values)
    return torch.autograd.grad(total, tensors)


def compared(objectives, student, teacher, batch, whole_teacher, factor=None):
    """Return values and gradients of the student's head, and of its logits.

    Args:
        objectives: The terms.
        student: The student's head.
        teacher: The teacher's output.
        batch: The labels.
        whole_teacher: The teacher's logits.
        factor: The expected loss is the true one by this factor; None where none is expected.
    """
    weights = torch.randn(len(student), generator=torch.Generator().manual_seed(5)).to(
        student.hidden.dtype
    )
    results = []
    for output, target in ((student, teacher), (student.logits(), whole_teacher)):
        sides = Signals(output), Signals(target)
        loss_of = None if factor is None else lambda _, each: (each * weights).sum() * factor
        values = values_of(objectives, *sides, batch, len(student), loss_of)
        results.append((values, gradients(values, student, weights)))
    return results


@pytest.mark.usefixtures("_rows_at_once")
@pytest.mark.parametrize("factor", [None, 1, -3], ids=["any", "known", "known but for a factor"])
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("sample", BY_ROW.values(), ids=BY_ROW)
def test_values_and_gradients_are_those_of_whole_logits(sample, form, factor):
    student, teacher = sides(**form)
    batch = Batch(torch.zeros(6, 1), sample.labels)
    ours, expected = compared([sample.objective], student, teacher, batch, teacher.logits(), factor)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("sample", OTHERS.values(), ids=OTHERS)
def test_objectives_that_need_all_rows_refuse_a_head_with_the_reason(sample):
    head, teacher = sides()
    batch = Batch(torch.zeros(6, 1), sample.labels)
    with pytest.raises(ModelError, match=r"not `rowwise` .*, got HeadLogits; .*set `rowwise"):
        values_of([sample.objective], Signals(head), Signals(teacher.logits()), batch, 6)


def test_those_are_none_of_the_usual_ones():
    assert {type(each.objective).__name__ for each in OTHERS.values()} >= {"DIST"}
    assert "SoftTargets" in {type(each.objective).__name__ for each in BY_ROW.values()}
    assert not any(each.objective.relates_examples for each in BY_ROW.values())


@pytest.mark.usefixtures("_rows_at_once")
def test_rows_of_texts_with_labels_and_padding():
    mask = torch.tensor([[True, True, False], [True, True, True], [True, False, False]])
    labels = torch.tensor([[1, -100, -100], [2, 3, 0], [-100, -100, -100]])
    head, teacher = sides()
    batch = Batch(torch.zeros(3, 3), labels, row_mask=mask)
    weighted = tl.HardLabels() + tl.SoftTargets(2) + tl.RowMean(tl.ReverseKL())
    objectives = [term.objective for term in weighted.terms()]
    rows = Rows(mask)
    weights = torch.tensor([1.0, -2.0, 0.5]).double()
    results = []
    for ours, theirs in ((head, teacher), (head.logits(), teacher.logits())):
        values = values_of(
            objectives, Signals(ours, rows=rows), Signals(theirs, rows=rows), batch, 3
        )
        results.append((values, gradients(values, head, weights)))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)


@pytest.mark.usefixtures("_rows_at_once")
def test_mixed_labels_a_coarse_teacher_and_a_whole_one():
    head, teacher = sides()
    batch = Batch(torch.zeros(6, 1), CLASSES, mixture=Mixture(CLASSES.flip(0), torch.rand(6)))
    coarse = tl.CoarseLogits(
        torch.arange(12).view(6, 2) % 3, torch.randn(6, 2).double(), torch.randn(6).double()
    )
    for target in (coarse, teacher.logits()):
        ours, expected = compared([tl.HardLabels(), tl.SoftTargets(3)], head, target, batch, target)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
    whole = head.logits()
    found = values_of([tl.SoftTargets(2)], Signals(whole), Signals(teacher), batch, 6)
    expected = values_of([tl.SoftTargets(2)], Signals(whole), Signals(teacher.logits()), batch, 6)
    torch.testing.assert_close(found, expected)


def test_terms_of_a_sum_share_one_pass(monkeypatch):
    head, teacher = sides()
    calls = []
    raw = HeadLogits.raw
    monkeypatch.setattr(HeadLogits, "raw", lambda self: calls.append(len(self)) or raw(self))
    batch = Batch(torch.zeros(6, 1), CLASSES)
    several = [tl.HardLabels(), tl.SoftTargets(2), tl.TotalVariation()]
    values = values_of(several, Signals(head), Signals(teacher), batch, 6)
    assert calls == [6, 6]  # the student's and the teacher's
    sum(each.sum() for each in values).backward()
    assert calls == [6] * 4


@pytest.mark.parametrize("objective", [tl.SoftTargets(2), 2 * tl.HardLabels() + tl.ReverseKL()])
@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("known", [4, 6])
def test_a_distiller_makes_logits_once(objective, rows, known, monkeypatch):
    class Side(nn.Linear):
        def forward(self, inputs):
            return HeadLogits(inputs, self.weight, self.bias)

    torch.manual_seed(0)
    student, teacher, inputs = Side(3, 4), Side(3, 4), torch.randn(6, 3)
    batch = Batch(inputs, CLASSES.where(torch.arange(6) < known, -100))
    plain = nn.Linear(3, 4), nn.Linear(3, 4)
    for one, other in zip(plain, (student, teacher), strict=True):
        one.load_state_dict(other.state_dict())
    whole = Distiller(*plain, objective)
    calls = []
    raw = HeadLogits.raw
    monkeypatch.setattr(HeadLogits, "raw", lambda self: calls.append(len(self)) or raw(self))
    losses = Distiller(student, teacher, objective)(batch, *([torch.tensor([5.0, 7])] * rows))
    (losses.total * 65536).backward()  # as a scaler of gradients does
    assert calls == [6, 6]
    (whole(batch, *([torch.tensor([5.0, 7])] * rows)).total * 65536).backward()
    torch.testing.assert_close(student.weight.grad, whole.student.weight.grad, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(student.bias.grad, whole.student.bias.grad, rtol=1e-5, atol=1e-4)


def test_a_loss_other_than_the_expected_one_and_a_second_backward_pass():
    head, teacher = sides()
    batch = Batch(torch.zeros(6, 1))
    weights = torch.arange(6.0).double()
    one = (Signals(head), Signals(teacher), batch, 6, lambda _, each: (each * weights).sum())
    [values] = values_of([tl.SoftTargets(2)], *one)
    [plain] = values_of(
        [tl.SoftTargets(2)], Signals(head.logits()), Signals(teacher.logits()), batch, 6
    )
    for slopes in (weights, torch.ones(6).double(), weights, weights * 0, -2 * weights):
        ours, expected = (
            torch.autograd.grad(
                (each * slopes).sum(), [head.hidden, head.weight], retain_graph=True
            )
            for each in (values, plain)
        )
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)


def test_in_float16_logits_are_made_again_so_that_small_gradients_are_not_lost(monkeypatch):
    head, teacher = sides(torch.float16)
    calls = []
    raw = HeadLogits.raw
    monkeypatch.setattr(HeadLogits, "raw", lambda self: calls.append(len(self)) or raw(self))
    sides_ = (Signals(head), Signals(teacher), Batch(torch.zeros(6, 1)), 6)
    [values] = values_of([tl.SoftTargets(2)], *sides_, lambda _, each: each.mean() / 1e9)
    (values.mean() * 100).backward()
    assert calls == [6] * 4
    assert head.hidden.grad.abs().max() > 0


@pytest.mark.parametrize("factor", [None, 2.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.usefixtures("_rows_at_once")
def test_low_precision(dtype, factor):
    head, teacher = sides(dtype, rows=40, classes=50, width=16)
    batch = Batch(torch.zeros(40, 1), torch.arange(40))
    objectives = [tl.SoftTargets(2), tl.HardLabels()]
    ours, expected = compared(objectives, head, teacher, batch, teacher.logits(), factor)
    assert [each.dtype for each in ours[1]] == [dtype] * 2
    close = {"rtol": 1e-5, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 0.03, "atol": 0.05}
    torch.testing.assert_close(ours, expected, **close)
    if dtype == torch.bfloat16:  # the weight's gradient is summed in float32: nearer to the truth
        exact = sides(torch.float64, rows=40, classes=50, width=16)
        truth = compared(objectives, exact[0], exact[1], batch, exact[1].logits())[1][1]
        errors = [(each[1][1].double() - truth[1]).norm() for each in (ours, expected)]
        assert errors[0] <= errors[1] * 1.2


@pytest.mark.parametrize("factor", [None, 2.5])
@pytest.mark.usefixtures("_rows_at_once")
def test_under_autocast_values_and_gradients_are_those_of_whole_logits(factor):
    head, teacher = sides(torch.float32, rows=12, classes=50, width=16)
    batch = Batch(torch.zeros(12, 1), torch.arange(12))
    with torch.autocast("cpu", torch.bfloat16):
        ours, expected = compared(
            [tl.SoftTargets(2), tl.HardLabels()], head, teacher, batch, teacher.logits(), factor
        )
    assert [each.dtype for each in ours[1]] == [torch.float32] * 2
    torch.testing.assert_close(ours, expected, rtol=0.03, atol=0.05)


def test_without_rows_there_is_no_gradient():
    head, teacher = sides()
    values = values_of(
        [tl.SoftTargets(2), tl.HardLabels()], Signals(head[:0]), Signals(teacher[:0]),
        Batch(torch.zeros(0, 1), CLASSES[:0]), 0,
    )  # fmt: skip
    assert [len(each) for each in values] == [0, 0]
    sum(each.sum() for each in values).backward()
    assert head.weight.grad.abs().max() == 0


def test_frozen_parts_get_no_gradient_and_none_is_computed_without_need():
    head, teacher = sides()
    frozen = HeadLogits(head.hidden, head.weight.detach())
    batch = Batch(torch.zeros(6, 1))
    [values] = values_of([tl.SoftTargets(2)], Signals(frozen), Signals(teacher), batch, 6)
    values.sum().backward()
    assert head.weight.grad is None
    assert head.hidden.grad.abs().sum() > 0
    with torch.no_grad():
        [values] = values_of([tl.SoftTargets(2)], Signals(head), Signals(teacher), batch, 6)
    assert not values.requires_grad


def test_an_objective_that_returns_a_mean_is_refused():
    class Mean(tl.SoftTargets):
        def forward(self, student, teacher, batch) -> Tensor:
            return super().forward(student, teacher, batch).mean()

    head, teacher = sides()
    with pytest.raises(ArgumentError, match=r"one value per row, \[6\], got"):
        values_of([Mean(2)], Signals(head), Signals(teacher), Batch(torch.zeros(6, 1)), 6)


def test_shapes_that_do_not_fit_are_refused():
    for parts in ((torch.zeros(2, 3), torch.zeros(5, 4)), (torch.zeros(2, 3), torch.zeros(3))):
        with pytest.raises(ModelError, match=r"HeadLogits must be hidden states"):
            HeadLogits(*parts)
    with pytest.raises(ModelError, match=r"a bias \[classes\] or None"):
        HeadLogits(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(4))


def test_other_numbers_of_classes_are_refused():
    head, _ = sides()
    other = HeadLogits(torch.zeros(6, 3).double(), torch.zeros(5, 3).double())
    with pytest.raises(ModelError, match=r"same number of classes, got 4 .student. and 5"):
        values_of([tl.SoftTargets(2)], Signals(head), Signals(other), Batch(torch.zeros(6, 1)), 6)


def test_a_plain_distiller_is_as_before():
    torch.manual_seed(0)
    student, teacher = nn.Linear(5, 4), nn.Linear(5, 4)
    batch = Batch(torch.randn(6, 5), CLASSES)
    both = Distiller(student, teacher, tl.HardLabels() + tl.SoftTargets(2))(batch)
    alone = Distiller(student, teacher, tl.SoftTargets(2))(batch)
    assert both.parts["soft_targets"] == alone.parts["soft_targets"]
