"""What cannot be carried out is refused by an error of the library, before anything runs."""

import pytest

import tutelage as tl
from recipe_sources import RECIPE
from tutelage.recipes.reading import parse

TABLE = {"train": "rows.csv", "label": "c"}
ROWS = "a,b,c\n" + "\n".join(f"{i},{i % 3},{i % 2}" for i in range(40))
LONG, ZERO = "x" * 5000, "a\0b"


@pytest.mark.parametrize(
    "changes",
    [
        {"student": {"mlp": {"hidden": [2**62]}}, "data": TABLE, "teacher": None},
        {"objective": {"HardLabels": {"weight": 1e308}, "SoftTargets": {"weight": 1e308}}},
        *({key: LONG} for key in ("teacher", "student", "data", "out")),
        *({key: ZERO} for key in ("teacher", "student", "data", "out")),
        *(
            {"teacher": form.format(name)}
            for form in ("{}.py:net", "hf:{}")
            for name in (LONG, ZERO)
        ),
        {"training": {"transform": f"{LONG}.py:f"}},
        {"training": {"transform": f"{ZERO}.py:f"}},
    ],
)
def test_absurd_values_are_refused(job, changes):
    (job / "rows.csv").write_text(ROWS)
    with pytest.raises(tl.TutelageError):
        tl.Recipe(dict(parse(RECIPE, "r").values) | changes).run()


def test_an_override_is_named_once(job):
    (job / "rows.csv").write_text(ROWS)
    student, data = "student={mlp: {hidden: [-1]}}", "data={train: rows.csv, label: c}"
    with pytest.raises(tl.RecipeError) as raised:
        tl.Recipe.from_file("job.yaml", ["teacher=", student, data]).run()
    assert str(raised.value).startswith(f"--set {student}: `hidden` must")


def test_stored_targets_of_transformed_inputs_are_refused_before_the_teacher_runs(job):
    values = dict(parse(RECIPE, "r").values) | {"label": {}}
    with pytest.raises(tl.RecipeError, match="`label` stores outputs"):
        tl.Recipe(values | {"training": {"epochs": 1, "transform": "Mixup"}}).run()
    assert not (job / "runs/job/targets").exists()
