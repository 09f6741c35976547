"""A recipe whose student writes its texts is the call that it stands for."""

from pathlib import Path

import pytest
import torch

import tutelage as tl
from language_models import make, texts

SOURCE = """
from language_models import make, texts

def teacher():
    return make("Llama", 32, seed=1)

def student():
    return make("Llama")

def data():
    return {"train": texts(8), "val": texts(4, seed=2), "test": texts(4, seed=3)}

def written(seed):
    import tutelage as tl
    return tl.OnPolicy(texts(8), max_new_tokens=3)
"""
VALUES = {
    "teacher": "job.py:teacher",
    "student": "job.py:student",
    "data": "job.py:data",
    "on_policy": {"max_new_tokens": 4, "share": {"Linear": {"start": 0.2, "end": 1}}},
    "objective": {"RowMean": {"objective": {"ReverseKL": {}}}},
    "training": {"epochs": 2, "batch_size": 2, "engine": {"device": "cpu"}},
}


@pytest.fixture(autouse=True)
def _own(job):
    (job / "job.py").write_text(SOURCE)


def test_it_is_the_call_of_distill():
    found = tl.Recipe(VALUES).run()
    policy = tl.OnPolicy(texts(8), max_new_tokens=4, share=tl.schedules.Linear(0.2, 1))
    expected = tl.distill(
        make("Llama", 32, seed=1), make("Llama"), train=policy, val=texts(4, seed=2), epochs=2,
        objective=tl.RowMean(tl.ReverseKL()), batch_size=2, engine=tl.Engine(device="cpu"),
    ).student.state_dict()  # fmt: skip
    assert all(torch.equal(each, expected[name]) for name, each in found.student.named_parameters())
    assert found.settings["train"]["on_policy"] == policy.settings


def test_a_study_has_it_in_its_arm():
    controls = {"given texts": {"ReverseKL": {}}}
    found = tl.Recipe(VALUES | {"study": {"seeds": 1, "controls": controls}}).study()
    assert {"distilled", "given texts"} == {each.name for each in found.results.arms}
    runs = [each.read_text() for each in Path("runs/recipe/study").rglob("run.json")]
    assert sum('"on_policy"' in each for each in runs) == 1 < len(runs)
    arms = {"written": {"objective": {"ReverseKL": {}}, "train": "job.py:written"}}
    with pytest.raises(tl.RecipeError, match="`on_policy` applies only to the arm"):
        tl.Recipe(VALUES | {"study": {"seeds": 1, "arms": arms}}).study()
    values = {key: each for key, each in VALUES.items() if key != "on_policy"}
    tl.Recipe(values | {"study": {"seeds": 1, "arms": arms}, "out": "other"}).study()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"on_policy": {"share": 0.5}}, "max_new_tokens"),
        ({"on_policy": {"max_new_tokens": 4, "share": 2}}, "`share` must lie in"),
        ({"on_policy": {"max_new_tokens": 4, "shares": 1}}, "shares"),
        ({"label": {"top_k": 4}}, "whose texts are new"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(changes, words):
    with pytest.raises(tl.RecipeError, match=words):
        tl.Recipe(VALUES | changes).run()
