"""Recipes: a whole job in one YAML file, built from the signatures of the classes it names."""

from tutelage.recipes.recipe import Recipe

__all__ = ["Recipe"]
