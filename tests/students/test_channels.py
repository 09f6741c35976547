"""`prune_channels` against the teacher with the pruned channels set to zero."""

import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.layers import ImageInputs, Prepared
from tutelage.students import prune_channels

pytest.importorskip("torch_pruning")


class Residual(nn.Module):
    """A stem, a block whose sum ties its channels to the stem's, and a depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.first = nn.Conv2d(16, 24, 3, padding=1)
        self.norm = nn.BatchNorm2d(24)
        self.second = nn.Conv2d(24, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images)
        x = x + self.second(torch.relu(self.norm(self.first(x))))
        return self.head(torch.relu(self.depthwise(x)).mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.cell = nn.LSTM(16, 32, batch_first=True)
        self.head = nn.Linear(32, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.cell(self.words(ids))[0][:, -1])


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model(images) -> nn.Module:
    torch.manual_seed(0)
    made = Residual()
    made(images)  # statistics of the normalisation
    return made.eval()


def places(whole: Tensor, part: Tensor) -> list[int]:
    """Return which channels of the model the student has, by their biases."""
    return [whole.tolist().index(each) for each in part.tolist()]


def test_the_student_is_the_model_without_some_channels(model, images):
    student = prune_channels(model, images, keep=0.5)
    tied = places(model.stem.bias, student.stem.bias)
    inner = places(model.first.bias, student.first.bias)
    assert (len(tied), len(inner)) == (8, 12)
    assert places(model.second.bias, student.second.bias) == tied
    assert places(model.depthwise.bias, student.depthwise.bias) == tied

    def without(layer: nn.Module, kept: list[int]) -> None:
        mask = torch.zeros(layer.weight.shape[0])
        mask[kept] = 1
        layer.register_forward_hook(lambda _, __, result: result * mask[:, None, None])

    without(model.stem, tied)
    without(model.second, tied)
    without(model.depthwise, tied)
    without(model.norm, inner)
    with torch.no_grad():
        torch.testing.assert_close(student(images), model(images))


def test_channels_with_the_largest_weights_are_left():
    torch.manual_seed(1)
    first, second = nn.Linear(7, 20), nn.Linear(20, 3)
    student = prune_channels(nn.Sequential(first, nn.ReLU(), second), torch.randn(2, 7), keep=0.3)
    norms = first.weight.square().sum(1) + second.weight.square().sum(0)
    assert places(first.bias, student[0].bias) == sorted(norms.topk(6).indices.tolist())


def test_the_model_is_not_changed(model, images):
    before = {name: each.clone() for name, each in model.state_dict().items()}
    model.norm.requires_grad_(False)
    model.train()
    student = prune_channels(model, images, keep=0.5)
    assert student.training
    assert {name for name, each in student.named_parameters() if not each.requires_grad} == {
        "norm.weight", "norm.bias",
    }  # fmt: skip
    for name, each in model.state_dict().items():
        torch.testing.assert_close(each, before[name])


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "densenet121"])
def test_networks_of_torchvision_keep_the_square_of_the_share(name):
    models = pytest.importorskip("torchvision.models")
    images = torch.zeros(2, 3, 64, 64)
    teacher = getattr(models, name)(num_classes=7).eval()
    student = prune_channels(teacher, images, keep=0.5)
    sizes = [sum(each.numel() for each in model.parameters()) for model in (student, teacher)]
    assert 0.22 < sizes[0] / sizes[1] < 0.31
    assert student(images).shape == (2, 7)


def test_layers_with_few_channels_keep_all():
    model = nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2))
    student = prune_channels(model, torch.zeros(2, 6), keep=0.25)
    assert [each.out_features for each in student if isinstance(each, nn.Linear)] == [3, 10, 2]


def test_a_model_that_cannot_be_pruned_is_told():
    with pytest.raises(tl.ModelError, match=r"channels of the model \(Recurrent\) must be such"):
        prune_channels(Recurrent(), torch.zeros(2, 5, dtype=torch.int64), keep=0.5)
    with pytest.raises(tl.ModelError, match=r"^the model \(Recurrent\) refused its inputs"):
        prune_channels(Recurrent(), torch.zeros(2, 5), keep=0.5)


class Several(nn.Module):
    """Inputs by name; of the outputs, of which training uses the logits, both keep their shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 16, 3)
        self.logits, self.boxes = nn.Linear(16, 5), nn.Linear(16, 4)

    def forward(self, image: Tensor, scale: Tensor) -> dict[str, Tensor]:
        x = self.body(image.mul_(scale)).mean((2, 3))
        return {"logits": self.logits(x), "boxes": self.boxes(x), "at": x.argmax(1)}


def test_all_outputs_keep_their_shape(images):
    before = images.clone()
    student = prune_channels(Several(), {"image": images, "scale": torch.tensor(2.0)}, keep=0.5)
    assert student.body.out_channels == student.boxes.in_features == 8
    assert (student.logits.out_features, student.boxes.out_features) == (5, 4)
    assert images.equal(before)


def test_a_model_with_fixed_sizes_in_its_code_is_told():
    class Fixed(nn.Sequential):
        def forward(self, rows: Tensor) -> Tensor:
            return self[1](self[0](rows).view(-1, 16))

    with pytest.raises(tl.ModelError, match="must be such that torch-pruning can remove some"):
        prune_channels(Fixed(nn.Linear(6, 16), nn.Linear(16, 2)), torch.zeros(2, 6), keep=0.5)


@pytest.mark.parametrize("keep", [0, 1, 1.5, "half"])
def test_the_share_is_between_0_and_1(model, images, keep):
    with pytest.raises(tl.ArgumentError, match="`keep`"):
        prune_channels(model, images, keep)


def test_images_are_prepared_as_for_the_model():
    models = pytest.importorskip("torchvision.models")
    teacher = Prepared(models.alexnet(num_classes=3).eval(), ImageInputs(resize=64, mean=0.5))
    images = torch.rand(2, 3, 20, 30)
    student = prune_channels(teacher, images, keep=0.25)
    assert student(images).shape == (2, 3)
    assert isinstance(student.prepare, ImageInputs)
    assert student.features[0].out_channels == 16
