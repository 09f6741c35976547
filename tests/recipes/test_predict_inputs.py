"""Predictions for texts and images: files and folders, with labels and without."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import tutelage as tl

SOURCE = """
import torch
from torch import nn

class Words(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Linear(2, outputs)

    def forward(self, texts):
        found = [[float("good" in each), float("bad" in each)] for each in texts]
        return self.linear(torch.tensor(found))

class Colours(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Linear(3, outputs)

    def forward(self, images):
        return self.linear(images.mean((2, 3)))

def words(outputs): return Words(outputs)
def colours(outputs): return Colours(outputs)
"""
TRAINING = {"epochs": 40, "batch_size": 8, "optimizer": {"AdamW": {"lr": 0.1}}}


def texts(number):
    return [f"text {at}, {('good', 'bad')[at % 2]}" for at in range(number)]


@pytest.fixture
def of_texts(job):
    """The recipe of a student that tells good texts from bad."""
    (job / "job.py").write_text(SOURCE)
    moods = [("pos", "neg")[at % 2] for at in range(24)]
    pd.DataFrame({"id": range(24), "text": texts(24), "mood": moods}).to_csv("texts.csv")
    return {
        "student": "job.py:words",
        "data": {"train": "texts.csv", "text": "text", "label": "mood"},
        "objective": "HardLabels",
        "training": TRAINING,
    }


@pytest.mark.parametrize("file", ["new.csv", "new.txt", "new.jsonl", "new.parquet", "labelled.csv"])
def test_texts(of_texts, job, file):
    recipe = tl.Recipe(of_texts)
    recipe.run()
    frame = pd.DataFrame({"text": texts(5), "source": list("abcde")})
    frame.to_csv(job / "new.csv", index=False)
    frame.to_json(job / "new.jsonl", orient="records", lines=True)
    frame.to_parquet(job / "new.parquet")
    frame.assign(mood=["pos", "neg", None, "neg", "new"]).to_csv(job / "labelled.csv", index=False)
    (job / "new.txt").write_text("\n".join(texts(5)) + "\n")
    found = recipe.predict(file, "out.csv")
    assert found["text"].tolist() == texts(5)
    assert found["prediction"].tolist() == ["pos", "neg", "pos", "neg", "pos"]
    assert np.allclose(found["probability neg"] + found["probability pos"], 1)
    assert ("source" in found) == (file != "new.txt")
    assert len(pd.read_csv("out.csv")) == 5


def test_a_few_empty_texts_are_left_out_of_the_table(of_texts, job):
    recipe = tl.Recipe(of_texts)
    recipe.run()
    frame = pd.DataFrame({"text": [*texts(40), "", None], "at": range(42)})
    frame.sample(frac=1, random_state=0).to_csv(job / "new.csv", index=False)
    found = recipe.predict("new.csv", "out.csv")
    assert sorted(found["at"]) == list(range(40))
    expected = ["pos" if "good" in each else "neg" for each in found["text"]]
    assert found["prediction"].tolist() == expected


def test_values_of_texts_with_line_breaks_and_separators(of_texts, job):
    frame = pd.read_csv("texts.csv").assign(stars=lambda rows: 5.0 - 4 * (rows["mood"] == "neg"))
    frame.to_csv("texts.csv", index=False)
    data = {"train": "texts.csv", "text": "text", "label": "stars", "kind": "values"}
    recipe = tl.Recipe(of_texts | {"data": data, "objective": "LabelRegression"})
    recipe.run()
    odd = ['so "good",\nthey say', "bad;\tbad"]
    pd.DataFrame({"text": odd}).to_csv(job / "new.csv", index=False)
    found = recipe.predict("new.csv", "out.tsv")
    assert found["prediction"].tolist() == pytest.approx([5, 1], abs=0.5)
    assert pd.read_csv("out.tsv", sep="\t")["text"].tolist() == odd


@pytest.fixture
def of_images(job):
    """The recipe of a student that tells red images from blue."""
    (job / "job.py").write_text(SOURCE)
    for at in range(12):
        for name in ("red", "blue"):
            paint(job / "images" / name / f"{at}.png", name, at)
    return {
        "student": "job.py:colours",
        "data": {"train": "images", "image_size": 8},
        "objective": "HardLabels",
        "training": TRAINING,
    }


def paint(path, colour, at=0, size=(10, 8)):
    pixels = np.random.default_rng(at).integers(0, 100, (*size, 3), dtype=np.uint8)
    pixels[..., 2 * (colour == "blue")] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_images_in_folders(of_images, job):
    """A flat folder, one with a folder for each class, one with folders of other names."""
    recipe = tl.Recipe(of_images)
    recipe.run()
    for at, name in enumerate(("red", "blue", "blue")):
        paint(job / "flat" / f"{at}.jpg", name, at, (30 + at, 20))
        paint(job / "known" / name / f"{at}.png", name, at)
        paint(job / "other" / f"day {at}" / "x.png", name, at)
    for folder, key in (("flat", "{}.jpg"), ("known", "/{}.png"), ("other", "day {}/x.png")):
        found = recipe.predict(folder, f"{folder}.csv")
        told = dict(zip(found["image"], found["prediction"], strict=True))
        for at, name in enumerate(("red", "blue", "blue")):
            [image] = [each for each in told if each.endswith(key.format(at))]
            assert told[image] == name


def test_images_of_a_table_and_a_single_one(of_images, job):
    recipe = tl.Recipe(of_images)
    recipe.run()
    paint(job / "flat" / "a.png", "red")
    paint(job / "flat" / "b.png", "blue")
    found = recipe.predict("flat/b.png", "out.csv")
    assert found["prediction"].tolist() == ["blue"]
    pd.DataFrame({"picture": ["b.png", "a.png"], "id": [7, 8]}).to_csv(job / "flat" / "list.csv")
    table = {"train": "images.csv", "image": "picture", "label": "colour", "image_size": 8}
    rows = [(f"images/{name}/{at}.png", name) for name in ("red", "blue") for at in range(12)]
    pd.DataFrame(rows, columns=["picture", "colour"]).to_csv(job / "images.csv")
    recipe = tl.Recipe(of_images | {"data": table, "out": "runs/table"})
    recipe.run()
    found = recipe.predict("flat/list.csv", "out.jsonl")
    assert found["prediction"].tolist() == ["blue", "red"]
    assert found["id"].tolist() == [7, 8]


def test_models_of_transformers_with_teacher_tags_and_several_labels(job):
    hf = pytest.importorskip("transformers")
    from tokenizing import SIZE, tokenizer  # noqa: PLC0415 - imports transformers

    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=24,
    )  # fmt: skip
    hf.BertModel(config).save_pretrained(job / "bert")
    tokenizer().save_pretrained(job / "bert")
    pets = {"cat": "PET", "dog": "PET"}
    lines = ["the cat sat", "the dog ran very", "very unhappy cat", "the very"] * 30
    rows = [
        {
            "text": each,
            "tags": " ".join(pets.get(word, "O") for word in each.split()),
            "animals": [word for word in ("cat", "dog") if word in each.split()],
        }
        for each in lines
    ]
    (job / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (job / "new.txt").write_text("\n".join(lines[:4]))
    adam = {"AdamW": {"lr": 5e-3}}
    for label, kind, objective in (
        ("tags", "tags", {"SoftTargets": 2}),
        ("animals", None, {"BinaryTargets": 2}),
    ):
        data = {"train": "rows.jsonl", "text": "text", "label": label}
        recipe = tl.Recipe(
            {
                "teacher": f"hf:bert{'?task=tokens' if kind else ''}",
                "student": {"every_nth_layer": 2},
                "data": data | ({"kind": kind} if kind else {}),
                "fine_tune": {"epochs": 12, "batch_size": 16, "optimizer": adam},
                "objective": objective,
                "training": {"epochs": 6, "batch_size": 16, "optimizer": adam},
                "out": f"runs/{label}",
            }
        )
        student = recipe.run().student
        found = recipe.predict("new.txt", f"{label}.csv", teacher=True)
        if kind:
            for side in ("", "teacher "):
                assert found[f"{side}prediction"].tolist() == [row["tags"] for row in rows[:4]]
        else:
            likely = found[["probability cat", "probability dog"]].to_numpy()
            expected = student(lines[:4]).logits.sigmoid().detach().numpy()
            assert likely == pytest.approx(expected, abs=1e-6)
            assert found["teacher probability cat"].argmax() in (0, 2)


def test_embeddings(of_texts, job):
    (job / "job.py").write_text(SOURCE + "\ndef two(): return Words(2)\n")
    recipe = tl.Recipe(
        of_texts
        | {
            "teacher": "job.py:two",
            "student": "job.py:two",
            "data": {"train": "texts.csv", "text": "text"},
            "objective": "OutputRegression",
        }
    )
    recipe.run()
    found = recipe.predict("texts.csv", "out.parquet", teacher=True)
    names = [each for each in found.columns if "prediction" in each]
    assert names == ["prediction 0", "prediction 1", "teacher prediction 0", "teacher prediction 1"]
