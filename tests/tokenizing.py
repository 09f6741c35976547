"""Tokenizers made on the spot, for tests with texts."""

import json

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

WORDS = ("the", "cat", "dog", "sat", "ran", "un", "##happy", "##ly", "very")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def tokenizer(pad="[PAD]"):
    """A WordPiece of words and pieces of words."""
    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    found = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    found.pre_tokenizer = pre_tokenizers.Whitespace()
    found.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token=pad, unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", eos_token="[SEP]", model_max_length=16,
    )  # fmt: skip


SIZE = len(SPECIAL) + len(WORDS)


TEXTS = (
    "The year 1234 had 56 weeks and 789 days, they said.",
    "hello world, 😀 says the end of the theatre",
    "numbers 12 34 567 8901 and the years 1234 to 1987",
    "  leading spaces, naïve café, über\n\tand tabs",
    "there is the theatre, and then the others 😀😀",
)


def byte_level(size=340, digits=False, texts=TEXTS, **special):
    """A byte-level BPE as GPT-2 has it; `digits` writes numbers digit by digit."""
    special = special or {"eos_token": "<|end|>"}
    found = Tokenizer(models.BPE())
    single = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    parts = [*single, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    found.pre_tokenizer = pre_tokenizers.Sequence(parts)
    found.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=list(special.values()), show_progress=False,
    )  # fmt: skip
    found.train_from_iterator(list(texts) * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=found, **special)


def sentencepiece(size=140, bos=True, texts=TEXTS, adds_space=True):
    """A BPE as Llama 2 has it: "▁" for spaces, bytes for characters that it does not know."""
    learner = Tokenizer(models.BPE())
    space = [normalizers.Prepend("▁")] if adds_space else []
    normalizer = normalizers.Sequence([*space, normalizers.Replace(" ", "▁")])
    learner.normalizer = normalizer
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("▁", "merged_with_next"), pre_tokenizers.Digits(True)]
    )
    limited = [each.replace("😀", "").replace("ü", "") for each in texts]
    learner.train_from_iterator(
        limited * 3, trainers.BpeTrainer(vocab_size=size, show_progress=False)
    )
    model = json.loads(learner.to_str())["model"]
    special = ["<unk>", "<s>", "</s>"]
    tokens = [*special, *(f"<0x{each:02X}>" for each in range(256)), *model["vocab"]]
    found = Tokenizer(
        models.BPE(
            {each: number for number, each in enumerate(tokens)},
            [tuple(each) for each in model["merges"]],
            byte_fallback=True, unk_token="<unk>", fuse_unk=True,
        )
    )  # fmt: skip
    found.normalizer = normalizer
    found.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    found.add_special_tokens(special)
    if bos:
        found.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=found, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
