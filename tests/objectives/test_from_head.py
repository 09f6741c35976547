"""Terms on spans beside others: one pass over the student's logits, equal to whole logits."""

from dataclasses import replace

import pytest
import torch

import tutelage as tl
from tutelage import heads
from tutelage.aligned import AlignedTargets, Cells
from tutelage.heads import HeadLogits
from tutelage.objectives._valid import values_of
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals

SUMS = {
    "beside labels": [tl.HardLabels(), tl.AlignedKL()],
    "by row": [term.objective for term in tl.RowMean(tl.AlignedKL(7) + tl.HardLabels()).terms()],
    "two of them": [tl.ALM(1), tl.HardLabels(), tl.AlignedKL(3)],
    "twice the same": [tl.ALM(2), tl.ALM(2)],
    "alone": [tl.AlignedKL()],
}
EACH = pytest.mark.parametrize("objectives", SUMS.values(), ids=SUMS)


def sides(dtype=torch.float64):
    """Return a student's head, what a teacher says of its rows, and labels."""
    generator = torch.Generator().manual_seed(0)

    def head(rows, classes, width):
        tables = [torch.randn(each, width, generator=generator, dtype=torch.float64).to(dtype)
                  for each in (rows, classes)]  # fmt: skip
        return HeadLogits(*tables)

    student, teacher = head(7, 6, 3), head(4, 5, 4)
    for each in (student.hidden, student.weight):
        each.requires_grad_()
    targets = AlignedTargets(
        tokens=torch.tensor([0, 3, 1, 5, 2, 2, 4]),
        spans=torch.tensor([-1, 0, 1, 1, 1, 2, 3]),
        shared=torch.tensor([-1, 0, 1, -1, -1, 2, 3]),
        ends=torch.tensor([1, 4, 5, 6]),
        whole=torch.tensor([True, False, False, True]),
        likelihood=torch.tensor([-1.0, -5.5, -0.5, -2.0], dtype=dtype),
        logits=teacher,
        cells=Cells(torch.tensor([0, 1, 1, 2, 0, 3]), torch.tensor([2, 1, 0, 3, 1]), 3),
    )
    mask = torch.tensor([[True] * 4, [True] * 3 + [False]])
    labels = torch.tensor([[-100, 3, 1, 5], [2, 2, 4, -100]])
    return student, targets, Batch(torch.zeros(2, 4), labels, row_mask=mask)


def found(objectives, student, targets, batch, known=True):
    """Return the values of examples, and their weighted sum, which is `known` beforehand or not."""
    rows, weights = Rows(batch.row_mask), torch.tensor([1.5, -2.0])

    def loss(number, values):
        return (values * weights.to(values.dtype)).sum() / (number + 1)

    values = values_of(
        objectives, Signals(student, rows=rows), Signals(targets, rows=rows), batch, 2,
        loss if known else None,
    )  # fmt: skip
    return values, torch.stack([loss(number, each) for number, each in enumerate(values)]).sum()


def compared(objectives, dtype=torch.float64, known=True, **close):
    """Compare values and gradients with those of whole logits."""
    student, targets, batch = sides(dtype)
    whole = student.logits(), replace(targets, logits=targets.logits.logits())
    ours, expected = (
        found(objectives, student, targets, batch, known),
        found(objectives, *whole, batch),
    )
    torch.testing.assert_close(ours, expected, **close)
    tensors = [student.hidden, student.weight]
    both = (torch.autograd.grad(total, tensors) for _, total in (ours, expected))
    torch.testing.assert_close(*both, **close)


@pytest.fixture(params=[1, 12, 10**6], ids=lambda each: f"{max(each // 6, 1)} rows at once")
def _rows_at_once(request, monkeypatch):
    monkeypatch.setattr(heads, "_LOGITS_AT_ONCE", {"cpu": request.param})
    monkeypatch.setattr(heads, "_LOSSES_AT_ONCE", {"cpu": max(request.param // 2, 1)})


@pytest.mark.usefixtures("_rows_at_once")
@pytest.mark.parametrize("known", [True, False], ids=["loss known", "any loss"])
@EACH
def test_values_and_gradients_are_those_of_whole_logits(objectives, known):
    compared(objectives, known=known, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@EACH
def test_low_precision(objectives, dtype):
    close = 1e-4 if dtype == torch.float32 else 0.05
    compared(objectives, dtype, rtol=close, atol=close)


@pytest.mark.parametrize("known", [True, False])
@EACH
def test_logits_are_made_twice_for_all_terms_together(objectives, known, monkeypatch):
    """Once for the probabilities of spans, and once for the gradients; the teacher's with these."""
    student, targets, batch = sides()
    calls = {5: 0, 6: 0}  # by the number of classes
    raw = HeadLogits.raw

    def counted(head):
        calls[len(head.weight)] += len(head)
        return raw(head)

    monkeypatch.setattr(HeadLogits, "raw", counted)
    _, total = found(objectives, student, targets, batch, known)
    total.backward()
    assert calls == {6: 2 * len(student), 5: len(targets.logits) * (1 if known else 2)}


@pytest.mark.parametrize("known", [True, False])
def test_without_a_gradient_they_are_made_once(known, monkeypatch):
    student, targets, batch = sides()
    calls = []
    raw = HeadLogits.raw
    monkeypatch.setattr(HeadLogits, "raw", lambda head: calls.append(len(head)) or raw(head))
    with torch.no_grad():
        found([tl.HardLabels(), tl.AlignedKL()], student, targets, batch, known)
    assert sorted(calls) == [4, 7]


def test_a_loss_other_than_the_expected_one():
    student, targets, batch = sides()
    rows = Rows(batch.row_mask)
    one = Signals(student, rows=rows), Signals(targets, rows=rows), batch, 2
    several = [tl.HardLabels(), tl.AlignedKL()]
    values = values_of(several, *one, lambda _, each: each.sum())
    plain = values_of(several, Signals(student.logits(), rows=rows), *one[1:])
    for first, second in ((1.0, 1.0), (3.0, -1.0), (0.0, 2.0)):
        ours, expected = (
            torch.autograd.grad(
                (first * each[0] ** 2 + second * each[1] ** 3).sum(),
                [student.hidden, student.weight], retain_graph=True,
            )
            for each in (values, plain)
        )  # fmt: skip
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-11)
