"""Pydantic models of the arguments of classes and functions, made from their signatures.

A recipe names classes of the library and gives their arguments. The names, types, defaults and
descriptions are read from the classes themselves, so that there is no second list of them.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    RootModel,
    Tag,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError
from torch import nn

from tutelage.data import Transform
from tutelage.objectives import Objective
from tutelage.recipes.reading import WrittenFloat, plain
from tutelage.schedules import Schedule
from tutelage.teachers import AnyTeacher, Teacher
from tutelage.training.settings import MakeOptimizer, MakeScheduler

Makes = Callable[..., Any]
"""A class or a function whose arguments a recipe gives."""

KNOWN: dict[Any, Any] = {
    Schedule: ForwardRef("ScheduleChoice"),
    Objective: ForwardRef("ObjectiveSpec"),
    Transform: ForwardRef("TransformSpec"),
    MakeOptimizer: ForwardRef("OptimizerChoice"),
    MakeScheduler: ForwardRef("SchedulerChoice"),
    AnyTeacher: ForwardRef("TeacherSpec"),
    Teacher: ForwardRef("TeacherSpec"),
    nn.Module: ForwardRef("ModelName"),
}
"""By type, the type that stands for it in a recipe."""
HOME = "tutelage.recipes.model"
"""The module in which these are defined."""

_NONE = type(None)
_PLAIN_DEFAULTS = (bool, int, float, str, _NONE)
_NO_TYPE = object()
_ARGUMENT = re.compile(r"^( +)\*{0,2}(\w+)(?: \([^)]*\))?: (.*)")
_TARGETS: dict[type[BaseModel], Makes] = {}


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Refuse unknown keys, and tell which are known."""
        keys = value if isinstance(value, dict) else ()
        unknown = [str(key) for key in keys if key not in cls.model_fields]
        if unknown:
            known = {"keys": unknown, "known": list(cls.model_fields)}
            raise PydanticCustomError("unknown_keys", "unknown keys", known)
        return value


class Arguments(Section):
    """The arguments of a class or a function by name; a value alone is the first of them."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value is None:
            return {}
        first = next(iter(cls.model_fields), None)
        alone = first is not None and not isinstance(value, (dict, cls))
        return {first: value} if alone else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Let editors accept the forms that the validator does: nothing, or the first argument."""
        found = handler.resolve_ref_schema(handler(schema))
        if not found.get("required"):
            found["type"] = ["object", "null"]
        first = next(iter(found.get("properties", {}).values()), None)
        if first is None or found.get("required", [])[1:]:
            return found
        title, about = found.pop("title", ""), found.pop("description", "")
        return {"title": title, "description": about, "anyOf": [found, first]}


class FunctionName(RootModel[str]):
    """A function: a name of the library, `package.module:name` or `file.py:name`."""


LAYER_MAP, FROM_STUDENT = "layer_map", "from_student"
"""In place of a map of layers: that of a student that is made of the teacher's layers."""


def target_of(model: type[BaseModel]) -> Makes:
    """Return what the arguments of this model are for."""
    return _TARGETS[model]


def arguments_model(
    target: Makes,
    *,
    omit: tuple[str, ...] = (),
    replace: Mapping[str, tuple[Any, Any]] | None = None,
    add: Mapping[str, tuple[Any, Any, str]] | None = None,
) -> type[Arguments] | None:
    """Return a model of the arguments of a class or a function.

    Args:
        target: The class or function.
        omit: Parameters that a recipe does not give.
        replace: Type and default of parameters that a recipe gives in another form.
        add: Type, default and description of what a recipe gives beside the parameters.

    Returns:
        None where a required argument cannot be written in a recipe.
    """
    hints, about = type_hints(target), descriptions(target)
    fields: dict[str, Any] = {}
    for name, parameter in parameters(target).items():
        if name in omit:
            continue
        if replace and name in replace:
            kind, default = replace[name]
        else:
            kind = translate(hints.get(name, _NO_TYPE))
            if name == LAYER_MAP:
                kind = by_shape([kind, Literal["from_student"]])
            if parameter.kind is Parameter.VAR_POSITIONAL and kind is not _NO_TYPE:
                kind = list[kind]
            default = parameter.default
        if kind is _NO_TYPE and default is Parameter.empty:
            return None
        if kind is not _NO_TYPE:
            fields[name] = (kind, _field(default, about.get(name, "")))
    for name, (kind, default, words) in (add or {}).items():
        fields[name] = (kind, _field(default, words))
    model = create_model(
        getattr(target, "__name__", "Arguments"),
        __base__=Arguments,
        __module__=HOME,
        __doc__=summary(target),
        **fields,
    )
    _TARGETS[model] = target
    return model


def parameters(target: Makes) -> dict[str, Parameter]:
    """Return the parameters of a class or function; none where it takes whatever is given."""
    found = inspect.signature(target).parameters
    if any(each.kind is Parameter.VAR_KEYWORD for each in found.values()):  # passed to a base
        return {}
    return dict(found)


def type_hints(target: Makes) -> dict[str, Any]:
    """Return the types of the parameters, with texts resolved."""
    function = inspect.unwrap(target.__init__ if isinstance(target, type) else target)
    if not isinstance(function, types.FunctionType):
        return {}
    # Modules may import names for type checkers only, most often these.
    usual = {name: getattr(collections.abc, name) for name in collections.abc.__all__}
    return typing.get_type_hints(function, {**vars(typing), **usual, **function.__globals__})


def summary(target: Makes) -> str:
    """Return the first paragraph of a docstring."""
    return " ".join((inspect.getdoc(target) or "").split("\n\n")[0].split())


def descriptions(target: Makes) -> dict[str, str]:
    """Return what a Google docstring says of each argument."""
    text = inspect.getdoc(target) or ""
    if isinstance(target, type) and "Args:" not in text:
        text = inspect.getdoc(target.__init__) or ""
    _, _, rest = text.partition("Args:\n")
    found: dict[str, str] = {}
    indent, name = None, ""
    for line in rest.splitlines():
        if line.strip() and not line.startswith(" "):
            break
        matched = _ARGUMENT.match(line)
        if matched and indent in (None, matched[1]):
            indent, name = matched[1], matched[2]
            found[name] = matched[3]
        elif name:
            found[name] += f" {line.strip()}"
    return {name: each.strip() for name, each in found.items()}


def translate(hint: Any) -> Any:  # noqa: PLR0911 - a case for each
    """Return the type that stands for a type hint in a recipe; `_NO_TYPE` where none can."""
    simple = {Any: Anything, object: Anything, str: Text, Path: Text}
    simple |= {each: each for each in (bool, int, float, _NONE)}
    for kind, stands_for in {**KNOWN, **simple}.items():
        if hint == kind:
            return stands_for
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        translated = map(translate, get_args(hint))
        possible = [each for each in translated if each is not _NO_TYPE]
        return by_shape(possible) if possible else _NO_TYPE
    if origin is Annotated:
        return translate(get_args(hint)[0])
    if collections.abc.Callable in (origin, hint):
        return FunctionName
    if isinstance(origin, type):
        return _container(origin, get_args(hint))
    if is_dataclass(hint) and isinstance(hint, type) and hint.__module__.startswith("tutelage."):
        return arguments_model(hint) or _NO_TYPE
    return hint if origin is Literal else _NO_TYPE


def _container(origin: type, inner: tuple[Any, ...]) -> Any:
    """Return the type of a mapping, a list, or a list of a fixed length such as Adam's betas."""
    kinds = [translate(each) for each in inner if each is not Ellipsis]
    if not kinds or _NO_TYPE in kinds:
        return _NO_TYPE
    if issubclass(origin, collections.abc.Mapping):
        return dict[kinds[0], kinds[1]]
    if origin is tuple and Ellipsis not in inner:
        item = by_shape(kinds)
        return Annotated[list[item], Field(min_length=len(kinds), max_length=len(kinds))]
    return list[kinds[0]] if issubclass(origin, collections.abc.Iterable) else _NO_TYPE


def by_shape(members: list[Any]) -> Any:
    """Return a union in which the shape of a value (number, text, list, …) tells its type."""
    shapes: dict[str, list[Any]] = {}
    for each in members:
        kinds = shapes.setdefault(_shape_of_type(each), [])
        kinds += [] if each in kinds else [each]
    if float in shapes.get("<number>", ()):
        shapes["<number>"] = [float]
    joined = {
        shape: kinds[0]
        if len(kinds) == 1
        else Annotated[Union[tuple(kinds)], Field(union_mode="left_to_right")]  # noqa: UP007
        for shape, kinds in shapes.items()
    }
    if len(joined) == 1:
        return next(iter(joined.values()))
    if len(joined) == 2 and "<nothing>" in joined:  # noqa: PLR2004 - a type and None
        other = next(kind for shape, kind in joined.items() if shape != "<nothing>")
        return Union[other, None]  # noqa: UP007 - it may be a forward reference
    tagged = tuple(Annotated[kind, Tag(shape)] for shape, kind in joined.items())
    names = frozenset(shapes)
    return Annotated[Union[tagged], Discriminator(lambda value: shape_of(value, names))]  # noqa: UP007


def shape_of(value: Any, shapes: frozenset[str]) -> str:
    """Return the shape of a value; a text may stand for a mapping, as `AdamW` for `{AdamW: {}}`."""
    kinds: list[tuple[Any, str]] = [
        (_NONE, "<nothing>"),
        (bool, "<true or false>"),
        ((int, float), "<number>"),
        ((str, FunctionName), "<text>"),
        (list, "<list>"),
    ]
    shape = next((name for kind, name in kinds if isinstance(value, kind)), "<mapping>")
    return "<mapping>" if shape == "<text>" and shape not in shapes else shape


def _shape_of_type(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _shape_of_type(get_args(kind)[0])
    shapes = {_NONE: "<nothing>", bool: "<true or false>", int: "<number>", float: "<number>"}
    shapes |= {str: "<text>", FunctionName: "<text>"}
    if get_origin(kind) is Literal:
        return "<text>"
    if get_origin(kind) is list:
        return "<list>"
    return shapes.get(kind, "<mapping>")


def _field(default: Any, about: str) -> Any:
    """Return a field; a default that YAML cannot express is left to the class."""
    words = about or None
    if default is Parameter.empty:
        return Field(description=words)
    listed = isinstance(default, (tuple, list))
    items = list(default) if listed else [default]
    if not all(isinstance(each, _PLAIN_DEFAULTS) for each in items):
        return Field(default=None, description=words)
    return Field(default=items if listed else default, description=words)


def _text(value: Any) -> Any:
    """Let numbers be texts where only texts are expected, such as names of layers."""
    if isinstance(value, WrittenFloat):
        return value.text
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]
"""A text; unquoted numbers are texts too, as they were written."""


Anything = Annotated[Any, BeforeValidator(plain)]
"""Any plain data."""
