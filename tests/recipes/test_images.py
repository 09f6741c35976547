"""From a folder of images alone to a student and its page."""

import logging

import numpy as np
import pytest
from PIL import Image

import tutelage as tl
from tutelage.datasets import load_data
from tutelage.layers import ImageInputs, Prepared
from tutelage.recipes.building import _note_enlarged
from tutelage.reports import read_record


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
        _note_enlarged(f"student of {resize}", model, data)
        _note_enlarged(f"student of {resize}", model, data)
    assert len(caplog.messages) == int(told)
    assert not told or f"of 32 × 40 pixels to {49 if resize == 49 else 64}" in caplog.messages[0]
