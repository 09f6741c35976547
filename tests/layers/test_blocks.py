import pytest
import timm
import torch
import torchvision
import transformers as hf
from torch import nn

from tutelage.errors import ArgumentError
from tutelage.layers import blocks

SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 8,
}
WORDS = SMALL | {"vocab_size": 300}
BART = {
    "d_model": 8,
    "encoder_layers": 3,
    "decoder_layers": 3,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 8,
    "decoder_ffn_dim": 8,
    "vocab_size": 300,
}


def linears(count, width=4):
    return [nn.Linear(width, width) for _ in range(count)]


class Net(nn.Module):
    """A module with the named parts."""

    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


@pytest.fixture(autouse=True)
def _without_memory():
    """Build models as shapes alone, which is all that is looked at."""
    with torch.device("meta"):
        yield


@pytest.mark.parametrize("kind", [lambda parts: nn.Sequential(*parts), nn.ModuleList])
def test_layers_of_one_class_are_blocks(kind):
    assert blocks(Net(stem=nn.Linear(3, 4), body=kind(linears(3)))) == [
        "body.0",
        "body.1",
        "body.2",
    ]


def test_a_model_can_be_the_container_itself():
    assert blocks(nn.Sequential(*linears(2))) == ["0", "1"]
    assert blocks(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), "") == ["0", "1"]


@pytest.mark.parametrize(
    ("build", "container"),
    [
        (lambda: hf.BertForSequenceClassification(hf.BertConfig(**WORDS)), "bert.encoder.layer"),
        (lambda: hf.RobertaForMaskedLM(hf.RobertaConfig(**WORDS)), "roberta.encoder.layer"),
        (
            lambda: hf.DistilBertModel(
                hf.DistilBertConfig(dim=8, n_layers=3, n_heads=2, hidden_dim=8, vocab_size=300)
            ),
            "transformer.layer",
        ),
        (
            lambda: hf.GPT2LMHeadModel(
                hf.GPT2Config(
                    n_embd=8, n_layer=3, n_head=2, vocab_size=300, bos_token_id=1, eos_token_id=1
                )
            ),
            "transformer.h",
        ),
        (lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**WORDS)), "model.layers"),
        (
            lambda: torchvision.models.VisionTransformer(32, 8, 3, 2, 8, 8),
            "encoder.layers.encoder_layer_#",
        ),
        (lambda: timm.create_model("vit_tiny_patch16_224", depth=3), "blocks"),
        (lambda: timm.create_model("deit_tiny_patch16_224", depth=3), "blocks"),
    ],
    ids=["bert", "roberta", "distilbert", "gpt2", "llama", "torchvision vit", "timm vit", "deit"],
)
def test_layers_of_transformers_are_blocks(build, container):
    name = container if "#" in container else f"{container}.#"
    assert blocks(build()) == [name.replace("#", str(i)) for i in range(3)]


def test_layers_of_a_hugging_face_vit_are_blocks():
    model = hf.ViTForImageClassification(hf.ViTConfig(image_size=32, patch_size=8, **SMALL))
    found = blocks(model)
    # Their path is another from one version of transformers to the next.
    assert [type(model.get_submodule(path)).__name__ for path in found] == ["ViTLayer"] * 3


def test_torchvision_vit_b_16_has_twelve():
    assert len(blocks(torchvision.models.vit_b_16())) == 12


@pytest.mark.parametrize(
    ("build", "stages"),
    [
        (torchvision.models.resnet18, ["layer1", "layer2", "layer3", "layer4"]),
        (torchvision.models.resnet50, ["layer1", "layer2", "layer3", "layer4"]),
        (torchvision.models.swin_t, ["features.1", "features.3", "features.5", "features.7"]),
        (torchvision.models.efficientnet_b0, [f"features.{i}" for i in range(1, 8)]),
        (lambda: timm.create_model("resnet18"), ["layer1", "layer2", "layer3", "layer4"]),
        # Its stages hold a single block each.
        (lambda: timm.create_model("resnet10t"), ["layer1", "layer2", "layer3", "layer4"]),
    ],
    ids=["resnet18", "resnet50", "swin", "efficientnet", "timm resnet18", "timm resnet10"],
)
def test_sibling_containers_of_one_class_are_stages_and_these_the_blocks(build, stages):
    assert blocks(build()) == stages


@pytest.mark.parametrize(
    ("build", "first", "second"),
    [
        (
            lambda: hf.T5Model(hf.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=3, num_heads=2)),
            "encoder.block",
            "decoder.block",
        ),
        (
            lambda: hf.BartModel(hf.BartConfig(**BART)),
            "encoder.layers",
            "decoder.layers",
        ),
        (
            lambda: Net(left=nn.ModuleList(linears(3)), right=nn.ModuleList(linears(3))),
            "left",
            "right",
        ),
    ],
    ids=["t5", "bart", "two lists of one parent"],
)
def test_several_candidates_are_named_and_a_path_chooses(build, first, second):
    model = build()
    with pytest.raises(
        ArgumentError, match=rf"several parts of the model .*'{first}', '{second}'; pass the path"
    ):
        blocks(model)
    assert blocks(model, second) == [f"{second}.{i}" for i in range(3)]


def test_only_some_of_many_candidates_are_named():
    model = Net(**{f"part{i}": nn.ModuleList(linears(2)) for i in range(9)})
    with pytest.raises(ArgumentError, match=r"'part5' and more; pass"):
        blocks(model)


def test_a_small_head_is_not_a_candidate():
    model = Net(body=nn.ModuleList(linears(8, width=32)), head=nn.Sequential(*linears(2)))
    assert blocks(model) == [f"body.{i}" for i in range(8)]


def test_containers_inside_blocks_are_not_candidates():
    body = nn.ModuleList(Net(experts=nn.ModuleList(linears(4))) for _ in range(2))
    assert blocks(Net(body=body)) == ["body.0", "body.1"]


def test_containers_are_equal_only_if_their_contents_are():
    stem, body = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), nn.Sequential(*linears(3))
    assert blocks(nn.Sequential(stem, body)) == ["1.0", "1.1", "1.2"]
    layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    assert blocks(nn.Sequential(stem, layer)) == ["0", "1"]


def test_a_block_used_twice_is_counted_twice():
    layer = nn.Linear(4, 4)
    assert blocks(nn.Sequential(layer, layer)) == ["0", "1"]


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
        nn.Sequential(nn.ReLU(), nn.ReLU()),
        nn.Sequential(nn.Linear(2, 2)),
    ],
    ids=["one layer", "mixed", "without parameters", "one child"],
)
def test_a_model_without_repeated_blocks_is_refused(model):
    with pytest.raises(
        ArgumentError, match=r"no repeated blocks .* the model .*; pass the path of"
    ):
        blocks(model)


def test_the_error_for_a_missing_path_names_the_nearest():
    with pytest.raises(ArgumentError, match=r"the model \(Net\) has no layer 'bdy'; .*'body'"):
        blocks(Net(body=nn.ModuleList(linears(2))), "bdy")


@pytest.mark.parametrize("part", [nn.Linear(2, 2), nn.ModuleList()], ids=["linear", "empty list"])
def test_a_path_of_a_layer_without_blocks_is_refused(part):
    with pytest.raises(ArgumentError, match=r"nn.Sequential or nn.ModuleList.*got 'part', a .* 0;"):
        blocks(Net(part=part), "part")
