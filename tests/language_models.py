"""Small language models of transformers, made from their configs, and batches for them."""

import torch
import transformers

VOCABULARY = 64
_SMALL = {"num_hidden_layers": 2, "num_attention_heads": 2}
_GROUPED = {**_SMALL, "num_key_value_heads": 2}


def make(name, width=16, seed=0, **settings):
    """Return a model by its class's name, such as `"Llama"`, with weights of a seed."""
    settings = {"vocab_size": VOCABULARY, **_SETTINGS[name](width), **settings}
    kind = "ForConditionalGeneration" if name in ("T5", "Bart") else _KINDS.get(name, "ForCausalLM")
    config = getattr(transformers, f"{name}Config")(**settings)
    torch.manual_seed(seed)
    return getattr(transformers, name + kind)(config).eval()


_KINDS = {"GPT2": "LMHeadModel", "Bert": "ForMaskedLM"}
_SETTINGS = {
    "Llama": lambda h: {"hidden_size": h, "intermediate_size": h, **_GROUPED},
    "GPT2": lambda h: {
        "n_embd": h, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 1,
        "eos_token_id": 2, "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
    },
    "Gemma": lambda h: {"hidden_size": h, "intermediate_size": h, "head_dim": 8, **_GROUPED},
    "Gemma2": lambda h: {
        "hidden_size": h, "intermediate_size": h, "head_dim": 8, "final_logit_softcapping": 3.0,
        **_GROUPED,
    },
    "Cohere": lambda h: {
        "hidden_size": h, "intermediate_size": h, "logit_scale": 0.25, "pad_token_id": 0,
        "bos_token_id": 1, "eos_token_id": 2, **_GROUPED,
    },
    "Granite": lambda h: {
        "hidden_size": h, "intermediate_size": h, "logits_scaling": 4.0, **_GROUPED,
    },
    "T5": lambda h: {
        "d_model": h, "d_ff": h, "num_layers": 1, "num_heads": 2, "d_kv": 8,
        "decoder_start_token_id": 0, "dropout_rate": 0.0,
    },
    "Bart": lambda h: {
        "d_model": h, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": h, "decoder_ffn_dim": h,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2,
        "dropout": 0.0,
    },
    "Bert": lambda h: {"hidden_size": h, "intermediate_size": h, **_SMALL},
}  # fmt: skip


def texts(number=6, longest=9, seed=0):
    """Return examples of several lengths, each with a prompt that is not learned."""
    generator = torch.Generator().manual_seed(seed)
    examples = []
    for place in range(number):
        length = 3 + (place * 5) % (longest - 2)
        ids = torch.randint(3, VOCABULARY, (length,), generator=generator)
        labels = ids.clone()
        labels[: length // 3] = -100
        examples.append({"input_ids": ids, "labels": labels})
    return examples


def padded(examples, left=False, pad=0):
    """Return a batch of examples as a dict, padded by hand."""
    longest = max(len(each["input_ids"]) for each in examples)
    batch = {key: [] for key in ("input_ids", "attention_mask", "labels")}
    for each in examples:
        room = longest - len(each["input_ids"])
        mask = torch.ones_like(each["input_ids"])
        fills = {"input_ids": pad, "attention_mask": 0, "labels": -100}
        for key, fill in fills.items():
            values = mask if key == "attention_mask" else each[key]
            extra = torch.full((room,), fill)
            batch[key].append(torch.cat([extra, values] if left else [values, extra]))
    return {key: torch.stack(values) for key, values in batch.items()}
