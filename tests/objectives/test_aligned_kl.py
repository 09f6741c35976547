"""KL over the strings that two vocabularies share, against loops over tokens."""

import math
from dataclasses import replace

import pytest
import torch

from tutelage.aligned import AlignedTargets, Cells
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.objectives import ALM, AlignedKL, RowMean, aligned_kl, alm, soft_targets
from tutelage.signals import Batch, Signals

STUDENT = [0, 1, 1, 2, 0, 3, 2]
"""The cell of each of the student's seven tokens; 3 is for all others."""
TEACHER = [2, 1, 0, 3, 1]


def cells(student=None, teacher=None, number=3):
    student = STUDENT if student is None else student
    teacher = TEACHER if teacher is None else teacher
    return Cells(torch.tensor(student), torch.tensor(teacher), number)


def sides(rows=5, student=7, teacher=5, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(rows, student, generator=generator, dtype=torch.float64) * 2
    other = torch.randn(rows, teacher, generator=generator, dtype=torch.float64) * 2
    return one.to(dtype).requires_grad_(), other.to(dtype)


def plain(student, teacher, known):
    """Sum the probabilities of each cell, token by token."""
    values = []
    for logits, targets in zip(student.softmax(1), teacher.softmax(1), strict=True):
        q, p = [0.0] * (known.number + 1), [0.0] * (known.number + 1)
        for side, probabilities, of_side in (
            (q, logits, known.student.tolist()),
            (p, targets, known.teacher.tolist()),
        ):
            for token, probability in enumerate(probabilities):
                cell = of_side[token] if token < len(of_side) else known.number
                side[cell] = side[cell] + probability
        if not isinstance(q[-1], torch.Tensor):  # the student has no such token
            total = sum(p[:-1])
            p = [*(each / total for each in p[:-1]), 0.0]
        values.append(sum(a * torch.log(a / b) for a, b in zip(p, q, strict=True) if a))
    return torch.stack(values)


KNOWN = {
    "others on both sides": cells(),
    "on the student's": cells(teacher=[2, 1, 0, 0, 1]),
    "on the teacher's": cells(student=[0, 1, 1, 2, 0, 2, 2]),
    "on none": cells(student=[0, 1, 1, 2, 0, 2, 2], teacher=[2, 1, 0, 0, 1]),
    "tokens beyond the tokenizer": cells(student=[0, 1, 1, 2], teacher=[2, 1, 0]),
    "logits of fewer tokens": cells(student=[*STUDENT, 3, 3], teacher=[*TEACHER, 3]),
}
EVERY = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)


@EVERY
def test_is_the_divergence_of_sums_over_cells(known):
    student, teacher = sides()
    found, expected = aligned_kl(student, teacher, known), plain(student, teacher, known)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    ours, theirs = (torch.autograd.grad(each.sum(), student)[0] for each in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_by_hand():
    found = aligned_kl(torch.zeros(1, 3), torch.zeros(1, 2), cells([0, 1, 1], [1, 0], 2))
    expected = 0.5 * math.log(0.5 / (1 / 3)) + 0.5 * math.log(0.5 / (2 / 3))
    torch.testing.assert_close(found, torch.tensor([expected]))


@EVERY
def test_gradient(known):
    student, teacher = sides(rows=3)
    assert torch.autograd.gradcheck(lambda x: aligned_kl(x, teacher, known), student)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equal_vocabularies_are_soft_targets(dtype):
    student, teacher = sides(student=6, teacher=6, dtype=dtype)
    order = [3, 1, 5, 0, 2, 4]
    found = aligned_kl(student, teacher, cells(order, order, 6))
    expected = soft_targets(student, teacher, temperature=1.0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    ours, theirs = (torch.autograd.grad(each.sum(), student)[0] for each in (found, expected))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_is_at_most_the_divergence_of_all_tokens_and_zero_where_cells_are_equal():
    student, teacher = sides(student=7, teacher=7)
    grouped = cells(STUDENT, STUDENT)
    assert (aligned_kl(student, teacher, grouped) <= soft_targets(student, teacher, 1.0)).all()
    # Mass that moves within a cell changes nothing.
    moved = student.detach().clone()
    moved[:, [1, 2]] = moved[:, [2, 1]]
    zero = aligned_kl(student, moved, grouped)
    torch.testing.assert_close(zero, torch.zeros_like(zero), rtol=0, atol=1e-12)


def test_logits_far_apart_have_finite_gradients():
    student, teacher = sides(dtype=torch.float32)
    for scale in (1e3, 1e4):
        found = aligned_kl(student * scale, teacher * scale, cells())
        assert found.isfinite().all()
        [slope] = torch.autograd.grad(found.sum(), student)
        assert slope.isfinite().all()
    masked = student.detach().clone()
    masked[:, 1:3] = -torch.inf  # a cell that the student rules out
    masked.requires_grad_()
    found = aligned_kl(masked, teacher.index_fill(1, torch.tensor([1, 4]), -torch.inf), cells())
    assert found.isfinite().all()
    [slope] = torch.autograd.grad(found.sum(), masked)
    assert slope.isfinite().all()


def targets(known=None, shared=(-1, 0, 1, -1, 2), whole=(True, False, True)):
    """Five rows: of no span, of one token, of two tokens, and of one token again."""
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return AlignedTargets(
        tokens=torch.tensor([0, 3, 1, 6, 2]),
        spans=torch.tensor([-1, 0, 1, 1, 2]),
        shared=torch.tensor(shared),
        ends=torch.tensor([1, 3, 4]),
        whole=torch.tensor(whole),
        likelihood=torch.tensor([-1.0, -2.5, -0.5], dtype=torch.float64),
        logits=logits,
        cells=known or cells(),
    )


def value(objective, student, given):
    return objective(Signals(student), Signals(given), Batch(torch.zeros(5, 1)))


def test_spans_of_one_token_and_of_several():
    student, _ = sides()
    given, log_q = targets(), student.log_softmax(1)
    spans = torch.stack([log_q[1, 3], log_q[2, 1] + log_q[3, 6], log_q[4, 2]])
    first, second, last = plain(student[[1, 2, 4]], given.logits, given.cells)
    for temperature in (100.0, 1.0):
        by_span = alm(spans, given.likelihood, temperature)
        expected = torch.stack([first * 0, first, second, by_span[1] * temperature, last])
        found = value(AlignedKL(temperature), student, given)
        torch.testing.assert_close(found, expected)
        ours, theirs = (torch.autograd.grad(each.sum(), student, retain_graph=True)[0]
                        for each in (found, expected))  # fmt: skip
        torch.testing.assert_close(ours, theirs)
    expected = torch.zeros(5).double().index_put(
        (given.ends,), alm(spans, given.likelihood, 7.0)
    )  # fmt: skip
    torch.testing.assert_close(value(ALM(7), student, given), expected)


def test_spans_that_begin_with_other_strings_count_by_their_probability():
    """Also those of one token on both sides."""
    student, _ = sides()
    given = targets(shared=(-1, -1, -1, -1, 2), whole=(False, False, True))
    found, by_alm = (value(each, student, given) for each in (AlignedKL(5), 5 * ALM(5)))
    torch.testing.assert_close(found[:4], by_alm[:4])


def test_a_student_that_writes_numbers_at_once_is_not_torn_from_them():
    """Its "1234" counts for the teacher's "1", which is all that the teacher can say."""
    known = cells([0, 0, 1], [0, 1], 2)  # "1", "1234", "x"; "1", "x"
    student = torch.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    teacher = torch.stack([student[0, :2].logsumexp(0), student[0, 2]]).detach()[None]
    found = aligned_kl(student, teacher, known)
    [slope] = torch.autograd.grad(found.sum(), student)
    torch.testing.assert_close(found.detach(), torch.zeros(1), rtol=0, atol=1e-6)
    assert slope.abs().max() < 1e-6


def test_what_is_no_span_has_no_gradient():
    student, _ = sides()
    for objective in (AlignedKL(), ALM()):
        values = objective(Signals(student), Signals(targets()), Batch(torch.zeros(5, 1)))
        [slope] = torch.autograd.grad(values.sum(), student)
        assert not slope[0].any()
        assert slope[1:].any(dim=1).all()


@pytest.mark.parametrize("objective", [AlignedKL(), ALM(), RowMean(AlignedKL())], ids=str)
def test_errors(objective):
    student, teacher = sides()
    batch = Batch(torch.zeros(5, 1))
    with pytest.raises(ModelError, match=r"reads the student's tokens; give tl.teachers.Retok"):
        objective(Signals(student), Signals(teacher), batch)
    with pytest.raises(ModelError, match=r"must have a logit for each token.*got 6 for 7"):
        objective(Signals(student[:, :6]), Signals(targets()), batch)
    # Unless the missing one is compared with nothing.
    few = targets(cells([0, 1, 1, 2, 0, 2, 2, 3]))
    assert objective(Signals(student), Signals(few), batch).isfinite().all()


def test_a_teacher_of_spans_is_for_no_other_objective():
    with pytest.raises(ModelError, match=r"another tokenizer.*tl.AlignedKL or tl.ALM"):
        _ = Signals(targets()).logits
    with pytest.raises(ModelError, match=r"must have tokens, spans and shared of \[rows\]"):
        AlignedTargets(*(torch.zeros(n) for n in (2, 3, 3, 1, 1, 1)), torch.zeros(1, 5), cells())


def test_targets_move_as_a_whole():
    known = targets()
    for logits in (known.logits, HeadLogits(torch.ones(2, 3), torch.ones(5, 3))):
        one = replace(known, logits=logits).to(torch.device("meta"))
        assert {each.device.type for each in (one.tokens, one.ends, one.cells.student)} == {"meta"}
        assert one.logits.device.type == "meta"
        assert len(one[1:3]) == 2
