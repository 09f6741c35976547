"""The recipes of docs/recipes.md are recipes."""

import re
from pathlib import Path

import tutelage as tl
from tutelage.recipes.model import RecipeModel
from tutelage.recipes.reading import parse

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"


def test_the_recipes_of_the_page_are_valid():
    found = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    whole, language, study = (parse(each, "page").values for each in found)
    assert tl.Recipe(whole).out == Path("runs/intents")
    assert tl.Recipe(language).model.student.root.root == "hf:./student-300m?max_length=1024"
    assert tl.Recipe({"data": "x.csv"} | study).model.study.primary == "soft"


def test_every_section_is_in_the_table():
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in RecipeModel.model_fields if f"| `{name}` |" not in text] == []
