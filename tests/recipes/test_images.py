"""From a folder of images alone to a student and its page."""

import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image

import tutelage as tl
from tutelage.datasets import load_data
from tutelage.layers import ImageInputs, Prepared
from tutelage.recipes.building import _warn_if_enlarged
from tutelage.results.record import read_record
from tutelage.wants import OUTPUT


@pytest.fixture
def folder(job):
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (job / "images" / name).mkdir(parents=True)
        for at in range(8):
            pixels = random.integers(0, 255, (32, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(job / "images" / name / f"{at}.png")
    return job / "images"


@pytest.mark.usefixtures("folder")
def test_the_page_has_the_names_of_the_classes_and_of_the_network():
    pytest.importorskip("timm")
    run = tl.Recipe(
        {
            "student": "timm:resnet10t?size=32",
            "data": {"train": "images", "image_size": 32, "val": 0.25},
            "objective": "HardLabels",
            "training": {"epochs": 1, "batch_size": 6},
            "out": "runs/images",
        }
    ).run()
    assert str(run).startswith("Run of ResNet: 1 epoch, best 1 (")
    record = read_record(run.report().with_suffix(".json"))
    assert record.title == "ResNet: trained on labels"
    assert record.class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("resize", "told"),
    [(32, False), (48, False), (49, True), ((64, 80), True), (None, False)],
)
def test_images_that_a_model_enlarges_are_told(folder, caplog, resize, told):
    """By more than a half of the shorter edge; it may be a margin that is cropped."""
    data = load_data("data", {"train": folder})
    model = Prepared(tl.students.mlp(3, 2), ImageInputs(resize))
    with caplog.at_level(logging.WARNING, "tutelage.recipes"):
        _warn_if_enlarged("student", model, data)
    assert len(caplog.messages) == int(told)
    assert not told or f"of 32 × 40 pixels to {49 if resize == 49 else 64}" in caplog.messages[0]


def test_the_size_of_the_datas_images_goes_with_the_student(folder):
    """By the steps of docs/run_folder.md, and in a file of ONNX, as in the library."""
    transforms = pytest.importorskip("torchvision.transforms.v2")
    pytest.importorskip("timm")
    recipe = tl.Recipe(
        {
            "student": "timm:test_resnet?size=48",
            "data": {"train": "images", "image_size": [16, 12]},
            "objective": "HardLabels",
            "training": {"epochs": 1, "batch_size": 6},
            "out": "runs/images",
        }
    )
    run = recipe.run()
    expected = run.student(
        load_data("data", {"train": "images", "image_size": [16, 12]}).train[0][0][None]
    )
    inputs = json.loads((recipe.out / "student.json").read_text())["inputs"]
    assert inputs["size"] == [16, 12]
    with Image.open(folder / "cat" / "0.png") as image:  # of 32 × 40 pixels
        resized = image.resize((20, 16), Image.Resampling.BILINEAR)
    pixels = transforms.functional.to_image(resized)
    steps = [
        transforms.CenterCrop(inputs["size"]),
        transforms.ToDtype(torch.float32, scale=True),
        transforms.Resize(inputs["resize"], transforms.InterpolationMode(inputs["interpolation"])),
        transforms.CenterCrop(inputs["crop"]),
        transforms.Normalize(inputs["mean"], inputs["std"]),
    ]
    found = run.student.wrapped(transforms.Compose(steps)(pixels)[None])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    teacher = tl.references.load_model("teacher", str(recipe.export().path))
    whole = load_data("data", {"train": "images"}).train[0][0]
    assert whole.shape == (3, 32, 40)
    found = teacher.signals(tl.Batch(whole[None]), OUTPUT).output
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02)  # resized without bytes
