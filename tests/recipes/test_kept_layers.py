"""Students whose layers are chosen by what they do with training examples."""

import json

import pytest
import torch
from torch.utils.data import Subset

import tutelage as tl
from tutelage.data import randomness
from tutelage.recipes import kept_layers
from tutelage.references import load
from tutelage.students import influence

RECIPE = {
    "teacher": "job.py:blocks",
    "data": "job.py:data",
    "objective": {"SoftTargets": 4},
    "training": {"epochs": 2, "batch_size": 16},
    "out": "runs/kept",
}
pytestmark = pytest.mark.usefixtures("job")


def recipe(student, **more):
    return tl.Recipe(RECIPE | {"student": student} | more)


def made(name):
    with randomness.preserved():
        randomness.seed_everything(0)
        return load("it", f"job.py:{name}")


def equal(one, other):
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def chosen_again(*_, **__):
    raise AssertionError("chosen again")


def student_of(found):
    job = found._job().load()
    job.teacher()
    return job.student()


@pytest.mark.parametrize(
    ("given", "examples", "objective"),
    [
        ({"most_influential": {"keep": 2}}, 48, None),
        ({"most_influential": 3}, 48, None),
        ({"most_influential": {"keep": 1, "examples": 5, "path": ""}}, 5, None),
        ({"least_loss": {"keep": 2, "examples": 12}}, 12, None),
        ({"least_loss": {"keep": 1, "objective": "HardLabels"}}, 48, tl.HardLabels()),
    ],
)
def test_the_student_is_that_of_the_call(given, examples, objective):
    [(name, arguments)] = given.items()
    keep = arguments if isinstance(arguments, int) else arguments["keep"]
    some = Subset(made("train"), [number * 48 // examples for number in range(examples)])
    more = {"objective": objective} if objective else {}
    expected = getattr(tl.students, name)(made("blocks"), some, keep=keep, **more)
    assert equal(student_of(recipe(given)), expected.student)


def test_layers_are_chosen_once_for_a_teacher_and_examples(monkeypatch):
    given = {"least_loss": {"keep": 2}}
    first = student_of(recipe(given))
    with monkeypatch.context() as without:
        without.setattr(influence, "evaluate", chosen_again)
        assert equal(student_of(recipe(given)), first)
        for other in (
            {"least_loss": {"keep": 1}},
            {"least_loss": {"keep": 2, "examples": 12}},
            {"least_loss": {"keep": 2, "objective": "HardLabels"}},
        ):
            with pytest.raises(AssertionError, match="chosen again"):
                student_of(recipe(other))
        with pytest.raises(AssertionError, match="chosen again"):
            student_of(recipe(given, training={"epochs": 2, "seed": 1}))  # another teacher


def test_a_damaged_choice_is_told():
    student_of(recipe({"most_influential": {"keep": 2}}))
    path = tl.Recipe(RECIPE).out / kept_layers.FILE
    assert [len(each) for each in json.loads(path.read_text()).values()] == [2]
    for content in ("{", "[1]", '{"a": 3}', '{"a": ["x"]}'):
        path.write_text(content)
        with pytest.raises(tl.RunFolderError, match="remove it"):
            student_of(recipe({"most_influential": {"keep": 2}}))


def test_the_recipe_of_a_run_is_the_run(monkeypatch):
    run = recipe({"most_influential": 2}).run()
    again = tl.Recipe.from_file("runs/kept/recipe.yaml")
    assert again.model.student.root.most_influential.examples == 256
    with monkeypatch.context() as without:
        without.setattr(influence, "block_influence", chosen_again)
        assert again.run().history == run.history
        assert again.evaluate()["student"]["agreement"] >= 0
    other = tl.Recipe.from_file("runs/kept/recipe.yaml", ["out=runs/again"]).run()
    assert equal(other.student, run.student)


def test_the_map_of_layers_is_that_of_the_teacher_as_it_teaches(job, monkeypatch):
    """Fine-tuning may change which layers do most."""
    (job / "job.py").write_text(
        (job / "job.py").read_text()
        + "\n\ndef blocks():\n"
        + "    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(4)])\n"
        + "    with torch.no_grad():\n"
        + "        for at, each in enumerate(net):\n"
        + "            each.weight.copy_(torch.eye(4) + 0.02 * at * torch.ones(4, 4).triu(1))\n"
        + "    return net\n"
    )
    found = recipe(
        {"most_influential": {"keep": 2}},
        objective={"SoftTargets": 4, "FeatureMatch": {"layer_map": "from_student"}},
        fine_tune={"epochs": 4, "batch_size": 16, "optimizer": {"SGD": {"lr": 0.3}}},
    )
    run = found.run()
    tuned = found._job().load().teacher()
    expected = tl.students.most_influential(tuned, made("train"), keep=2).layer_map
    before = tl.students.most_influential(made("blocks"), made("train"), keep=2).layer_map
    assert expected != before
    match = run.objective.terms()[1].objective
    assert match.layer_map == expected
    monkeypatch.setattr(influence, "block_influence", chosen_again)
    assert found.evaluate().keys() == {"teacher", "fine-tuned teacher", "student"}


def test_an_arm_may_have_such_a_student():
    study = recipe(
        {"most_influential": 2},
        study={
            "seeds": 1,
            "arms": {"few": {"objective": "SoftTargets", "student": {"least_loss": 1}}},
        },
        training={"epochs": 1, "batch_size": 16},
    ).study()
    assert "few" in str(study.results.arms)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("most_influential", r"`student.most_influential.keep` must be given"),
        ({"most_influential": {"keep": 0}}, "`keep` must be at least 1"),
        ({"most_influential": {"keep": 5}}, "no more than the teacher's 4 blocks"),
        ({"most_influential": {"keep": 2, "examples": 0}}, "`examples` must be at least 1"),
        ({"most_influential": {"keep": 2, "examples": 2.5}}, "must be an integer"),
        (
            {"most_influential": {"keep": 2, "data": "job.py:data"}},
            r"^recipe: `student.most_influential.data` is unknown",
        ),
        ({"most_influential": {"keep": 2, "path": "none"}}, "none"),
        (
            {"least_loss": {"keep": 2, "objective": {"SoftTarget": 2}}},
            r"^recipe: `student.least_loss.objective.SoftTarget` is unknown; did you mean",
        ),
        (
            {"least_loss": {"keep": 2, "objective": {"FeatureMatch": {"layer_map": {"0": "9"}}}}},
            "9",
        ),
        ({"block_influence": {}}, "block_influence"),
    ],
)
def test_wrong_ones_are_refused_with_what_is_expected(given, message):
    with pytest.raises(tl.TutelageError, match=message):
        recipe(given).run()


def test_without_a_teacher_they_are_refused():
    with pytest.raises(tl.TutelageError, match="`teacher` must be"):
        recipe({"most_influential": 2}, teacher=None, objective="HardLabels").run()


def test_data_without_a_length_is_refused(job):
    (job / "job.py").write_text(
        (job / "job.py").read_text()
        + "\n\nclass Stream(torch.utils.data.IterableDataset):\n"
        + "    def __iter__(self):\n        return iter(list(examples(0, 48)))\n"
    )
    with pytest.raises(tl.DataError, match="need a length, got Stream"):
        recipe({"most_influential": 2}, data="job.py:Stream").run()
