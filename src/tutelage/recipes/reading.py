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

_MOST_BYTES, _MOST_NODES, _DEEPEST = 1_000_000, 20_000, 50
_LARGEST = 2**63
_PLAIN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("str", "seq", "map")}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_SPECIAL = {".inf": float("inf"), "+.inf": float("inf"), "-.inf": -float("inf")}


class WrittenFloat(float):
    """A float that knows how it was written: as the name of a layer, 1.10 is not 1.1."""

    text: str

    @classmethod
    def of(cls, text: str) -> WrittenFloat:
        """Return the number of a text."""
        number = cls(text)
        number.text = text
        return number


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
        RecipeError: The file cannot be read, is no YAML, or is refused.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        text = content.decode("utf-8-sig")
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
    if len(text) > _MOST_BYTES:
        raise RecipeError(
            f"{source} must have at most {_MOST_BYTES:,} characters, got more; keep data in files "
            "of their own"
        )
    try:
        _check_size(text, source)
        # Nodes are composed but nothing is constructed of them. BaseLoader guesses no types.
        node = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise RecipeError(_syntax(error, source)) from error
    except ValueError as error:  # of PyYAML, such as an escape beyond Unicode
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"{source} must be YAML, got: {error}; correct it") from error
    document = Document({}, source)
    if node is not None:
        document.values = _Reader(document).value(node, ())
    return document


def scalar(text: str, name: str) -> Any:
    """Return the value of an unquoted text: a number, true, false, null, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text in _SPECIAL:
        return _SPECIAL[text]
    if text == ".nan":
        return float("nan")
    if _INTEGER.fullmatch(text):
        if len(text) > len(str(_LARGEST)) or abs(int(text)) >= _LARGEST:
            raise RecipeError(
                f"{name}: an integer must lie below 2**63, got {text[:30]}; write a smaller one, "
                "or a text in quotes"
            )
        return int(text)
    if _FLOAT.fullmatch(text):
        return WrittenFloat.of(text)
    return text


def plain(value: Any) -> Any:
    """Return data without what is known of how it was written."""
    if isinstance(value, WrittenFloat):
        return float(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value


class _Reader:
    """Turns nodes into plain data; an alias counts as often as it is used."""

    def __init__(self, document: Document) -> None:
        self.document, self.nodes = document, 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Return the value of a node at a place."""
        line = node.start_mark.line + 1
        self.document.origins.setdefault(place, self._at(line))
        self.nodes += 1
        if self.nodes > _MOST_NODES or len(place) > _DEEPEST:
            raise _too_large(self._at(line))
        if node.tag not in _PLAIN_TAGS:
            raise RecipeError(
                f"{self._at(line)}: a recipe must have no tags, got {node.tag!r}; leave it out"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, (*place, str(at))) for at, each in enumerate(node.value)]
        unquoted = getattr(node, "style", None) is None
        return scalar(node.value, self._at(line)) if unquoted else node.value

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{self._at(line)}: a key must be a text, got a list or mapping")
            key = self.value(key_node, (*place, key_node.value))
            if key is None or isinstance(key, bool):
                key = key_node.value
            if key in found:
                first = self.document.where((*place, key_node.value))
                raise RecipeError(
                    f"{self._at(line)}: `{key}` must be given once, got it at {first} too; "
                    "remove one"
                )
            found[key] = self.value(value_node, (*place, key_node.value))
        return found

    def _at(self, line: int) -> str:
        return f"{self.document.source}, line {line}"


def _check_size(text: str, source: str) -> None:
    """Refuse a document that is too large or nested too deeply before it is composed."""
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=yaml.BaseLoader)):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or number > 2 * _MOST_NODES:
            raise _too_large(f"{source}, line {event.start_mark.line + 1}")


def _too_large(where: str) -> RecipeError:
    return RecipeError(
        f"{where}: a recipe must have at most {_MOST_NODES:,} values and be nested at most "
        f"{_DEEPEST} deep, got more; keep data in files of their own, and use fewer aliases"
    )


def _syntax(error: yaml.YAMLError, source: str) -> str:
    mark = getattr(error, "problem_mark", None)
    at = source if mark is None else f"{source}, line {mark.line + 1}"
    problem = " ".join(filter(None, [getattr(error, "context", ""), getattr(error, "problem", "")]))
    hint = "; a value that contains `: ` or begins with a sign such as @ or % needs quotes"
    return f"{at}: a recipe must be YAML, got: {problem or error}{hint}"


def override(document: Document, overrides: Sequence[str]) -> None:
    """Set values by place; mappings that do not exist are made.

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
        value = parse(text, source).values if text.strip() else None
        if document.values is None:
            document.values = {}
        _set(document.values, place, value, each)
        inside = [known for known in document.origins if known[: len(place)] == place]
        for known in inside:
            del document.origins[known]
        document.origins[place] = source


def _set(values: Any, place: Place, value: Any, override: str) -> None:
    for at, key in enumerate(place):
        last = at == len(place) - 1
        if isinstance(values, list):
            if not key.isdecimal() or int(key) >= len(values):
                raise RecipeError(
                    f"--set {override}: `{'.'.join(place[:at])}` is a list of {len(values)}, got "
                    f"{key!r}; give a position from 0"
                )
            index: Any = int(key)
        elif isinstance(values, dict):
            index = next((each for each in values if str(each) == key), key)  # keys may be numbers
        else:
            raise RecipeError(
                f"--set {override}: `{'.'.join(place[:at])}` must be a mapping or a list, got "
                f"{values!r}; replace it as a whole"
            )
        if last:
            values[index] = value
            return
        if isinstance(values, dict) and values.get(index) is None:
            values[index] = {}
        values = values[index]


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
