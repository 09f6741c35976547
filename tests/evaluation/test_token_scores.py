"""Scores of tokens, and metrics of them, against whole logits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from tutelage.evaluation import (
    BitsPerByte,
    Outputs,
    Perplexity,
    TokenScores,
    accuracy,
    agreement,
    calibration,
    jackknife,
    mean_kl,
    token_scores,
)
from tutelage.heads import HeadLogits
from tutelage.objectives import total_variation
from tutelage.rows import Rows
from tutelage.tasks import TASKS


def logits(rows, classes, seed, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, classes, generator=generator)


def metrics(scores, labels):
    task, outputs = TASKS["language"], Outputs(None, labels=labels, scores=scores, language=True)
    return task.metrics(outputs) | task.fidelity(outputs)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 40), classes=st.integers(2, 30), seed=st.integers(0, 99),
    at_once=st.integers(1, 200),
)  # fmt: skip
def test_they_are_those_of_whole_logits(rows, classes, seed, at_once):
    student, teacher = logits(rows, classes, seed), logits(rows, classes, seed + 1)
    labels = torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))
    labels[1::3] = -100
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tl.heads._LOGITS_AT_ONCE, "cpu", at_once)
        scores = token_scores(student, teacher, labels)
    found = metrics(scores, labels)
    nll = calibration(student, labels).nll
    assert found["perplexity"] == pytest.approx(math.exp(nll), rel=1e-5)
    assert found["accuracy"] == pytest.approx(accuracy(student, labels))
    assert found["agreement"] == pytest.approx(agreement(student, teacher))
    assert found["kl"] == pytest.approx(mean_kl(student, teacher), abs=1e-5)
    rejected = total_variation(student, teacher).mean().item()
    assert found["acceptance_rate"] == pytest.approx(1 - rejected, abs=1e-5)
    assert torch.equal(scores.column("nll").isnan(), labels == -100)
    largest = student.softmax(1).amax(1).double()
    assert torch.allclose(scores.column("confidence"), largest, atol=1e-6)


def test_heads_give_the_same_as_their_logits():
    generator = torch.Generator().manual_seed(0)
    heads = [
        HeadLogits(
            torch.randn(50, 4, generator=generator), torch.randn(70, 4, generator=generator),
            torch.randn(70, generator=generator), scale=2.0, soft_cap=5.0,
        )
        for _ in range(2)
    ]  # fmt: skip
    labels = torch.randint(70, (50,), generator=generator)
    whole = token_scores(heads[0].logits(), heads[1].logits(), labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tl.heads._LOGITS_AT_ONCE, "cpu", 210)  # three rows
        for sides in (heads, [heads[0], heads[1].logits()], [heads[0].logits(), heads[1]]):
            assert torch.allclose(token_scores(*sides, labels).table, whole.table, atol=1e-5)


def test_a_teacher_of_other_or_of_some_classes_tells_nothing():
    student, labels = logits(3, 5, 0), torch.tensor([0, 1, 2])
    coarse = tl.signals.CoarseLogits(
        torch.tensor([[0], [1], [2]]), torch.zeros(3, 1), torch.zeros(3)
    )
    for teacher in (None, logits(3, 6, 1), coarse):
        scores = token_scores(student, teacher, labels)
        assert metrics(scores, labels).keys() == {"accuracy", "perplexity"}


def test_what_is_no_number_shows():
    student, labels = logits(3, 4, 0), torch.tensor([0, 1, 2])
    student[1, 3] = torch.nan
    found = token_scores(student, logits(3, 4, 1), labels)
    values = metrics(found, labels)
    assert values.keys() == {"accuracy", "perplexity", "agreement", "kl", "acceptance_rate"}
    assert all(map(math.isnan, values.values()))
    outputs = Outputs(None, labels=labels, scores=found, language=True)
    assert all(TASKS["language"].example_values(name, outputs) is None for name in values)


def test_ruled_out_classes_add_nothing_or_are_infinitely_far():
    student, teacher = torch.zeros(2, 3), torch.zeros(2, 3)
    teacher[:, 2] = -torch.inf
    student[0, 2] = student[
        1, 1
    ] = -torch.inf  # a class that the teacher rules out; one that it needs
    scores = token_scores(student, teacher, torch.tensor([2, 0]))
    assert scores.column("kl").tolist() == [0.0, math.inf]
    assert scores.column("accepted").tolist() == pytest.approx([1.0, 0.5])
    assert scores.column("nll")[0] == math.inf


def test_metrics_pool_the_tokens_of_all_texts():
    output, labels = logits(6, 5, 3), torch.tensor([0, 1, 2, 3, 4, 0])
    rows = Rows.counted(torch.tensor([3, 1, 2]))
    nll = nn.functional.cross_entropy(output, labels, reduction="none").double()
    assert Perplexity().of_rows(output, labels, rows) == pytest.approx(nll.mean().exp().item())
    bits = BitsPerByte(lambda ids: "ab" * len(ids))
    assert bits.of_rows(output, labels, rows) == pytest.approx(nll.mean().item() / math.log(2) / 2)
    scores = token_scores(output, None, labels)
    counts = Perplexity().counts(scores, labels, rows)
    assert counts[:, 1].tolist() == [3, 1, 2]
    assert jackknife(counts, Perplexity()).mean().item() == pytest.approx(nll.mean().exp().item())
    assert Perplexity().counts(scores, labels, None).shape == (6, 2)


def test_what_is_no_tokenizer_or_no_table_is_refused():
    with pytest.raises(tl.ArgumentError, match="`tokenizer` must have a method"):
        BitsPerByte("gpt2")
    with pytest.raises(tl.DataError, match="must have a text"):
        BitsPerByte(lambda _: "").of_rows(
            logits(1, 3, 0), torch.tensor([0]), Rows.counted(torch.tensor([1]))
        )
    with pytest.raises(tl.DataError, match=r"must be \[rows, 6\]"):
        TokenScores(torch.zeros(2, 3))
    with pytest.raises(tl.DataError, match="labels must lie from 0 to 2"):
        token_scores(logits(1, 3, 0), None, torch.tensor([3]))
