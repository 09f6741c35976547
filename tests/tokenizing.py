"""A tokenizer of words and pieces of words, without a network, for tests with texts."""

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

WORDS = ("the", "cat", "dog", "sat", "ran", "un", "##happy", "##ly", "very")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


def tokenizer(pad="[PAD]"):
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
