"""Pydantic models of the arguments of classes and functions, made from their signatures.

A recipe names classes of the library and gives their arguments. The names, types, defaults and
descriptions are read from the classes themselves, so that there is no second list of them.
"""

from __future__ import annotations

import collections.abc
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Annotated, Any, ForwardRef, Literal, Self, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
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

HOME = "tutelage.recipes.model"
"""The module in which the models that are named below are defined."""
LAYER_MAP, FROM_STUDENT = "layer_map", "from_student"
"""In place of a map of layers: that of a student that is made of the teacher's layers."""

_ARGUMENT = re.compile(r"^( +)\*{0,2}(\w+)(?: \([^)]*\))?: (.*)")
_TARGETS: dict[type[BaseModel], Makes] = {}


def _text(value: Any) -> Any:
    """Let numbers be texts where only texts are expected, such as names of layers."""
    if isinstance(value, WrittenFloat):
        return value.text
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_text)]
"""A text; unquoted numbers are texts too, as they were written."""
Anything = Annotated[Any, BeforeValidator(plain)]
"""Any plain data."""


class FunctionName(RootModel[str]):
    """A function: a name of the library, `package.module:name` or `file.py:name`."""


class ModelName(RootModel[Text]):
    """A model: `package.module:name`, `file.py:name`, or the folder of stored targets."""


_STANDS_FOR: dict[Any, Any] = {
    Schedule: ForwardRef("ScheduleChoice"),
    Objective: ForwardRef("ObjectiveSpec"),
    Transform: ForwardRef("TransformSpec"),
    MakeOptimizer: ForwardRef("OptimizerChoice"),
    MakeScheduler: ForwardRef("SchedulerChoice"),
    AnyTeacher: ForwardRef("TeacherSpec"),
    Teacher: ForwardRef("TeacherSpec"),
    nn.Module: ModelName,
    Any: Anything,
    object: Anything,
    Path: Text,
    str: Text,
    bool: bool,
    int: int,
    float: float,
    type(None): type(None),
}
"""By type in a signature, its type in a recipe."""


class Section(BaseModel):
    """A mapping with known keys."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        """Refuse unknown keys, and name those that are known."""
        unknown = [str(key) for key in value if not cls.has(key)] if isinstance(value, dict) else []
        if unknown:
            known = {"keys": unknown, "known": list(cls.model_fields)}
            raise PydanticCustomError("unknown_keys", "unknown keys", known)
        return value

    @classmethod
    def has(cls, key: object) -> bool:
        """Tell whether a key may be in this mapping."""
        return key in cls.model_fields


class Arguments(Section):
    """The arguments of a class or a function by name; a value alone is the first of them."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        first = next(iter(cls.model_fields), None)
        if value is None:
            return {}
        return value if first is None or isinstance(value, dict) else {first: value}

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


class Choice(Section):
    """One class by its name, with its arguments; a name alone takes all defaults.

    The name may be that of a class of the user, such as `file.py:Name`.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[dict[str, Any] | None, BeforeValidator(plain)]]  # pyright: ignore[reportIncompatibleVariableOverride]
    _names: tuple[str, ...] = PrivateAttr(())
    _several: typing.ClassVar[bool] = False

    @model_validator(mode="wrap")
    @classmethod
    def _by_name(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Accept a name alone, and remember the order of names."""
        given = {value: None} if isinstance(value, str) else value
        found = handler(given)
        names = tuple(map(str, given))
        if not names:
            known = ", ".join(cls.model_fields)
            raise PydanticCustomError("no_choice", "a name of: {known}", {"known": known})
        if names[1:] and not cls._several:
            raise PydanticCustomError("several", "names several", {"names": names})
        found._names = names  # noqa: SLF001 - its own
        return found

    @classmethod
    def has(cls, key: object) -> bool:
        """Tell whether a key is the name of a class."""
        return key in cls.model_fields or ":" in str(key)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """Accept a name alone, and references to the user's own classes."""
        found = handler.resolve_ref_schema(handler(schema))
        found |= {"patternProperties": {":": {}}, "additionalProperties": False}
        about = {"title": found.pop("title", ""), "description": found.pop("description", "")}
        names = {"type": "string", "enum": list(cls.model_fields)}
        return about | {"anyOf": [found, names, {"type": "string", "pattern": ":"}]}

    def chosen(self) -> dict[str, Arguments | dict[str, Any] | None]:
        """Return what is named, with its arguments, in the order of the recipe."""
        extra = self.__pydantic_extra__ or {}
        return {name: extra[name] if name in extra else getattr(self, name) for name in self._names}

    def one(self) -> tuple[str, Arguments | dict[str, Any] | None]:
        """Return the only name, with its arguments."""
        [found] = self.chosen().items()
        return found


class Sum(Choice):
    """A choice of several, which are added."""

    _several = True


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
        default = parameter.default
        if replace and name in replace:
            kind, default = replace[name]
        else:
            kind = translate(hints[name]) if name in hints else None
            if kind is not None and name == LAYER_MAP:
                kind = union([kind, Literal["from_student"]])
            if kind is not None and parameter.kind is Parameter.VAR_POSITIONAL:
                kind = list[kind]
        if kind is not None:
            fields[name] = (kind, _field(default, about.get(name)))
        elif default is Parameter.empty:
            return None
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


def _field(default: Any, about: str | None) -> Any:
    """Return a field; a default that YAML cannot express is left to the class."""
    if default is Parameter.empty:
        return Field(description=about)
    default = list(default) if isinstance(default, (tuple, list)) else default
    for each in default if isinstance(default, list) else [default]:
        if not isinstance(each, (bool, int, float, str, type(None))):
            return Field(default=None, description=about)
    return Field(default=default, description=about)


def parameters(target: Makes) -> dict[str, Parameter]:
    """Return the parameters of a class or function; none where it takes whatever is given."""
    found = inspect.signature(target).parameters
    passed_on = any(each.kind is Parameter.VAR_KEYWORD for each in found.values())
    return {} if passed_on else dict(found)


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
    found: dict[str, str] = {}
    indent, name = None, ""
    for line in text.partition("Args:\n")[2].splitlines():
        if line.strip() and not line.startswith(" "):
            break
        matched = _ARGUMENT.match(line)
        if matched and indent in (None, matched[1]):
            indent, name = matched[1], matched[2]
            found[name] = matched[3]
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def translate(hint: Any) -> Any:  # noqa: C901, PLR0911 - a case for each
    """Return the type that stands for a type hint in a recipe; None where there is none."""
    for kind, stands_for in _STANDS_FOR.items():
        if hint == kind:
            return stands_for
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        possible = [each for each in map(translate, inner) if each is not None]
        return union(possible) if possible else None
    if origin is Annotated:
        return translate(inner[0])
    if origin is Literal:
        return hint
    if collections.abc.Callable in (origin, hint):
        return FunctionName
    if not isinstance(origin, type):
        ours = isinstance(hint, type) and is_dataclass(hint) and _is_ours(hint)
        return arguments_model(hint) if ours else None
    kinds = [translate(each) for each in inner if each is not Ellipsis]
    if not kinds or None in kinds or not issubclass(origin, collections.abc.Iterable):
        return None
    if issubclass(origin, collections.abc.Mapping):
        return dict[kinds[0], kinds[1]]
    if origin is tuple and Ellipsis not in inner:  # a fixed length, such as Adam's betas
        return Annotated[list[union(kinds)], Field(min_length=len(inner), max_length=len(inner))]
    return list[kinds[0]]


def _is_ours(target: Any) -> bool:
    return target.__module__.startswith("tutelage.")


_SHAPES = {
    "<true or false>": bool,
    "<number>": (int, float),
    "<text>": str,
    "<list>": list,
    "<mapping>": dict,
}


def union(members: list[Any]) -> Any:
    """Return a union whose member is told by the shape of a value, and of mappings by their keys.

    So what is wrong is said of one member. Of several mappings it is the first that knows a key,
    else the last; a text that is the name of a class is that class.
    """
    members = [each for at, each in enumerate(members) if each not in members[:at]]
    if type(None) in members:
        rest = [each for each in members if each is not type(None)]
        return Union[union(rest), None] if rest else type(None)  # noqa: UP007
    if float in members and int in members:
        members.remove(int)
    kinds: dict[str, Any] = {}
    mappings: dict[str, Any] = {}
    for each in members:
        shape = _shape_of(each)
        if shape == "<mapping>":
            shape = f"<mapping> {len(mappings)}"
            mappings[shape] = each
        both = Annotated[Union[kinds.get(shape, each), each], Field(union_mode="left_to_right")]  # noqa: UP007
        kinds[shape] = both if shape in kinds else each
    if len(kinds) == 1:
        return next(iter(kinds.values()))

    def tag(value: Any) -> str:
        shape = next((name for name, kind in _SHAPES.items() if isinstance(value, kind)), "")
        for name, each in mappings.items():
            if _knows(each, value):
                return name
        as_mapping = shape == "<mapping>" or (shape == "<text>" and shape not in kinds)
        return next(reversed(mappings), shape) if as_mapping else shape

    tagged = [Annotated[kind, Tag(shape)] for shape, kind in kinds.items()]
    return Annotated[Union[tuple(tagged)], Discriminator(tag)]  # noqa: UP007


def _knows(kind: Any, value: Any) -> bool:
    """Tell whether a text names a class of a model, or a mapping has a key of it."""
    model = vars(sys.modules[HOME])[kind.__forward_arg__] if isinstance(kind, ForwardRef) else kind
    known = getattr(model, "model_fields", {})
    if (
        isinstance(value, dict)
        and inspect.isclass(model)
        and issubclass(model, Choice)
        and not issubclass(model, Sum)
    ):
        # Other mappings than of one class to its arguments have names of the user, as of domains.
        [(key, given), *more] = value.items() or [("", None)]
        return not more and (key in known or (":" in str(key) and not isinstance(given, str)))
    if isinstance(value, dict):
        return any(map(getattr(model, "has", known.__contains__), value))
    return isinstance(value, str) and value in known


def _shape_of(kind: Any) -> str:
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if kind in (str, FunctionName, ModelName) or get_origin(kind) is Literal:
        return "<text>"
    if get_origin(kind) is list:
        return "<list>"
    shapes = {bool: "<true or false>", int: "<number>", float: "<number>"}
    return shapes.get(kind, "<mapping>")
