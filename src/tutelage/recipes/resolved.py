"""The recipe as it is carried out: plain data and YAML."""

from __future__ import annotations

from typing import Any

import yaml
from pydantic import BaseModel, RootModel

from tutelage.errors import RecipeError
from tutelage.recipes.choices import Choice
from tutelage.recipes.reading import scalar
from tutelage.recipes.signatures import Arguments, Section, target_of


def resolved(given: Any) -> Any:
    """Return plain data of a part of a recipe, with the defaults of the library's own classes.

    Defaults of PyTorch's optimizers and schedulers are left out, since they have other arguments in
    other versions.
    """
    if isinstance(given, RootModel):
        return resolved(given.root)
    if isinstance(given, Choice):
        return {name: resolved(each) for name, each in given.chosen().items()}
    if isinstance(given, Section):
        ours = not isinstance(given, Arguments) or target_of(type(given)).__module__.startswith(
            "tutelage."
        )
        values = {name: getattr(given, name) for name in type(given).model_fields}
        return {
            name: resolved(value)
            for name, value in values.items()
            if name in given.model_fields_set or (ours and value is not None)
        }
    if isinstance(given, BaseModel):  # of the data
        return given.model_dump(mode="json", exclude_none=True)
    if isinstance(given, dict):
        return {key: resolved(each) for key, each in given.items()}
    return [resolved(each) for each in given] if isinstance(given, list) else given


def written(values: Any, version: str) -> str:
    """Return data as YAML that `reading` reads back as the same data."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return f"# Made by tutelage {version}; paths are relative to the working folder.\n{text}"


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with quotes around texts that look like something else in YAML 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        """Quote a text that would be read as a number, true, false or null."""
        style = "'" if _reads_otherwise(data) else None
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


def _reads_otherwise(text: str) -> bool:
    try:
        return scalar(text, "") is not text
    except RecipeError:
        return True


_Dumper.add_representer(str, _Dumper.represent_str)
