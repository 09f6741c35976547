"""Read and write YAML as plain data, with the line of every key; nothing in a file can run code.

Values follow YAML 1.2: `5e-5` is a number, `no` and `12:30` are texts. Refused are tags, keys that
occur twice, and documents that grow beyond a limit by nesting or by repeated aliases.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tutelage.errors import RecipeError

Place = tuple[str, ...]
"""Keys and positions, as texts, from the top of a document to a value."""

_MAX_BYTES, _MAX_VALUES, _MAX_DEPTH = 1_000_000, 20_000, 50
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_WORDS |= {name: float(name.replace(".", "")) for name in (".inf", "+.inf", "-.inf", ".nan")}


class WrittenFloat(float):
    """A float that knows how it was written: as the name of a layer, 1.10 is not 1.1."""

    text: str


@dataclass
class Document:
    """A document as plain data.

    Args:
        values: Dicts, lists, numbers, texts and None.
        source: The name of the file, for messages.
        origins: By place, where a key or an item of a list was written: the file and the line.
    """

    values: Any
    source: str
    origins: dict[Place, str] = field(default_factory=dict)

    def where(self, place: Place) -> str:
        """Return where a place, or the nearest one around it, was written."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.origins:
                return self.origins[place[:length]]
        return self.source


def read_document(path: Path) -> Document:
    """Return the content of a YAML file.

    Raises:
        RecipeError: The file cannot be read, is not YAML, or is refused.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode("utf-8-sig")
    except OSError as error:
        raise RecipeError(
            f"a recipe must be a file that can be read, got {path} ({error.strerror}); correct the "
            "path, or write one with `tutelage init`"
        ) from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} must be text in UTF-8, got {error}; save it as UTF-8") from error
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """Return the content of a text in YAML."""
    if len(text) > _MAX_BYTES:
        raise RecipeError(
            f"{source} must have at most {_MAX_BYTES:,} characters, got more; keep data in files "
            "of their own"
        )
    document = Document({}, source)
    try:
        # Nodes are composed but nothing is constructed of them. BaseLoader guesses no types.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        if node is not None:
            document.values = _Values(document).of(node, ())
    except RecipeError:
        raise
    except RecursionError as error:
        raise _too_large(source) from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an escape beyond Unicode
        mark = getattr(error, "problem_mark", None)
        at = source if mark is None else f"{source}, line {mark.line + 1}"
        parts = [getattr(error, name, None) for name in ("context", "problem")]
        raise RecipeError(
            f"{at}: a recipe must be YAML, got: {' '.join(filter(None, parts)) or error}; a value "
            "that contains `: ` or begins with a sign such as @ or % needs quotes"
        ) from error
    return document


def scalar(text: str) -> Any:
    """Return the value of an unquoted text: a number, true, false, null, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text) and len(text) < 20 and abs(int(text)) < 2**63:  # noqa: PLR2004
        return int(text)
    if _INTEGER.match(text):
        raise ValueError(f"an integer must lie below 2**63, got {text[:30]}")
    if _FLOAT.match(text):
        number = WrittenFloat(text)
        number.text = text
        return number
    return text


def plain(value: Any) -> Any:
    """Return data without what is known of how it was written."""
    if isinstance(value, WrittenFloat):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


class _Values:
    """Turns nodes into plain data and notes their lines; an alias counts each time it is used."""

    def __init__(self, document: Document) -> None:
        self.document, self.count = document, 0

    def of(self, node: yaml.Node, place: Place) -> Any:  # noqa: C901 - a case for each
        """Return the value of a node at a place."""
        line = f"{self.document.source}, line {node.start_mark.line + 1}"
        self.document.origins.setdefault(place, line)
        self.count += 1
        if self.count > _MAX_VALUES or len(place) > _MAX_DEPTH:
            raise _too_large(line)
        if node.tag not in _PLAIN_TAGS:
            raise RecipeError(f"{line}: a recipe must have no tags, got {node.tag!r}; leave it out")
        if isinstance(node, yaml.SequenceNode):
            return [self.of(each, (*place, str(at))) for at, each in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            if node.style is not None:  # quoted
                return node.value
            try:
                return scalar(node.value)
            except ValueError as error:
                raise RecipeError(f"{line}: {error}; write it in quotes if it is text") from error
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{line}: a key must be a text, got a list or a mapping")
            inner = (*place, key_node.value)
            first = self.document.origins.get(inner)
            key = self.of(key_node, inner)
            if key is None or isinstance(key, bool):
                key = key_node.value
            if key in found:
                at = f"{self.document.source}, line {key_node.start_mark.line + 1}"
                raise RecipeError(
                    f"{at}: `{key}` must be given once, got it at {first} too; remove one"
                )
            found[key] = self.of(value_node, inner)
        return found


def _too_large(where: str) -> RecipeError:
    return RecipeError(
        f"{where}: a recipe must have at most {_MAX_VALUES:,} values and be nested at most "
        f"{_MAX_DEPTH} deep, got more; keep data in files of their own, and use fewer aliases"
    )


def override(document: Document, overrides: Sequence[str]) -> None:
    """Set values by place, such as `training.epochs=5`; missing mappings are made.

    Raises:
        RecipeError: An override has no `=`, or its place is inside of something else than a
            mapping or a list.
    """
    for each in overrides:
        name, equals, text = each.partition("=")
        place = tuple(name.strip().split("."))
        if not equals or not all(place):
            raise RecipeError(
                f"an override must be KEY=VALUE, got {each!r}; for instance training.epochs=5"
            )
        source = f"--set {each}"
        inner: Any = document.values
        for at, part in enumerate(place):
            if not isinstance(inner, (dict, list)):
                raise RecipeError(
                    f"{source}: `{'.'.join(place[:at])}` must be a mapping or a list, got "
                    f"{inner!r}; replace it as a whole"
                )
            keys: Any = range(len(inner)) if isinstance(inner, list) else inner
            key: Any = next((known for known in keys if str(known) == part), part)
            if key not in keys and isinstance(inner, list):
                raise RecipeError(
                    f"{source}: `{'.'.join(place[:at])}` is a list of {len(inner)}, got {part!r}; "
                    "give a position from 0"
                )
            if at == len(place) - 1:
                inner[key] = parse(text, source).values if text.strip() else None
            elif key not in keys or inner[key] is None:
                inner[key] = {}
            inner = inner[key]
        for known in [known for known in document.origins if known[: len(place)] == place]:
            del document.origins[known]
        document.origins[place] = source


def written(values: Any, version: str) -> str:
    """Return data as YAML that `parse` reads back as the same data."""
    text = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return f"# Made by tutelage {version}; paths are relative to the working folder.\n{text}"


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with quotes around texts that are numbers in YAML 1.2."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write everything out."""
        return True


for _number in (_INTEGER, _FLOAT):
    _Dumper.add_implicit_resolver("tag:yaml.org,2002:float", _number, None)
