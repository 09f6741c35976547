"""Raw images as a model's inputs."""

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, Swin_T_Weights
from torchvision.transforms import functional as transforms

from tutelage.errors import DataError
from tutelage.layers import ImageInputs, Prepared


def images(height=30, width=45, channels=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, channels, height, width, generator=generator)


@pytest.mark.parametrize("size", [(30, 45), (45, 30), (256, 256), (300, 257)])
@pytest.mark.parametrize("weights", [ResNet18_Weights.DEFAULT, Swin_T_Weights.DEFAULT])
def test_equals_the_transforms_of_torchvision(weights, size):
    preset = weights.transforms()
    inputs = ImageInputs(
        preset.resize_size[0],
        preset.crop_size[0],
        preset.mean,
        preset.std,
        preset.interpolation.value,
    )
    raw = images(*size)
    resized = transforms.resize(raw, preset.resize_size, preset.interpolation, antialias=True)
    cropped = transforms.center_crop(resized.clamp(0, 1), preset.crop_size)
    expected = transforms.normalize(cropped, preset.mean, preset.std)
    torch.testing.assert_close(inputs(raw), expected)


def test_by_default_images_do_not_change():
    assert torch.equal(ImageInputs()(images()), images())


def test_normalises_each_channel_and_scales():
    found = ImageInputs(mean=(1, 2, 3), std=(2, 4, 8), scale=255)(torch.ones(1, 3, 1, 1))
    assert found.flatten().tolist() == [254 / 2, 253 / 4, 252 / 8]


def test_a_resize_to_both_sides_ignores_the_aspect():
    assert ImageInputs(resize=(8, 5))(images()).shape == (2, 3, 8, 5)
    halved = ImageInputs(resize=(15, 45), interpolation="nearest")(images())
    assert torch.equal(halved, images()[:, :, 1::2])


def test_gradients_reach_the_image():
    raw = images().requires_grad_()
    ImageInputs(8, 8)(raw).sum().backward()
    assert raw.grad.any()


def test_is_exported_with_the_model():
    model = Prepared(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), ImageInputs(4, 4, 0.5, 0.5))
    shapes = (({0: torch.export.Dim("batch")},),)
    exported = torch.export.export(model, (images(),), dynamic_shapes=shapes).module()
    more = torch.cat([images(), images()])
    torch.testing.assert_close(exported(more), model(more))


class TestBadInput:
    @pytest.mark.parametrize(
        ("raw", "message"),
        [
            ((images() * 255).byte(), r"floats in \[0, 1\], got uint8 .*divide bytes by 255"),
            (images() * 255, r"floats in \[0, 1\], got .* with values up to 25"),
        ],
    )
    def test_other_images_are_refused(self, raw, message):
        with pytest.raises(DataError, match=message):
            ImageInputs(crop=4, mean=(0.1, 0.2, 0.3))(raw)
