"""A language model with another tokenizer as a teacher, against loops over single texts."""

import pytest
import torch
import torch.nn.functional as F

import tutelage as tl
from language_models import make
from retokenizing import (
    KINDS,
    PAIRS,
    PLAIN,
    batch_of,
    close,
    examples,
    gradients,
    losses,
    models,
    reference,
    retokenized,
)
from tokenizing import TEXTS
from tutelage import heads
from tutelage.errors import ArgumentError
from tutelage.layers.language import shift_labels_for
from tutelage.signals import Batch
from tutelage.wants import Fields


@pytest.mark.parametrize("objective", [tl.AlignedKL(), tl.ALM()], ids=str)
@pytest.mark.parametrize(
    ("pair", "least", "prompt"),
    [*((pair, 1, 3) for pair in PAIRS), (PAIRS[0], None, 0), (PAIRS[2], 1, 0), (PAIRS[4], None, 3)],
    ids=str,
)
def test_values_and_gradients_are_those_of_loops_over_texts(pair, objective, least, prompt):
    student, teacher = models(*pair)
    name = "alm" if isinstance(objective, tl.ALM) else "aligned_kl"
    texts = [each for each in PLAIN if len(KINDS[pair[0]](each)["input_ids"]) > max(prompt, 1)]
    found = losses(
        student, retokenized(teacher, pair), objective,
        batch_of(examples(pair[0], texts, prompt)), least,
    ).total  # fmt: skip
    expected = reference(student, teacher, pair, texts, prompt, name)
    assert expected > 1e-6
    close(found, expected)
    both = zip(gradients(found, student), gradients(expected, student), strict=True)
    for ours, theirs in both:
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "least", "prompt"),
    [*((kind, 1, 4) for kind in KINDS), ("bytes", None, 0), ("fallback", None, 4)],
)
def test_equal_tokenizers_are_soft_targets(kind, least, prompt):
    student, teacher = models(kind, kind)
    data = examples(kind, TEXTS, prompt, end=True)
    batch, known = batch_of(data), retokenized(teacher, (kind, kind))
    for wrapped in (lambda each: each, tl.RowMean):
        ours = losses(student, known, wrapped(tl.AlignedKL()), batch, least)
        plain = losses(student, teacher, wrapped(tl.SoftTargets(1)), batch, least)
        torch.testing.assert_close(ours.total, plain.total, rtol=1e-6, atol=1e-6)
        assert ours.counts == plain.counts
        both = zip(*(gradients(each.total, student) for each in (ours, plain)), strict=True)
        for one, other in both:
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_padding_and_packing_change_nothing(pair):
    student, teacher = models(*pair)
    data, known = examples(pair[0], TEXTS, prompt=2, end=True), retokenized(teacher, pair)
    objective = tl.RowMean(tl.AlignedKL() + 0.1 * tl.ALM())
    expected = losses(student, known, objective, batch_of(data)).total
    batch = batch_of(data)
    longest = batch.labels.shape[1]
    left = [
        {
            "input_ids": F.pad(each["input_ids"], (longest - len(each["labels"]), 0), value=9),
            "labels": F.pad(each["labels"], (longest - len(each["labels"]), 0), value=-100),
            "attention_mask": (torch.arange(longest) >= longest - len(each["labels"])).long(),
        }
        for each in data
    ]
    close(losses(student, known, objective, batch_of(left)).total, expected)
    ids, labels = (torch.cat([each[key] for each in data]) for key in ("input_ids", "labels"))
    positions = torch.cat([torch.arange(len(each["labels"])) for each in data])
    packed = Batch({"input_ids": ids[None], "position_ids": positions[None]}, labels[None])
    targets = asked(known, packed, student)
    several = [asked(known, batch_of([each]), student) for each in data]
    for name in ("tokens", "likelihood"):
        joined = torch.cat([getattr(each, name) for each in several])
        close(getattr(targets, name), joined)
    close(targets.logits, torch.cat([each.logits for each in several]))


def asked(teacher, batch, student):
    return teacher.signals(shift_labels_for(batch, student), Fields(output=True)).output


def test_the_end_of_a_text_is_learned():
    pair = ("bytes", "fallback")
    student, teacher = models(*pair)
    known = retokenized(teacher, pair)
    targets = asked(known, batch_of(examples("bytes", PLAIN[:1], end=True)), student)
    end = KINDS["bytes"].eos_token_id
    assert targets.tokens[-1] == end
    assert targets.shared[-1] == len(targets.logits) - 1 >= 0
    assert targets.whole[-1]
    ids = [*KINDS["fallback"](PLAIN[0])["input_ids"], KINDS["fallback"].eos_token_id]
    log_p = teacher(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
    close(targets.likelihood[-1], log_p[-2, ids[-1]])


def test_logits_are_made_for_some_rows_at_a_time(monkeypatch):
    pair = ("bytes", "fallback")
    student, teacher = models(*pair)
    batch = batch_of(examples("bytes", TEXTS))
    expected = losses(student, retokenized(teacher, pair), tl.AlignedKL(), batch, least=1).total
    sizes, whole = [], heads.HeadLogits.logits

    def noted(head):
        found = whole(head)
        sizes.append(found.numel())
        return found

    monkeypatch.setattr(heads, "_LOGITS_AT_ONCE", {"cpu": 800})
    monkeypatch.setattr(heads.HeadLogits, "logits", noted)
    found = losses(student, retokenized(teacher, pair), tl.AlignedKL(), batch, least=1).total
    close(found, expected)
    assert len(sizes) > 10
    assert max(sizes) <= 800


def test_a_text_of_one_token_and_one_without_spans_teach_nothing():
    pair = ("bytes", "digits")
    student, teacher = models(*pair)
    single = [{"input_ids": torch.tensor([5])}, {"input_ids": torch.tensor([7])}]
    for least in (None, 1):
        found = losses(student, retokenized(teacher, pair), tl.AlignedKL(), batch_of(single), least)
        assert found.total.item() == 0
    data = [*single, *examples("bytes", PLAIN[:1])]
    for each in data:
        each.pop("labels", None)
    assert losses(student, retokenized(teacher, pair), tl.AlignedKL(), batch_of(data)).total > 0


def test_a_longer_text_than_the_teachers_context_is_cut():
    pair = ("bytes", "digits")
    student, teacher = models(*pair)
    data = batch_of(examples("bytes", PLAIN[:1]))
    whole = asked(retokenized(teacher, pair), data, student)
    cut = asked(retokenized(teacher, pair, max_length=6), data, student)
    assert 0 < len(cut.likelihood) < len(whole.likelihood)
    close(cut.likelihood, whole.likelihood[: len(cut.likelihood)])
    assert (cut.spans == -1).any()
    with pytest.raises(ArgumentError, match="max_length"):
        retokenized(teacher, pair, max_length=1)


def test_a_character_cut_in_two_is_left_out():
    pair = ("bytes", "fallback")
    student, teacher = models(*pair)
    ids = KINDS["bytes"]("the end of €")["input_ids"]
    whole, cut = (
        asked(retokenized(teacher, pair), batch_of([{"input_ids": torch.tensor(ids[:last])}]),
              student)
        for last in (None, -1)
    )  # fmt: skip
    assert len(cut.likelihood) < len(whole.likelihood)
    assert cut.spans.tolist() == [0, 1, -1, -1, -1]


def test_a_student_learns_from_a_teacher_with_another_tokenizer(tmp_path):
    pair = ("digits", "bytes")
    student, teacher = models(*pair)
    data = examples("digits", TEXTS, end=True)
    tl.fit(teacher, train=examples("bytes", TEXTS, end=True), objective=tl.HardLabels(), epochs=12,
           batch_size=5, optimizer=lambda each: torch.optim.Adam(each, 3e-3),
           engine=tl.Engine(progress=False))  # fmt: skip
    before = tl.evaluation.perplexity(student, data)
    run = tl.distill(
        retokenized(teacher, pair), student, train=data, val=data, objective=tl.AlignedKL(),
        epochs=12, batch_size=5, optimizer=lambda each: torch.optim.Adam(each, 1e-2),
        engine=tl.Engine(progress=False), out=tmp_path / "run",
    )  # fmt: skip
    values = [each["val/loss"] for each in run.history if "val/loss" in each]
    assert values[-1] < 0.5 * values[0]
    assert tl.evaluation.perplexity(run.student, data) < 0.5 * before  # without any label


def test_a_student_may_write_tokens_that_no_tokenizer_has():
    """Where its embeddings are more than its tokenizer's tokens."""
    student = make("Llama", vocab_size=len(KINDS["bytes"]) + 200, eos_token_id=2)
    _, teacher = models("bytes", "fallback")
    prompts = [{"input_ids": each["input_ids"][:4]} for each in examples("bytes")]
    run = tl.distill(
        retokenized(teacher, ("bytes", "fallback")), student, objective=tl.RowMean(tl.AlignedKL()),
        train=tl.OnPolicy(prompts, share=1, max_new_tokens=8), epochs=2, batch_size=4,
        engine=tl.Engine(progress=False),
    )  # fmt: skip
    assert run.history[-1]["train/loss"] > 0


def test_fingerprints_are_of_tokenizers_and_model():
    one, other = models("bytes", "digits")
    known = {
        retokenized(other, ("bytes", "digits")).fingerprint(),
        retokenized(other, ("digits", "digits")).fingerprint(),
        retokenized(one, ("bytes", "bytes")).fingerprint(),
        retokenized(other, ("bytes", "digits"), max_length=9).fingerprint(),
        retokenized(other, ("bytes", "digits"), special_tokens={"<|end|>": None}).fingerprint(),
    }
    assert len(known) == 5
    again = retokenized(models("bytes", "digits")[1], ("bytes", "digits"))
    assert again.fingerprint() in known
    assert repr(again) == "Retokenized(300 strings shared of 360 and 300 tokens)"
