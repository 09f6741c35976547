"""Pairs of tokenizers, small models of them, and a loop over single texts as reference."""

import torch

import tutelage as tl
from language_models import make
from tokenizing import byte_level, sentencepiece
from tutelage.data.collate import collate
from tutelage.objectives import aligned_kl, alm
from tutelage.signals import Batch
from tutelage.teachers import Retokenized

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
