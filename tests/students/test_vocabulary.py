"""Models and tokenizers without the tokens that some texts do not need."""

import copy
import json
from functools import cache

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch import nn
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

import tutelage as tl
from tutelage.students import prune_vocabulary

CORPUS = [
    "the teacher shows the student which classes a thing resembles and which it does not",
    "a student learns from the probabilities of its teacher more than from labels alone",
    "temperature decides how far the student heeds small probabilities; classification becomes "
    "regression of the logits",
    "Üben, üben: 1234 Schüler lernen 5678 Wörter 😀 in tausend Stunden",
]
TASK = ["the student learns from the teacher", "a teacher shows labels"]
OTHER = "Schüler 😀 resembles nothing, 42!"


def trained(tokenizer, trainer, **names):
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


@cache
def byte_level():
    """As GPT-2's, Llama 3's and SmolLM2's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    return trained(tokenizer, trainer, bos_token="<s>", eos_token="</s>")


@cache
def byte_fallback():
    """As Llama 2's and Gemma's."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<unk>", "<s>", *bytes_],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz▁"), limit_alphabet=40,
    )  # fmt: skip
    return trained(tokenizer, trainer, unk_token="<unk>", bos_token="<s>")


@cache
def every_pair():
    """As Llama 2's, of sentencepiece: every pair of tokens that makes a token is a merge."""
    content = json.loads(byte_fallback().backend_tokenizer.to_str())
    known = content["model"]["vocab"]
    content["model"]["merges"] = [
        pair
        for token in sorted(known, key=known.__getitem__)
        for pair in sorted(
            ([token[:at], token[at:]] for at in range(1, len(token)) if token[0] != "<"),
            key=lambda pair: [known.get(each, -1) for each in pair],
        )
        if {*pair} <= known.keys()
    ]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>")


@cache
def word_piece():
    """As BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=names)
    tokenizer.train_from_iterator(CORPUS * 3, trainer)
    ends = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=ends
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip


@cache
def unigram():
    """As T5's."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=220, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return trained(tokenizer, trainer, **names)


TOKENIZERS = [byte_level, byte_fallback, every_pair, word_piece, unigram]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2}


def llama(tokenizer, **more):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer) + 5, num_hidden_layers=2, num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, **SIZES, **more,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def gpt2(tokenizer):
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def bert(tokenizer, kind=BertForMaskedLM):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, pad_token_id=tokenizer.pad_token_id, **SIZES
    )
    model = kind(config).eval()
    if kind is BertForMaskedLM:  # the head has a bias for each token
        model.cls.predictions.bias.data.normal_()
    return model


def t5(tokenizer):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def gemma(tokenizer):
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, head_dim=8, num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=1, pad_token_id=0, **SIZES,
    )  # fmt: skip
    return Gemma3ForCausalLM(config).eval()


PAIRS = [
    (byte_level, llama),
    (byte_level, lambda tokenizer: llama(tokenizer, tie_word_embeddings=True)),
    (byte_level, gpt2),
    (byte_fallback, gemma),
    (word_piece, bert),
    (unigram, t5),
]
NAMES = ["llama", "llama tied", "gpt2", "gemma", "bert", "t5"]


def ids_of(tokenizer, text):
    return tokenizer(text)["input_ids"]


@pytest.mark.parametrize("make", TOKENIZERS)
class TestTokenizers:
    def test_texts_whose_tokens_are_left_are_encoded_as_before(self, make):
        tokenizer = make()
        pruned = prune_vocabulary(embedded(tokenizer), tokenizer, TASK)
        assert len(pruned.ids) < len(tokenizer)
        assert len(pruned.tokenizer) == len(pruned.ids)
        for text in TASK:
            assert pruned.ids[ids_of(pruned.tokenizer, text)].tolist() == ids_of(tokenizer, text)

    def test_every_other_text_is_still_encoded(self, make):
        """And decoded to what it was, where the whole tokenizer does so too."""
        tokenizer = make()
        pruned = prune_vocabulary(embedded(tokenizer), tokenizer, TASK)
        for text in (OTHER, *CORPUS):
            found, before = ids_of(pruned.tokenizer, text), ids_of(tokenizer, text)
            assert len(found) >= len(before)
            whole = tokenizer.decode(before, skip_special_tokens=True)
            assert pruned.tokenizer.decode(found, skip_special_tokens=True) == whole

    def test_the_most_frequent_tokens_are_left(self, make):
        tokenizer = make()
        base = len(prune_vocabulary(embedded(tokenizer), tokenizer, ["a"]).ids)
        pruned = prune_vocabulary(embedded(tokenizer), tokenizer, CORPUS, keep=base + 12)
        assert base < len(pruned.ids) <= base + 12
        with pytest.raises(tl.ArgumentError, match="`keep` must leave the"):
            prune_vocabulary(embedded(tokenizer), tokenizer, CORPUS, keep=3)

    def test_saved_and_loaded(self, make, tmp_path):
        tokenizer = make()
        pruned = prune_vocabulary(embedded(tokenizer), tokenizer, TASK)
        pruned.tokenizer.save_pretrained(tmp_path)
        again = AutoTokenizer.from_pretrained(tmp_path)
        for text in (*TASK, OTHER):
            assert ids_of(again, text) == ids_of(pruned.tokenizer, text)
        assert again.all_special_ids == pruned.tokenizer.all_special_ids

    def test_the_tokenizer_is_not_changed(self, make):
        tokenizer = make()
        before = tokenizer.backend_tokenizer.to_str()
        prune_vocabulary(embedded(tokenizer), tokenizer, TASK)
        assert tokenizer.backend_tokenizer.to_str() == before

    @given(st.text(max_size=40))
    def test_any_text(self, make, text):
        """If all its tokens are left, nothing changes."""
        tokenizer, pruned = make(), pruned_once(make)
        whole = ids_of(tokenizer, text)
        if {*whole} <= {*pruned.ids.tolist()}:
            assert pruned.ids[ids_of(pruned.tokenizer, text)].tolist() == whole
        else:
            assert ids_of(pruned.tokenizer, text)


def embedded(tokenizer):
    """A model for any of the tokenizers."""
    torch.manual_seed(0)
    pad = tokenizer.pad_token_id
    config = BertConfig(vocab_size=len(tokenizer), num_hidden_layers=1, pad_token_id=pad, **SIZES)
    return BertForSequenceClassification(config).eval()


def test_a_token_keeps_the_pair_that_makes_it_in_a_text():
    """Here "▁the" is made of "▁t" and "he", though "▁" and "the" come first in the merges."""
    tokenizer, text = every_pair(), "tausend the classes"
    pruned = prune_vocabulary(embedded(tokenizer), tokenizer, [text, "of Üben,"])
    assert pruned.ids[ids_of(pruned.tokenizer, text)].tolist() == ids_of(tokenizer, text)


@cache
def pruned_once(make):
    return prune_vocabulary(embedded(make()), make(), [*TASK, "thing 12"])


@pytest.mark.parametrize(("make", "build"), PAIRS, ids=NAMES)
class TestModels:
    def test_logits_are_those_of_the_tokens_that_are_left(self, make, build):
        tokenizer = make()
        model = build(tokenizer)
        pruned = prune_vocabulary(model, tokenizer, TASK)
        ids = torch.tensor([ids_of(pruned.tokenizer, OTHER)])
        more = {"decoder_input_ids": ids} if build is t5 else {}
        whole = {name: pruned.ids[value] for name, value in more.items()}
        with torch.no_grad():
            expected = model(input_ids=pruned.ids[ids], **whole).logits[..., pruned.ids]
            found = pruned.model(input_ids=ids, **more).logits
        torch.testing.assert_close(found, expected)
        assert found.shape[-1] == len(pruned.ids) == pruned.model.config.vocab_size

    def test_saved_loaded_and_generating(self, make, build, tmp_path):
        tokenizer = make()
        pruned = prune_vocabulary(build(tokenizer), tokenizer, TASK)
        pruned.model.save_pretrained(tmp_path)
        again = type(pruned.model).from_pretrained(tmp_path).eval()
        ids = torch.tensor([ids_of(pruned.tokenizer, TASK[0])])
        more = {"decoder_input_ids": ids} if build is t5 else {}
        with torch.no_grad():
            ours, theirs = (each(input_ids=ids, **more).logits for each in (again, pruned.model))
        torch.testing.assert_close(ours, theirs)
        if build is not bert:
            text = again.generate(ids, max_new_tokens=4, do_sample=False)
            assert int(text.max()) < len(pruned.ids)

    def test_special_ids_have_new_numbers(self, make, build):
        tokenizer = make()
        model = build(tokenizer)
        pruned = prune_vocabulary(model, tokenizer, TASK)
        for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"):
            before, now = (getattr(each.config, name, None) for each in (model, pruned.model))
            assert (before is None) == (now is None)
            assert now is None or int(pruned.ids[now]) == before

    def test_the_model_is_not_changed(self, make, build):
        model = build(make())
        before = copy.deepcopy(model.state_dict())
        prune_vocabulary(model, make(), TASK)
        assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())
        assert model.config.vocab_size == model.get_input_embeddings().num_embeddings


def test_tokens_that_are_not_written_have_their_new_ids():
    tokenizer = byte_level()
    model = llama(tokenizer)
    student, gone = tokenizer("student")["input_ids"][-1], tokenizer("classification")["input_ids"]
    settings = model.generation_config
    settings.suppress_tokens, settings.bad_words_ids = [student, gone[-1]], [[student], gone]
    pruned = prune_vocabulary(model, tokenizer, TASK)
    [new] = (pruned.ids == student).nonzero().flatten().tolist()
    assert gone[-1] not in pruned.ids
    found = pruned.model.generation_config
    assert (found.suppress_tokens, found.bad_words_ids) == ([new], [[new]])
    assert settings.suppress_tokens == [student, gone[-1]]


def test_a_student_of_the_smaller_teacher_learns(tmp_path):
    tokenizer = byte_level()
    teacher, smaller, _ = prune_vocabulary(llama(tokenizer), tokenizer, TASK)
    student = tl.students.every_nth_layer(teacher, 2).student
    data = [{"input_ids": ids_of(smaller, text)} for text in TASK * 3]
    run = tl.distill(
        teacher, student, train=data, objective=tl.SoftTargets(1), epochs=2, batch_size=3,
        out=tmp_path,
    )  # fmt: skip
    first, last = (run.history[each]["train/soft_targets"] for each in (0, -1))
    assert last < first


class TestRefused:
    def test_no_texts(self):
        with pytest.raises(tl.ArgumentError, match="must have tokens to keep"):
            prune_vocabulary(llama(byte_level()), byte_level(), [])
        with pytest.raises(tl.ArgumentError, match="must be a list of strings"):
            prune_vocabulary(llama(byte_level()), byte_level(), TASK[0])

    def test_other_models(self):
        with pytest.raises(tl.ModelError, match=r"with an nn\.Embedding"):
            prune_vocabulary(nn.Linear(2, 2), byte_level(), TASK)

    def test_other_tokenizers(self):
        with pytest.raises(tl.ArgumentError, match="must be a fast tokenizer"):
            prune_vocabulary(llama(byte_level()), str.split, TASK)
        few = llama(byte_level())
        few.resize_token_embeddings(50)
        with pytest.raises(tl.ModelError, match="an embedding for each"):
            prune_vocabulary(few, byte_level(), TASK)

    def test_a_part_that_is_not_known(self):
        """Such as a bias of each token that the model adds itself."""

        class Biased(LlamaForCausalLM):
            def __init__(self, config):
                super().__init__(config)
                self.extra = nn.Parameter(torch.randn(config.vocab_size))

            def forward(self, *args, **kwargs):
                found = super().forward(*args, **kwargs)
                found.logits = found.logits + self.extra[: found.logits.shape[-1]]
                return found

        model = Biased(llama(byte_level()).config).eval()
        with pytest.raises(tl.ModelError, match="must return the same for the same tokens"):
            prune_vocabulary(model, byte_level(), TASK)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_not_taken_for_one(self, dtype):
        """An output layer of another size may round the other way, as on GPUs."""

        class Rounded(LlamaForCausalLM):
            def forward(self, *args, **kwargs):
                found = super().forward(*args, **kwargs)
                if found.logits.shape[-1] == self.config.vocab_size < whole.vocab_size:
                    found.logits = torch.nextafter(found.logits, torch.full_like(found.logits, 9))
                return found

        whole = llama(byte_level()).config
        model = Rounded(whole).to(dtype).eval()
        model.lm_head.weight.data.mul_(100)
        assert prune_vocabulary(model, byte_level(), TASK).model.dtype == dtype
