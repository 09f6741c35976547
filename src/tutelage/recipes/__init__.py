"""Recipes: a whole job in one YAML file, built from the signatures of the classes it names."""

from typing import Any

from tutelage.recipes.model import RecipeModel
from tutelage.recipes.recipe import Recipe

__all__ = ["Recipe", "schema"]


def schema() -> dict[str, Any]:
    """Return the JSON schema of recipes, with the docstrings of the classes as descriptions."""
    found = RecipeModel.model_json_schema()
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "tutelage recipe"}
    return {**found, **about}
