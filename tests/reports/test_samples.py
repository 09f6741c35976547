"""Test examples to be looked at."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.data.sets import evenly
from tutelage.errors import ArgumentError
from tutelage.reports.sections.behaviour import samples_sections
from tutelage.results.record import ArmRecord, Record, TrialRecord, read_record
from tutelage.results.samples import (
    NO_CLASS,
    ImageSample,
    TextSample,
    image_sample,
    pixels_of,
)
from tutelage.studies.eval_data import read_eval_data
from tutelage.studies.samples import samples_of

CLASSES = 3


def images(count: int, seed: int) -> TensorDataset:
    """Images whose pixels belong to three classes, the first row of pixels to none."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, 4, 6, generator=generator)
    y = torch.randint(0, CLASSES, (count, 4, 6), generator=generator)
    y[:, 0] = -100
    return TensorDataset(x, y)


def test_an_image_is_stretched_and_ids_are_kept() -> None:
    image = np.linspace(-3, 5, 24).reshape(1, 4, 6)
    ids = np.arange(24).reshape(4, 6) - 1
    found = image_sample(image, {"true": ids})
    pixels = pixels_of(found.image)
    assert pixels.shape == (4, 6, 3)
    assert (pixels.min(), pixels.max()) == (0, 255)
    assert np.array_equal(pixels_of(found.maps["true"]), np.where(ids < 0, NO_CLASS, ids))


def test_maps_are_those_of_the_models_outputs() -> None:
    data = images(9, 0)
    labels = data.tensors[1]
    known = labels != -100
    maps = torch.randn(2, 9, 4, 6, CLASSES)
    student, teacher = (each[known] for each in maps)
    found = samples_of(read_eval_data("test", data), student, teacher, None)
    assert len(found) == 4
    for place, sample in zip((0, 2, 5, 8), found, strict=True):
        assert isinstance(sample, ImageSample)
        assert list(sample.maps) == ["true", "teacher", "student"]
        expected = {"true": labels, "teacher": maps[1].argmax(-1), "student": maps[0].argmax(-1)}
        for whose, ids in expected.items():
            shown = ids[place].where(known[place], NO_CLASS).numpy()
            assert np.array_equal(pixels_of(sample.maps[whose]), shown)


def test_maps_of_a_single_logit_are_the_labels_that_are_predicted() -> None:
    """The largest of one logit says nothing."""
    data = TensorDataset(images(4, 0).tensors[0], torch.ones(4, 4, 6).long())
    student, teacher = torch.randn(2, 4 * 4 * 6, 1)
    for place, sample in enumerate(
        samples_of(read_eval_data("test", data), student, teacher, None)
    ):
        assert isinstance(sample, ImageSample)
        for whose, logits in (("student", student), ("teacher", teacher)):
            shown = (logits.view(4, 4, 6)[place] > 0).numpy()
            assert np.array_equal(pixels_of(sample.maps[whose]), shown)


def test_several_labels_of_a_pixel_have_no_map() -> None:
    x = images(4, 0).tensors[0]
    data = TensorDataset(x, torch.ones(4, 4, 6).long())
    known = read_eval_data("test", data)
    rows = known.by_row[0]
    several = replace(rows, labels=torch.ones(len(rows.rows), 2).long())
    known = replace(known, by_row=(several,))
    assert samples_of(known, torch.randn(4 * 4 * 6, 2), None, None) == ()


class Tagger(nn.Linear):
    """A model of words that are one number each."""

    def __init__(self) -> None:
        super().__init__(1, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[..., None])


class Text:
    """Two tagged texts of different lengths."""

    words = (["Ada", "met", "Bob"], ["in", "Rome"])
    tags = ([1, 0, 1], [0, 2])

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | list[str]]:
        pad = [-100] * (3 - len(self.tags[index]))
        return {"x": torch.zeros(3) - 1 - index, "labels": torch.tensor(self.tags[index] + pad)}


def test_words_have_the_classes_of_their_rows() -> None:
    data = Text()
    output = nn.functional.one_hot(torch.tensor([1, 0, 0, 0, 2]), CLASSES).float()
    places = iter((0, 1))
    found = samples_of(
        read_eval_data("test", data), output, None, lambda _: Text.words[next(places)]
    )
    assert found == (
        TextSample(("Ada", "met", "Bob"), {"true": (1, 0, 1), "student": (1, 0, 0)}),
        TextSample(("in", "Rome"), {"true": (0, 2), "student": (0, 2)}),
    )
    with pytest.raises(ArgumentError, match="one word for each of the 3 labelled rows"):
        samples_of(read_eval_data("test", data), output, None, lambda _: ["one"])


def test_words_are_those_of_the_example_in_a_loader_of_another_order() -> None:
    loader = DataLoader(Text(), batch_sampler=[[1], [0]])
    output = nn.functional.one_hot(torch.tensor([0, 2, 1, 0, 0]), CLASSES).float()
    data = read_eval_data("test", loader)
    first, _ = samples_of(data, output, None, lambda each: Text.words[int(-1 - each["x"][0])])
    assert first == TextSample(("in", "Rome"), {"true": (0, 2), "student": (0, 2)})


def test_one_answer_an_example_shows_nothing() -> None:
    data = TensorDataset(torch.zeros(4, 3, 2, 2), torch.zeros(4, dtype=torch.int64))
    assert samples_of(read_eval_data("test", data), torch.zeros(4, 3), None, None) == ()


def test_the_page_shows_them(tmp_path: Path) -> None:
    study = tl.study(
        nn.Conv2d(3, CLASSES, 1),
        lambda: nn.Conv2d(3, CLASSES, 2, stride=2),
        train=images(8, 1),
        test=images(6, 2),
        arms={"soft": tl.SoftTargets()},
        seeds=1,
        epochs=1,
        report=tl.ReportOptions(class_names=["sky", "road", "tree"]),
    )
    page = study.report(tmp_path / "page.html").read_text(encoding="utf-8")
    section = page[page.index("Pixels and their classes") :]
    assert len(re.findall(r"<image ", section)) == 16
    for name in ("sky", "road", "tree", "image", "true", "teacher", "student"):
        assert name in section
    assert "[sky]" not in page
    kept = json.loads((tmp_path / "page.json").read_text(encoding="utf-8"))
    assert len(kept["samples"]) == 4
    assert read_record(tmp_path / "page.json") == study.results


def test_boxes_of_classes_without_a_name_have_their_number() -> None:
    """Some data sets have hundreds of classes."""
    sides = {"true": ((0.0, 0.0, 2.0, 2.0, 300),), "student": ((0.0, 0.0, 1.0, 2.0, 0),)}
    record = Record(
        title="Boxes",
        metric=None,
        arms=(ArmRecord("arm", (TrialRecord(),)),),
        primary="arm",
        models={},
        examples={},
        versions={},
        class_names=("cat",),
        samples=(image_sample(np.random.default_rng(0).random((3, 8, 8)), {}, sides),),
    )
    [section] = samples_sections(record)
    for name in ("cat", "300"):
        assert f">{name}</text>" in section.figures[0].svg


def test_the_page_shows_tagged_words(tmp_path: Path) -> None:
    data = Text()
    words = {0: Text.words[0], 1: Text.words[1]}
    study = tl.study(
        None,
        Tagger,
        train=[{"x": torch.ones(3) * each, "labels": torch.tensor([0, 1, 2])} for each in range(4)],
        test=data,
        arms={"smooth": tl.HardLabels(smoothing=0.2)},
        seeds=1,
        epochs=1,
        report=tl.ReportOptions(
            class_names=["O", "PER", "LOC"],
            words=lambda each: words[0 if int(each["labels"][2]) >= 0 else 1],
        ),
    )
    text = study.report(tmp_path / "page.html").with_suffix(".md").read_text(encoding="utf-8")
    assert "Ada \\[PER\\] met Bob \\[PER\\]" in text
    assert "in Rome \\[LOC\\]" in text


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 2**24 + 2, 65_536_000])
def test_evenly_spread_positions_exist(count):
    """Also beyond what a float in single precision can count."""
    found = evenly(count, 4).tolist()
    assert len(found) == min(count, 4)
    assert found == sorted(set(found))
    assert all(0 <= each < count for each in found)
    if 0 < count <= 4:
        assert found == list(range(count))
