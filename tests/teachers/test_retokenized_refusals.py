"""What a teacher with another tokenizer does not take."""

import pytest
import torch
from torch import nn

import tutelage as tl
from language_models import make
from retokenizing import KINDS, batch_of, examples, losses, models, retokenized
from tokenizing import byte_level, tokenizer
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.signals import Batch
from tutelage.teachers import Retokenized


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
    with pytest.raises(ModelError, match=r"got a student or data of another kind"):
        losses(Classifier(), known, tl.AlignedKL(), batch)
    with pytest.raises(ModelError, match=r"ids of texts must be of `student_tokenizer`, below 300"):
        losses(student, retokenized(teacher, ("digits", "digits")), tl.AlignedKL(),
               Batch({"input_ids": torch.tensor([[4, 340, 5]])}))  # fmt: skip
    few = Batch({"input_ids": torch.tensor([[40, 50, 60]])})
    with pytest.raises(ModelError, match=r"must have a logit for each token of its tokenizer"):
        losses(make("Llama", vocab_size=299), known, tl.AlignedKL(), few)
    for other in ("store", make("Bert", vocab_size=300), make("T5", vocab_size=300)):
        with pytest.raises(ModelError, match=r"`teacher` must be a causal language model"):
            Retokenized(other, KINDS["digits"], KINDS["bytes"])
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
