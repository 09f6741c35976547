"""Tags of words and several labels by recipe: a model of transformers is fine-tuned and halved."""

import json

import pytest
import torch

import tutelage as tl
from tutelage.evaluation import binary_metrics, entity_f1

hf = pytest.importorskip("transformers")

WORDS = ("the", "cat", "dog", "sat", "ran", "unhappy", "very", "happyly")
TAGS = {"cat": "B-PET", "dog": "B-PET", "unhappy": "B-MOOD", "happyly": "I-MOOD"}
OBJECTIVES = {
    "tags": {"SoftTargets": {"temperature": 2}, "FeatureMatch": {"layer_map": "from_student"}},
    "binary": {"BinaryTargets": {"temperature": 2}},
}


def rows(number):
    """Return texts with tags of their words, and with labels of the whole."""
    draw = torch.Generator().manual_seed(number)
    for _ in range(number):
        length = int(torch.randint(2, 6, (1,), generator=draw))
        places = torch.randint(len(WORDS), (length,), generator=draw).tolist()
        words = [WORDS[place] for place in places]
        pets = [name for name in ("cat", "dog") if name in words]
        yield {"words": words, "tags": [TAGS.get(each, "O") for each in words], "pets": pets}


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A function that returns the recipe of a kind of labels; the teacher has no head yet."""
    from tokenizing import SIZE, tokenizer  # noqa: PLC0415 - imports transformers

    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=SIZE, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=24,
    )  # fmt: skip
    hf.BertModel(config).save_pretrained(tmp_path / "bert")
    tokenizer().save_pretrained(tmp_path / "bert")
    for name, number in (("train", 240), ("test", 40)):
        lines = [
            {**each, "text": " ".join(each["words"]), "line": " ".join(each["tags"])}
            for each in rows(number)
        ]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))

    def recipe(kind, data, metrics=None):
        task = "?task=tokens" if kind == "tags" else ""
        adam = {"AdamW": {"lr": 5e-3}}
        training = {"epochs": 6, "batch_size": 16, "optimizer": adam, "metrics": metrics}
        values = {
            "teacher": f"hf:bert{task}",
            "student": {"every_nth_layer": 2},
            "data": {"train": "train.jsonl", "test": "test.jsonl", "val": 0.2, **data},
            "fine_tune": {"epochs": 20, "batch_size": 16, "optimizer": adam},
            "objective": OBJECTIVES[kind],
            "training": {key: each for key, each in training.items() if each},
        }
        return tl.Recipe(values, name=kind)

    return recipe


def test_tags_of_words(job):
    given = {"text": "words", "label": "tags", "kind": "tags"}
    recipe = job("tags", given, {"entity F1": "EntityF1"})
    lists, lines = (
        tl.datasets.load_data("data", {"train": "train.jsonl", "kind": "tags", **columns}).train
        for columns in ({"text": "words", "label": "tags"}, {"text": "text", "label": "line"})
    )
    for at in range(240):  # lists of words, and lines of them, are the same
        assert lists[at][0] == lines[at][0]
        assert list(lists[at][1]) == list(lines[at][1])
    run = recipe.run()
    found = recipe.evaluate("test")
    assert found["fine-tuned teacher"]["entity F1"] > 0.9
    assert found["student"]["entity F1"] > 0.8
    assert found["student"]["agreement"] > 0.8
    assert "loss" not in found["student"]  # its projectors between layers are not kept
    names = ("B-MOOD", "B-PET", "I-MOOD", "O")
    predicted, true = [], []
    for each in rows(40):
        output = run.student([" ".join(each["words"])])[0]
        predicted.append([names[at] for at in output.argmax(-1).tolist()])
        true.append(each["tags"])
    assert found["student"]["entity F1"] == pytest.approx(entity_f1(predicted, true))
    assert (run.out / "student" / "config.json").exists()


def test_lists_of_labels(job):
    recipe = job("binary", {"text": "text", "label": "pets"})
    run = recipe.run()
    found = recipe.evaluate("test")
    assert found["fine-tuned teacher"]["average_precision"] > 0.9
    texts = [" ".join(each["words"]) for each in rows(40)]
    labels = torch.tensor([["cat" in each, "dog" in each] for each in texts]).long()
    output = run.student(texts).logits.detach()
    expected = binary_metrics(output, labels)
    assert found["student"]["average_precision"] == pytest.approx(expected["average_precision"])
    assert json.loads((run.out / "student.json").read_text())["classes"] == ["cat", "dog"]
