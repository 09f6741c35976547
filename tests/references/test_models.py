"""Models of timm and torchvision by reference, with weights from files."""

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from PIL import Image
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import Prepared
from tutelage.references import class_names, load_model

RAW = torch.rand(2, 3, 40, 56, generator=torch.Generator().manual_seed(0))

NETWORK = """
import torch
def network():
    torch.manual_seed(1)
    return torch.nn.Linear(3, 2)
class Estimator:
    pass
"""


@pytest.fixture
def saved(tmp_path):
    """A function that writes a model's weights to a file of some kind."""

    def save(model, name):
        path, state = tmp_path / name, model.state_dict()
        if name.endswith(".safetensors"):
            safetensors.torch.save_file(state, path)
        else:
            torch.save({"state_dict": state, "epoch": 3}, path)
        return path

    return save


@pytest.mark.parametrize(
    "name", ["timm:test_resnet", "timm:test_vit", "torchvision:mobilenet_v3_small?size=64"]
)
def test_an_architecture_has_random_weights_and_the_classes_asked_for(name):
    model = load_model("student", name, classes=5).eval()
    assert isinstance(model, Prepared)
    assert model(RAW).shape == (2, 5)
    assert class_names(model) is None


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_the_preprocessing_is_that_of_timm(name):
    """Up to the rounding to bytes between the steps of PIL."""
    model = load_model("teacher", f"timm:{name}", classes=2)
    config = timm.data.resolve_model_data_config(model.wrapped)
    transform = timm.data.create_transform(**config, is_training=False)
    smooth = nn.functional.interpolate(RAW[:1, :, :8, :11], size=(40, 56), mode="bilinear")
    pixels = (smooth[0] * 255).round().byte()
    expected = transform(Image.fromarray(pixels.permute(1, 2, 0).numpy()))
    found = model.prepare(pixels[None].float() / 255)[0]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.02


@pytest.mark.parametrize("ending", ["safetensors", "pth", "bin"])
@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_weights_from_a_file_tell_the_number_of_classes(name, ending, saved):
    model = timm.create_model(name, num_classes=7).eval()
    path = saved(model, f"w.{ending}")
    found = load_model("teacher", f"timm:{name}@{path}").eval()
    assert torch.equal(found(RAW), model(found.prepare(RAW)))


def test_torchvisions_weights_from_a_file(saved):
    model = torchvision.models.get_model("mobilenet_v3_small", num_classes=4).eval()
    found = load_model("x", f"torchvision:mobilenet_v3_small@{saved(model, 'w.pth')}?size=32")
    assert torch.equal(found.eval()(RAW), model(found.prepare(RAW)))
    assert found.prepare(RAW).shape == (2, 3, 32, 32)


@pytest.mark.filterwarnings("ignore:The default weight init:FutureWarning")
@pytest.mark.parametrize("name", ["googlenet", "squeezenet1_1", "mnasnet0_5"])
def test_published_weights_have_the_model_that_torchvision_makes_for_them(name, monkeypatch):
    made = {"init_weights": False} if name == "googlenet" else {}
    state = torchvision.models.get_model(name, **made).state_dict()
    monkeypatch.setattr(torchvision.models.WeightsEnum, "get_state_dict", lambda *_, **__: state)
    found = load_model("teacher", f"torchvision:{name}@DEFAULT").eval()
    expected = torchvision.models.get_model(name, weights="DEFAULT").eval()
    assert torch.equal(found(RAW), expected(found.prepare(RAW)))
    assert class_names(found)[:1] == ("tench",)
    other = load_model("teacher", f"torchvision:{name}@DEFAULT", classes=3).eval()
    assert other(RAW).shape == (2, 3)
    assert class_names(other) is None


@pytest.mark.parametrize("kind", ["timm:test_resnet", "torchvision:mobilenet_v3_small"])
def test_another_number_of_classes_gives_the_weights_a_new_head(kind, saved):
    library, _, name = kind.partition(":")
    build = timm.create_model if library == "timm" else torchvision.models.get_model
    model = build(name, num_classes=7)
    found = load_model("teacher", f"{kind}@{saved(model, 'w.safetensors')}", classes=3)
    assert found.eval()(RAW).shape == (2, 3)
    first, loaded = next(model.parameters()), next(found.parameters())
    assert torch.equal(first, loaded)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_another_image_size(name):
    model = load_model("student", f"timm:{name}?size=32", classes=2).eval()
    assert model.prepare(RAW).shape == (2, 3, 32, 32)
    assert model(RAW).shape == (2, 2)


@pytest.mark.parametrize("place", ["me@work", "50% off?", "a=b&c"])
def test_paths_may_have_any_characters(place, tmp_path, saved):
    (tmp_path / place).mkdir()
    path = saved(timm.create_model("test_resnet", num_classes=7), f"{place}/w.safetensors")
    assert load_model("x", f"timm:test_resnet@{path}").eval()(RAW).shape == (2, 7)


def test_models_of_python_with_weights(tmp_path, saved, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network_by_reference.py").write_text(NETWORK)
    other = nn.Linear(3, 2)
    path = saved(nn.ModuleDict({"module": other}), "w.safetensors")
    plain = load_model("teacher", "network_by_reference.py:network")
    found = load_model("teacher", f"network_by_reference.py:network@{path}")
    assert torch.equal(found.weight, other.weight)
    (tmp_path / "me@work").mkdir()
    for each in (path, tmp_path / "network_by_reference.py"):
        each.rename(tmp_path / "me@work" / each.name)
    found = load_model("t", "me@work/network_by_reference.py:network@me@work/w.safetensors")
    assert torch.equal(found.weight, other.weight)
    monkeypatch.chdir("me@work")
    assert not torch.equal(plain.weight, other.weight)
    with pytest.raises(ModelError, match="or a function that returns one, got Estimator"):
        load_model("teacher", "network_by_reference.py:Estimator")


def test_distils_a_half_student_from_raw_images():
    torch.manual_seed(0)
    teacher = load_model("teacher", "timm:test_vit?size=32", classes=3)
    student, layer_map = tl.students.every_nth_layer(teacher, n=2)
    assert layer_map
    data = [(each, index) for index, each in enumerate(RAW)]
    run = tl.distill(
        teacher, student, train=data, epochs=1, batch_size=2,
        objective=tl.SoftTargets(2) + tl.FeatureMatch(layer_map),
    )  # fmt: skip
    assert run.student(RAW).shape == (2, 3)


def test_distils_a_student_of_another_preprocessing():
    torch.manual_seed(0)
    teacher = load_model("teacher", "timm:test_resnet", classes=3)
    student = load_model("student", "timm:test_vit?size=32", classes=3)
    data = [(each, index) for index, each in enumerate(RAW)]
    run = tl.distill(teacher, student, train=data, objective=tl.SoftTargets(2), epochs=1)
    assert repr(run.student.prepare) != repr(teacher.prepare)


class TestBadInput:
    @pytest.mark.parametrize(
        ("reference", "error", "message"),
        [
            ("", ArgumentError, "must be a reference to a model, got"),
            ("resnet18", ArgumentError, "got 'resnet18'; write timm:NAME"),
            ("timm:", ArgumentError, "must name a model"),
            ("timm:test_resnet@", ArgumentError, "weights behind an @"),
            ("timm:test_resne", ArgumentError, "did you mean 'test_resnet'"),
            ("timm:test_resnet@imagenet", ArgumentError, "those of test_resnet are r160_in1k"),
            ("timm:test_resnet.imagenet", ArgumentError, "those of test_resnet are r160_in1k"),
            ("timm:test_resnet", ModelError, "random weights; write timm:test_resnet@default"),
            ("timm:test_resnet@nothing.pth", ArgumentError, "an existing file, got nothing.pth"),
            ("timm:test_resnet?sise=3", ArgumentError, "got 'sise' .*did you mean 'size'"),
            ("timm:test_resnet?size=big", ArgumentError, "must be a positive integer, got 'big'"),
            ("timm:test_resnet?size=3&size=3", ArgumentError, "must have options such as"),
            ("torchvision:resnet", ArgumentError, "did you mean 'resnet"),
            ("torchvision:resnet18@V2", ArgumentError, "are IMAGENET1K_V1, DEFAULT"),
            ("torchvision:resnet18", ModelError, "random weights; write torchvision:resnet18@DEF"),
            ("tim:resnet18", ArgumentError, "did you mean 'timm'"),
            ("weights.safetensors", ModelError, "must name the architecture of the weights"),
        ],
    )
    def test_a_reference_to_nothing_is_refused(self, reference, error, message):
        with pytest.raises(error, match=message):
            load_model("teacher", reference)

    def test_weights_of_another_architecture_are_refused(self, saved):
        path = saved(timm.create_model("test_convnext"), "w.safetensors")
        with pytest.raises(ModelError, match="must be those of the architecture ResNet; they lack"):
            load_model("teacher", f"timm:test_resnet@{path}", classes=1000)

    def test_weights_of_another_size_are_refused(self, saved):
        path = saved(timm.create_model("resnet18", num_classes=2), "w.safetensors")
        with pytest.raises(ModelError, match="size mismatch for"):
            load_model("teacher", f"timm:resnet26@{path}")

    def test_a_missing_package_is_named_with_its_extra(self, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "timm", None)
        with pytest.raises(ModelError, match=r"needs the package timm.*pip install 'tutelage\[v"):
            load_model("teacher", "timm:test_resnet")
