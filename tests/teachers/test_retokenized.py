"""A language model with another tokenizer as a teacher, against loops over single texts."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tutelage as tl
from language_models import make
from tokenizing import TEXTS, byte_level, sentencepiece, tokenizer
from tutelage import heads
from tutelage.data.collate import collate
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.layers.language import as_asked
from tutelage.objectives import aligned_kl, alm
from tutelage.signals import Batch
from tutelage.teachers import Retokenized
from tutelage.teachers import retokenized as module
from tutelage.wants import Fields

KINDS = {
    "bytes": byte_level(360),
    "digits": byte_level(300, digits=True),
    "fallback": sentencepiece(),
    "no beginning": sentencepiece(bos=False),
}
PAIRS = [("bytes", "digits"), ("digits", "bytes"), ("bytes", "fallback"), ("fallback", "bytes"),
         ("fallback", "no beginning"), ("no beginning", "fallback")]  # fmt: skip
PLAIN = ("The years 1234 and 567", "the end of the theatre, they said.", "hello", "numbers 12 34")
"""In ASCII, so that the tokenizers' own offsets tell where tokens meet."""


def model(kind, width, seed):
    found = make("Llama", width, seed, vocab_size=len(KINDS[kind]))
    with torch.no_grad():
        found.lm_head.weight *= 8  # so that some tokens are much more probable than others
    return found


def models(student, teacher):
    return model(student, 16, 1), model(teacher, 32, 2)


def examples(kind, texts=PLAIN, prompt=0, end=False):
    made, found = KINDS[kind], []
    for text in texts:
        ids = torch.tensor(made(text)["input_ids"] + [made.eos_token_id] * end)
        labels = ids.clone()
        labels[:prompt] = -100
        found.append({"input_ids": ids, "labels": labels})
    return found


def batch_of(data):
    return Batch.of(collate([dict(each) for each in data]))


def retokenized(teacher, pair, **settings):
    return Retokenized(teacher, KINDS[pair[1]], KINDS[pair[0]], **settings)


def losses(student, teacher, objective, batch, least=None):
    return tl.Distiller(student, teacher, objective, least)(batch)


def ends(kind, text):
    """Return the tokens of a text, and the position at which each ends."""
    made = KINDS[kind]
    found = made(text, return_offsets_mapping=True)
    covered, last = [], 0
    for number, (_, end) in zip(found["input_ids"], found["offset_mapping"], strict=True):
        added = kind in ("fallback", "no beginning") and last == 0 and end == 1
        last = 0 if added and made.convert_ids_to_tokens(number) == "▁" else max(last, end)
        covered.append(last)
    return found["input_ids"], covered


def reference(student, teacher, pair, texts=PLAIN, prompt=0, objective="aligned_kl"):
    """The mean over texts of the sum over spans divided by the learned tokens."""
    weight = 100 if objective == "aligned_kl" else 1
    values, known = [], Retokenized(teacher, KINDS[pair[1]], KINDS[pair[0]]).vocabularies
    for text in texts:
        (ours, own_ends), (theirs, their_ends) = (ends(kind, text) for kind in pair)
        if pair == ("fallback", "no beginning"):  # the student's own beginning is the teacher's too
            theirs, their_ends = [ours[0], *theirs], [0, *their_ends]
        log_q, log_p = (
            each(input_ids=torch.tensor([ids])).logits[0].log_softmax(1)
            for each, ids in ((student, ours), (teacher, theirs))
        )
        total, meeting = log_q.new_zeros(()), sorted({*own_ends} & {*their_ends} - {0})
        before = 0
        for end in meeting:
            mine, others = (
                [place for place, last in enumerate(covered)
                 if before < last <= end or (last == before == 0 and before < end
                                             and token_is_space(kind, ids[place]))]
                for kind, ids, covered in zip(pair, (ours, theirs), (own_ends, their_ends),
                                              strict=True)
            )  # fmt: skip
            before = end
            if mine[0] == 0 or others[0] == 0 or mine[0] < max(prompt, 1):
                continue
            q = sum(log_q[place - 1, ours[place]] for place in mine)
            p = sum(log_p[place - 1, theirs[place]] for place in others)
            alike = known.same(ours[mine[0]], theirs[others[0]]).item()
            if objective == "aligned_kl" and alike:
                rows = log_q[mine[0] - 1 : mine[0]], log_p[others[0] - 1 : others[0]]
                total = total + aligned_kl(*rows, known.cells)[0]
            if objective == "alm" or not (alike and len(mine) == len(others) == 1):
                total = total + alm(q[None], p.detach()[None], 100.0)[0] * weight
        learned = len(ours) - max(prompt, 1)
        if learned > 0:
            values.append(total / learned)
    return sum(values) / len(values)


def token_is_space(kind, number):
    return KINDS[kind].convert_ids_to_tokens(number) == "▁"


def close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-6)


def gradients(total, student):
    return torch.autograd.grad(total, list(student.parameters()), allow_unused=True)


@pytest.mark.parametrize("prompt", [0, 3])
@pytest.mark.parametrize("least", [None, 1], ids=["logits", "head"])
@pytest.mark.parametrize("objective", [tl.AlignedKL(), tl.ALM()], ids=str)
@pytest.mark.parametrize("pair", PAIRS, ids=str)
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


@pytest.mark.parametrize("prompt", [0, 4])
@pytest.mark.parametrize("least", [None, 1], ids=["logits", "head"])
@pytest.mark.parametrize("kind", KINDS)
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
    return teacher.signals(as_asked(batch, student), Fields(output=True)).output


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
    monkeypatch.setattr(module, "_AT_ONCE", 800)
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


class Classifier(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        return torch.ones(len(input_ids), 3)


def test_what_does_not_fit_is_refused(tmp_path):
    pair = ("bytes", "digits")
    student, teacher = models(*pair)
    batch, known = batch_of(examples("bytes")), retokenized(teacher, pair)
    for least in (None, 1):
        with pytest.raises(ModelError, match=r"another tokenizer.*tl.AlignedKL or tl.ALM"):
            losses(student, known, tl.SoftTargets(1) + tl.AlignedKL(), batch, least)
        with pytest.raises(ModelError, match=r"reads the student's tokens; give tl.teachers.Reto"):
            losses(student, models("bytes", "bytes")[1], tl.AlignedKL(), batch, least)
    with pytest.raises(ModelError, match=r"combined or stored"):
        tl.label(known, examples("bytes"), out=tmp_path, engine=tl.Engine(progress=False))
    with pytest.raises(ModelError, match=r"combined or stored"):
        losses(student, [known, known], tl.AlignedKL(), batch)
    with pytest.raises(ModelError, match=r"layers of a teacher with another tokenizer"):
        tl.Distiller(student, known, tl.FeatureMatch({"model.norm": "model.norm"}))
    with pytest.raises(ModelError, match=r"got a student or data of another kind"):
        losses(Classifier(), known, tl.AlignedKL(), batch)
    with pytest.raises(ModelError, match=r"ids of texts must be of `student_tokenizer`, below 300"):
        losses(student, retokenized(teacher, ("digits", "digits")), tl.AlignedKL(),
               Batch({"input_ids": torch.tensor([[4, 340, 5]])}))  # fmt: skip
    few = Batch({"input_ids": torch.tensor([[40, 50, 60]])})
    with pytest.raises(ModelError, match=r"must have a logit for each token of its tokenizer"):
        losses(make("Llama", vocab_size=299), known, tl.AlignedKL(), few)
    with pytest.raises(ModelError, match=r"a logit for each token of `tokenizer`|refused"):
        losses(student, Retokenized(make("Llama"), KINDS["digits"], KINDS["bytes"]),
               tl.AlignedKL(), batch)  # fmt: skip
    for other in ("store", make("Bert", vocab_size=300), make("T5", vocab_size=300)):
        with pytest.raises(ModelError, match=r"`teacher` must be a causal language model"):
            Retokenized(other, KINDS["digits"], KINDS["bytes"])
    with pytest.raises(ArgumentError, match=r"another tokenizer; leave out Selective"):
        tl.Selective(tl.AlignedKL())
    with pytest.raises(ArgumentError, match=r"`student_tokenizer` must be a byte-level BPE"):
        Retokenized(teacher, KINDS["digits"], tokenizer())
    special = byte_level(360, eos_token="<|end|>", pad_token="<|turn|>")
    turns = Batch({"input_ids": torch.tensor([special("the")["input_ids"] + [1, 66]])})
    known = Retokenized(teacher, KINDS["digits"], special)
    with pytest.raises(DataError, match=r"special token in a text must have one"):
        losses(make("Llama", vocab_size=len(special)), known, tl.AlignedKL(), turns)


def test_tokens_of_two_tokenizers_are_never_paired_by_position():
    """Without Retokenized: other vocabularies, and tokenizers of equal size that are known."""
    student, teacher = models("bytes", "digits")
    with pytest.raises(ModelError, match=r"same number of classes, got 360.*300.*Retokenized"):
        losses(student, teacher, tl.SoftTargets(1), Batch({"input_ids": torch.ones(1, 4).long()}))
    one = byte_level(300, pad_token="<|end|>")
    other = byte_level(300, digits=True, pad_token="<|end|>")
    assert len(one) == len(other)
    both = [
        tl.layers.Prepared(make("Llama", seed=seed, vocab_size=300), tl.layers.TextInputs(each, 32))
        for seed, each in enumerate((one, other))
    ]
    with pytest.raises(ModelError, match=r"different tokenizers, of 300 .student. and 300"):
        tl.Distiller(*both, tl.SoftTargets(1))
    tl.Distiller(both[0], tl.layers.Prepared(make("Llama", vocab_size=300),
                 tl.layers.TextInputs(one, 32)), tl.SoftTargets(1))  # fmt: skip
    tl.Distiller(*both, tl.CKA({"model.norm": "model.norm"}))  # whose outputs are not compared
