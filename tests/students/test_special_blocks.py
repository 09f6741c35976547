"""Models of transformers whose first block is special, or whose blocks are in stages."""

import pytest
import torch
import transformers as hf

from tutelage.errors import ArgumentError, ModelError
from tutelage.students import every_nth_layer, keep_layers

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 6, "vocab_size": 50}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}


def t5():
    config = hf.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=24, num_layers=6, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return hf.T5EncoderModel(config)


SPECIAL = {
    "T5": (t5, "encoder.block", "relative_attention_bias"),
    "ModernBERT": (
        lambda: hf.ModernBertModel(
            hf.ModernBertConfig(**SMALL, **TOKENS, sep_token_id=2, num_attention_heads=4)
        ),
        "layers", "attn_norm",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("build", "path", "part"), SPECIAL.values(), ids=SPECIAL)
def test_a_special_first_block_is_kept_by_start(build, path, part, tmp_path):
    teacher = build().eval()
    with pytest.raises(ModelError, match=rf"{part}.*keep another block there .*start=0"):
        every_nth_layer(teacher, 2, path)
    student, layer_map = every_nth_layer(teacher, 2, path, start=0)
    assert list(layer_map.values()) == [f"{path}.{i}" for i in (0, 2, 4)]
    student.save_pretrained(tmp_path)
    loaded = type(teacher).from_pretrained(tmp_path).eval()
    ids = torch.randint(3, 50, (2, 7))
    with torch.no_grad():
        outputs = student(ids).last_hidden_state
        assert torch.equal(loaded(ids).last_hidden_state, outputs)


STAGED = {
    "Swin": lambda: hf.SwinModel(hf.SwinConfig(
        image_size=32, patch_size=2, embed_dim=8, depths=[3, 3, 6, 3], num_heads=[1, 1, 2, 2],
        window_size=2)),
    "ConvNeXt": lambda: hf.ConvNextModel(
        hf.ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[3, 3, 6, 3])),
}  # fmt: skip


@pytest.mark.parametrize("build", STAGED.values(), ids=STAGED)
def test_each_stage_keeps_every_nth_of_its_own_blocks(build, tmp_path):
    teacher = build().eval()
    student, layer_map = every_nth_layer(teacher, 3, start=0)
    assert list(student.config.depths) == [1, 1, 2, 1]
    assert list(teacher.config.depths) == [3, 3, 6, 3]
    assert len(layer_map) == 5
    student.save_pretrained(tmp_path)
    loaded = type(teacher).from_pretrained(tmp_path).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images).pooler_output, student(images).pooler_output)


class Block(torch.nn.Linear):
    """A layer that has children, as blocks have."""

    def __init__(self):
        super().__init__(4, 4)
        self.act = torch.nn.ReLU()

    def forward(self, x):
        return self.act(super().forward(x))


@pytest.mark.parametrize("prefix", ["", "0."])
def test_stages_may_be_containers_themselves(prefix):
    """An nn.Sequential of blocks has no path of a container within it."""
    body = torch.nn.Sequential(*(torch.nn.Sequential(Block(), Block()) for _ in range(2)))
    teacher = torch.nn.Sequential(body, torch.nn.Linear(4, 2)) if prefix else body
    student, layer_map = every_nth_layer(teacher)
    assert layer_map == {f"{prefix}{stage}.0": f"{prefix}{stage}.1" for stage in "01"}
    x = torch.randn(3, 4)
    expected = body[1][1](body[0][1](x))
    torch.testing.assert_close(student(x), teacher[1](expected) if prefix else expected)
    with pytest.raises(ArgumentError, match=rf"one of them, such as '{prefix}1',"):
        keep_layers(teacher, [1])
    assert keep_layers(teacher, [1], f"{prefix}1").layer_map == {f"{prefix}1.0": f"{prefix}1.1"}
