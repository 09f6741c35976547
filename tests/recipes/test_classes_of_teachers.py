"""Teachers whose outputs have names are never read in another order than that of their names."""

import pytest

import tutelage as tl

MODELS = """
import torch
from torch import nn

class Named(nn.Module):
    def __init__(self, *class_names):
        super().__init__()
        self.class_names = class_names or None
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, texts):
        signs = torch.tensor([1.0 if "good" in each else -1.0 for each in texts]) * self.weight
        found = {"pos": signs, "neg": -signs, "POSITIVE": signs, "NEGATIVE": -signs}
        names = self.class_names or ("neg", "pos")
        return torch.stack([found.get(each, signs - 9) for each in names], dim=1)

class Words(nn.Module):
    def __init__(self, outputs):
        super().__init__()
        self.linear = nn.Linear(1, outputs)

    def forward(self, texts):
        return self.linear(torch.tensor([[float("good" in each)] for each in texts]))

def usual(): return Named("neg", "pos")
def turned(): return Named("pos", "neg")
def more(): return Named("pos", "new", "neg")
def other(): return Named("POSITIVE", "NEGATIVE")
def unnamed(): return Named()
def student(outputs): return Words(outputs)
"""
DATA = {"text": "text", "label": "mood", "train": "texts.csv", "test": "more.csv"}
TURNED = {"teacher": "job.py:turned", "labels": ["pos", "neg"], "classes": ["neg", "pos"]}


@pytest.fixture
def recipe(job):
    (job / "job.py").write_text(MODELS)
    for name in ("texts", "more"):
        rows = [
            f"{name} {at} {('good', 'bad')[at % 2]},{('pos', 'neg')[at % 2]}" for at in range(8)
        ]
        (job / f"{name}.csv").write_text("\n".join(["text,mood", *rows]))

    def make(teacher, **data):
        values = {"teacher": teacher, "student": "job.py:student", "data": DATA | data}
        training = {"epochs": 1, "batch_size": 4}
        return tl.Recipe({**values, "objective": {"SoftTargets": 2}, "training": training})

    return make


@pytest.mark.parametrize(
    ("teacher", "data"),
    [
        ("job.py:usual", {}),
        ("job.py:turned", {}),
        ("job.py:more", {}),
        ("job.py:other", {"classes": ["pos", "neg"]}),
        (["job.py:turned", "job.py:turned"], {}),
        (["job.py:usual", "job.py:unnamed"], {}),
        (["job.py:usual", {"Specialist": {**TURNED, "other_class": False}}], {}),
    ],
)
def test_a_teacher_is_read_by_the_names_of_its_classes(recipe, teacher, data):
    made = recipe(teacher, **data)
    run = made.run()
    assert made.evaluate()["teacher"]["accuracy"] == 1
    assert run.student(["good"]).shape[1] == len(run.class_names)


@pytest.mark.parametrize(
    "teacher",
    [
        "job.py:other",
        ["job.py:usual", "job.py:turned"],
        ["job.py:turned", "job.py:unnamed"],
        {"a": "job.py:usual", "b": "job.py:turned"},
    ],
)
def test_teachers_in_another_order_are_refused(recipe, teacher):
    with pytest.raises(tl.TutelageError, match="must have the classes of the data, neg, pos, got"):
        recipe(teacher).run()


def test_the_teacher_of_an_arm_is_in_the_order_of_the_data(recipe):
    values = recipe("job.py:usual").document.values
    arms = {"one": {"objective": {"SoftTargets": 2}}}
    arms["two"] = arms["one"] | {"teacher": "job.py:turned"}
    with pytest.raises(tl.TutelageError, match="classes of the data, neg, pos, got pos, neg"):
        tl.Recipe({**values, "study": {"seeds": 2, "arms": arms}}).study()


def test_a_teacher_of_several_without_names_is_told(recipe, caplog):
    recipe(["job.py:usual", "job.py:unnamed"]).run()
    assert "classes of '1' in Ensemble is not known, and taken to be that of '0': neg, pos" in (
        caplog.text
    )
