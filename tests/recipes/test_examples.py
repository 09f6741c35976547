"""The recipes in examples/ are valid and short; one is run on a small table of its form."""

import random
from pathlib import Path

import pytest

import tutelage as tl

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
_MOST_LINES = 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_a_short_recipe(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(lines) <= _MOST_LINES
    job = tl.Recipe.from_file(path)._job()
    assert job.model.compress or (job.objectives and job.settings["epochs"])


def test_income(job):
    """Categories and missing cells reach trees and network."""
    draw = random.Random(0)
    rows = ["age,job,hours,income"]
    for _ in range(300):
        age, work = draw.randrange(20, 70), draw.choice(["cook", "smith", "clerk", ""])
        hours = draw.choice(["", str(draw.randrange(10, 60))])
        income = ">50K" if age > 45 and work != "cook" else "<=50K"
        rows.append(f"{age},{work},{hours},{income}")
    (job / "adult.csv").write_text("\n".join(rows))
    [path] = [each for each in EXAMPLES if each.stem == "income"]
    given = ["data.train=adult.csv", "training.optimizer.AdamW.lr=1e-2"]
    recipe = tl.Recipe.from_file(path, given)
    recipe.run()
    found = recipe.evaluate("test")
    assert found["teacher"]["accuracy"] > 0.9
    assert found["student"]["accuracy"] > 0.85
