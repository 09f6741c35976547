"""What becomes of real Hugging Face models (tiny, random) when some of their layers are kept."""

import pytest
import torch
import transformers as hf
from torch import nn

from tutelage.errors import ModelError
from tutelage.layers import blocks
from tutelage.students import every_nth_layer, keep_layers

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
WORDS = SMALL | {"vocab_size": 60, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
BART = ENDS | {
    "vocab_size": 60,
    "d_model": 8,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "forced_eos_token_id": None,
}
T5 = ENDS | {"vocab_size": 60, "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 4, "num_heads": 2}
GPT2 = {"n_embd": 8, "n_layer": 4, "n_head": 2, "vocab_size": 60}
VISION = SMALL | {"image_size": 16, "patch_size": 8}
SLIDING = {
    "num_key_value_heads": 2,
    "sliding_window": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}

IDS = {"input_ids": torch.arange(3, 11).reshape(2, 4)}
BOTH = IDS | {"decoder_input_ids": torch.arange(20, 28).reshape(2, 4)}
IMAGES = {"pixel_values": torch.linspace(-1, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)}


def bert():
    return hf.BertForSequenceClassification(hf.BertConfig(**WORDS))


def distilbert():
    config = hf.DistilBertConfig(dim=8, n_layers=4, n_heads=2, hidden_dim=8, vocab_size=60)
    return hf.DistilBertForMaskedLM(config)


def roberta():
    return hf.RobertaForMaskedLM(hf.RobertaConfig(**WORDS))


def gpt2():
    return hf.GPT2LMHeadModel(hf.GPT2Config(**GPT2, bos_token_id=1, eos_token_id=2))


def llama():
    return hf.LlamaForCausalLM(hf.LlamaConfig(**WORDS))


def gemma():
    return hf.Gemma3ForCausalLM(hf.Gemma3TextConfig(**WORDS, **SLIDING, head_dim=4))


def t5():
    return hf.T5ForConditionalGeneration(hf.T5Config(**T5))


def bart():
    return hf.BartForConditionalGeneration(hf.BartConfig(**BART))


def bart_decoder():
    return hf.BartForCausalLM(hf.BartConfig(**BART))


def vit():
    return hf.ViTForImageClassification(hf.ViTConfig(**VISION))


def dinov2():
    return hf.Dinov2ForImageClassification(hf.Dinov2Config(**VISION))


CASES = {
    "bert": (bert, IDS, [1, 3], None),
    "distilbert": (distilbert, IDS, [1, 3], None),
    "roberta": (roberta, IDS, [0, 1, 3], None),
    "gpt2": (gpt2, IDS, [1, 3], None),
    "llama": (llama, IDS, [2], None),
    "gemma3": (gemma, IDS, [0, 3], None),
    "t5 encoder": (t5, BOTH, [0, 3], "encoder.block"),
    "t5 decoder": (t5, BOTH, [0, 2], "decoder.block"),
    "bart encoder": (bart, BOTH, [1, 3], "model.encoder.layers"),
    "bart decoder": (bart, BOTH, [1], "model.decoder.layers"),
    "bart decoder alone": (bart_decoder, IDS, [1, 2], None),
    "vit": (vit, IMAGES, [1, 3], None),
    "dinov2": (dinov2, IMAGES, [1, 3], None),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request):
    """A teacher, its weights and config before, the inputs, what is kept, and the result."""
    build, inputs, kept, path = CASES[request.param]
    torch.manual_seed(0)
    teacher = build().eval()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    config = teacher.config.to_dict()
    return teacher, before, config, inputs, kept, path, keep_layers(teacher, kept, path)


def passed_over(_, args, kwargs, output):
    """Let a block return the hidden states that it got, and whatever else it returns."""
    hidden = args[0] if args else kwargs["hidden_states"]
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


@torch.no_grad()
def logits(model, inputs):
    return model(**inputs).logits


def test_a_loaded_student_has_the_same_outputs(case, tmp_path):
    *_, inputs, _, _, (student, _) = case
    student.save_pretrained(tmp_path)
    loaded, account = type(student).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(account.values())
    assert torch.equal(logits(loaded, inputs), logits(student, inputs))


def test_outputs_equal_the_teachers_with_the_other_blocks_skipped(case):
    teacher, _, _, inputs, kept, path, (student, layer_map) = case
    every = blocks(teacher, path)
    assert list(layer_map) == every[: len(kept)]
    assert list(layer_map.values()) == [every[i] for i in kept]
    left_out = [teacher.get_submodule(block) for block in every if block not in layer_map.values()]
    hooks = [block.register_forward_hook(passed_over, with_kwargs=True) for block in left_out]
    expected = logits(teacher, inputs)
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(logits(student, inputs), expected)


def test_kept_weights_equal_the_teachers_and_the_teacher_is_unchanged(case):
    teacher, before, config, *_, (student, layer_map) = case
    after = teacher.state_dict()
    assert teacher.config.to_dict() == config
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    for name, tensor in student.state_dict().items():
        block = next((ours for ours in layer_map if name.startswith(f"{ours}.")), "")
        original = layer_map[block] + name.removeprefix(block) if block else name
        assert torch.equal(tensor, before[original])


def test_the_config_has_the_new_number_of_layers(case):
    _, _, before, _, kept, path, (student, _) = case
    changed = {
        name: value for name, value in student.config.to_dict().items() if value != before[name]
    }
    counts = {name: value for name, value in changed.items() if isinstance(value, int)}
    assert list(counts.values()) == [len(kept)]
    if path is not None:
        assert ("decoder" in path) == ("decoder" in next(iter(counts)))
    if "layer_types" in changed:
        assert changed["layer_types"] == [before["layer_types"][i] for i in kept]


@pytest.mark.parametrize(
    "case", ["gpt2", "llama", "gemma3", "t5 decoder", "bart encoder", "bart decoder"], indirect=True
)
def test_generation_with_a_cache_equals_that_without(case):
    *_, inputs, _, _, (student, _) = case
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    ids = inputs["input_ids"]
    cached = student.generate(ids, **settings, use_cache=True)
    assert torch.equal(cached, student.generate(ids, **settings, use_cache=False))


def test_layers_have_their_new_position():
    student, layer_map = keep_layers(llama(), [1, 3])
    positions = [student.get_submodule(block).self_attn.layer_idx for block in layer_map]
    assert positions == [0, 1]


def test_every_second_layer_of_bert_is_distilberts_initialization():
    student, layer_map = every_nth_layer(bert())
    assert student.config.num_hidden_layers == 2
    assert layer_map == {
        "bert.encoder.layer.0": "bert.encoder.layer.1",
        "bert.encoder.layer.1": "bert.encoder.layer.3",
    }


def test_the_config_of_a_model_inside_a_module_is_updated_too(tmp_path):
    teacher = nn.ModuleDict({"backbone": bert(), "head": nn.Linear(2, 2)}).eval()
    student, layer_map = keep_layers(teacher, [0, 2])
    assert layer_map["backbone.bert.encoder.layer.1"] == "backbone.bert.encoder.layer.2"
    student["backbone"].save_pretrained(tmp_path)
    loaded = hf.BertForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded, IDS), logits(student["backbone"], IDS))


def test_only_one_side_of_an_encoder_decoder_is_updated(tmp_path):
    side = {"is_decoder": True, "add_cross_attention": True}
    teacher = hf.EncoderDecoderModel(
        encoder=hf.BertModel(hf.BertConfig(**WORDS)),
        decoder=hf.BertLMHeadModel(hf.BertConfig(**WORDS, **side)),
    ).eval()
    student, _ = keep_layers(teacher, [0, 3], "decoder.bert.encoder.layer")
    assert student.config.encoder.num_hidden_layers == 4
    assert student.config.decoder.num_hidden_layers == 2
    student.save_pretrained(tmp_path)
    loaded = hf.EncoderDecoderModel.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded, BOTH), logits(student, BOTH))


def test_a_block_of_another_structure_is_refused_with_what_to_do():
    with pytest.raises(
        ModelError,
        match=r"'encoder.block.0.*relative_attention_bias.weight' must be of shape \[32, 2\], got "
        r"absent; keep another block there \(start=0 .*T5",
    ):
        every_nth_layer(t5(), path="encoder.block")


class Alternating(hf.PreTrainedModel):
    """A model of which every second layer has a setting, but no tensor, of its own."""

    config_class = hf.BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(config.num_hidden_layers))
        for i, layer in enumerate(self.layers):
            layer.local = i % 2 == 1
        self.post_init()


def test_settings_that_depend_on_the_position_are_checked():
    teacher = Alternating(hf.BertConfig(**WORDS))
    with pytest.raises(ModelError, match=r"'layers.1.local' must be True, got False"):
        keep_layers(teacher, [0, 2])
    student, _ = keep_layers(teacher, [0, 3])
    assert student.config.num_hidden_layers == 2


def test_lists_with_a_value_for_each_block_are_updated(tmp_path):
    config = hf.GPTNeoConfig(
        hidden_size=8,
        num_layers=4,
        num_heads=2,
        vocab_size=60,
        attention_types=[[["global", "local"], 2]],
        bos_token_id=1,
        eos_token_id=2,
    )
    student, _ = keep_layers(hf.GPTNeoForCausalLM(config).eval(), [0, 3])
    assert student.config.attention_layers == ["global", "local"]
    student.save_pretrained(tmp_path)
    loaded = hf.GPTNeoForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(logits(loaded, IDS), logits(student, IDS))


def wav2vec2():
    return hf.Wav2Vec2Model(
        hf.Wav2Vec2Config(
            **SMALL | {"num_hidden_layers": 3},
            conv_dim=(8, 8, 8),
            conv_stride=(2, 2, 2),
            conv_kernel=(3, 3, 3),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
        )
    )


def modernbert():
    return hf.ModernBertModel(
        hf.ModernBertConfig(**WORDS | {"num_hidden_layers": 3}, global_attn_every_n_layers=3)
    )


def llama_with_ends():
    config = WORDS | {"num_hidden_layers": 3, "eos_token_id": [1, 2, 3]}
    return hf.LlamaForCausalLM(hf.LlamaConfig(**config))


def qwen2():
    config = WORDS | {"num_hidden_layers": 3, "num_key_value_heads": 2, "max_window_layers": 3}
    return hf.Qwen2ForCausalLM(hf.Qwen2Config(**config))


@pytest.mark.parametrize(
    ("build", "entry"),
    [
        (wav2vec2, "num_feat_extract_layers"),
        (wav2vec2, "conv_dim"),
        (modernbert, "global_attn_every_n_layers"),
        (llama_with_ends, "eos_token_id"),
        (qwen2, "max_window_layers"),
    ],
)
def test_entries_that_equal_the_number_of_blocks_by_chance_stay(build, entry):
    teacher = build()
    student, _ = keep_layers(teacher, [0, 2])
    assert student.config.num_hidden_layers == 2
    assert getattr(student.config, entry) == getattr(teacher.config, entry)


class Four(hf.BertConfig):
    """A config of four layers only."""

    def __init__(self, **settings):
        super().__init__(**settings)
        if self.num_hidden_layers != 4:
            raise ValueError("four layers, please")


def test_a_config_that_rejects_the_new_number_is_refused_with_its_error():
    teacher = hf.BertModel(Four(**WORDS))
    with pytest.raises(ModelError, match=r"as its config describes.*BertModel.*four layers"):
        keep_layers(teacher, [0, 1])


class Uncounted(hf.PreTrainedModel):
    """Its number of blocks is an unknown entry of the config."""

    config_class = hf.BertConfig

    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(config.how_many))
        self.post_init()


def test_a_config_without_a_known_count_is_refused():
    teacher = Uncounted(hf.BertConfig(**WORDS, how_many=4))
    with pytest.raises(ModelError, match=r"'layers.2.weight' must be of shape .*, got absent"):
        keep_layers(teacher, [0, 1])


def test_a_teacher_that_was_changed_after_it_was_built_is_accepted():
    teacher = bert()
    for layer in teacher.bert.encoder.layer:
        layer.adapter = nn.Linear(8, 8)
    student, _ = keep_layers(teacher, [1, 3])
    assert torch.equal(
        student.bert.encoder.layer[0].adapter.weight, teacher.bert.encoder.layer[1].adapter.weight
    )


def test_the_random_state_does_not_change():
    teacher = bert()
    state = torch.get_rng_state()
    keep_layers(teacher, [1, 3])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("dense", "kept", "left"),
    [([1], [1, 3], [0]), ([0, 2, 3], [1, 2], [1]), ([0, 1, 2, 3], [1, 3], [0, 1])],
)
def test_positions_of_special_layers_are_renumbered(dense, kept, left):
    """Qwen2-MoE lists which layers have no experts by their positions, be there few or all."""
    config = hf.Qwen2MoeConfig(
        **WORDS, num_key_value_heads=2, mlp_only_layers=dense, num_experts=2, num_experts_per_tok=1,
        moe_intermediate_size=4, shared_expert_intermediate_size=4,
    )  # fmt: skip
    student, _ = keep_layers(hf.Qwen2MoeForCausalLM(config), kept)
    student(**IDS)
    assert student.config.mlp_only_layers == left
