"""A reference to a model in parts: its kind, name, weights and options."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tutelage._checks import installed
from tutelage.errors import (
    ArgumentError,
    ModelError,
    NotFoundError,
    TutelageError,
    in_short,
    nearest,
)
from tutelage.layers import ImageInputs

KINDS = ("timm", "torchvision", "hf", "sentence-transformers")
"""Libraries whose models are named as `kind:NAME`."""
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Files that may hold the weights of an architecture."""
IMAGE_OPTIONS = {"mean": str, "size": int, "std": str}
_PYTHON = re.compile(r"(.+\.py:[\w.]+|[\w.]+:[\w.]+)(?:@(.*))?", re.DOTALL)
_OPTIONS = re.compile(r"(.*?)\?(\w+(?:=[^&?]*)?(?:&\w+(?:=[^&?]*)?)*)", re.DOTALL)
_CONSENT = ("trust", "trust_code", "trust_remote_code")


class ClassesNeededError(ModelError):
    """A model without an output layer needs the number of classes, which is not known."""


def code_in(text: str) -> str | None:
    """Return the `file.py:name` or `package.module:name` in a reference, without its weights."""
    found = None if text.partition(":")[0] in KINDS else _PYTHON.fullmatch(text)
    return None if found is None else found[1]


@dataclass(frozen=True, slots=True)
class Reference:
    """`kind:name@weights?option=value&option`, in parts.

    Args:
        argument: Whose value it is, for messages.
        text: The whole of it, for messages.
        name: A name, a folder, a file, or `file.py:function`.
        kind: One of `KINDS`, `"python"` for `file.py:function`, or `"file"`.
        weights: A file, or the name of published weights; None where there is none.
        options: By name; `"true"` for one without a value. Values after `with_options`.
        trust: Whether code that belongs to the model may run; or the names of the types of a file
            of skops that are trusted.
    """

    argument: str
    text: str
    name: str
    kind: str = "file"
    weights: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    trust: bool | Collection[str] = False

    @classmethod
    def parse(cls, argument: str, text: str, trust: bool | Collection[str] = False) -> Reference:
        """Return the parts of a reference.

        A path may contain @ and ?: weights are named behind the name of an architecture only, and
        options are words.
        """
        kind, colon, rest = text.partition(":")
        if not colon or kind not in KINDS:
            kind, rest = "file", text
        options: dict[str, str] = {}
        found = None if Path(rest).expanduser().exists() else _OPTIONS.fullmatch(rest)
        for each in found[2].split("&") if found else ():
            key, equals, value = each.partition("=")
            if key in options or (equals and not value):
                raise ArgumentError(
                    f"`{argument}` must have options such as ?size=64&max_length=128, got {text!r};"
                    " correct it"
                )
            options[key] = value if equals else "true"
        name = found[1] if found else rest
        weights: str | None = None
        if kind in ("timm", "torchvision") and "@" in name:
            name, _, weights = name.partition("@")
        elif kind == "file" and (code := _PYTHON.fullmatch(name)):
            kind, name, weights = "python", code[1], code[2]
        if not name or weights == "":
            raise ArgumentError(
                f"`{argument}` must name a model, and weights behind an @, got {text!r}; complete "
                "it, such as timm:resnet18@weights.safetensors"
            )
        return cls(argument, text, name, kind, weights, options, trust)

    @property
    def file(self) -> Path:
        """The file of the model, which must exist."""
        path = Path(self.name).expanduser()
        if not path.is_file():
            raise NotFoundError(
                f"`{self.argument}` must name an existing file, got {self.text!r}; correct the path"
            )
        return path

    @property
    def weight_file(self) -> Path | None:
        """The file of the weights; None if there are none, or they are published ones."""
        if self.weights is None or not (self.weights.endswith(WEIGHT_FILES) or "/" in self.weights):
            return None
        return Path(self.weights).expanduser()

    def with_options(self, **kinds: type | Sequence[str]) -> Reference:
        """Return it with its options as values: those that this kind of model has.

        Args:
            kinds: By name: `int` for a positive integer, `bool` for an option without a value,
                `str`, or the words of which it is one.

        Raises:
            ArgumentError: It has others, or consents to foreign code, which is not for the
                reference to say.
        """
        found: dict[str, Any] = {}
        for name, value in self.options.items():
            kind, expected = kinds.get(name, ()), None
            if name in _CONSENT:
                raise ArgumentError(
                    f"`{self.argument}` {self.text!r} cannot consent to code itself ({name}); pass "
                    "trust=True, on the command line --trust, and leave it out"
                )
            if name not in kinds:
                raise ArgumentError(
                    f"`{self.argument}` must have options of its kind, got {name!r} in "
                    f"{self.text!r}; {nearest(name, kinds)}"
                )
            if kind is int and not (value.isdecimal() and int(value) > 0):
                expected = "a positive integer"
            elif kind is bool and value != "true":
                expected = "without a value"
            elif not isinstance(kind, type) and value not in kind:
                expected = f"one of {', '.join(kind)}"
            if expected is not None:
                raise ArgumentError(
                    f"`{name}` must be {expected}, got {value!r} in {self.text!r}; correct it"
                )
            found[name] = kind(value) if isinstance(kind, type) else value
        return replace(self, options=found)

    def image_inputs(self) -> ImageInputs | None:
        """Return the preprocessing of `?mean=0.5,0.5,0.5&std=0.5,0.5,0.5&size=224`; None without.

        Raises:
            ArgumentError: An option is not a list of numbers.
        """
        if self.options.keys().isdisjoint(IMAGE_OPTIONS):
            return None
        try:
            mean, std = (
                [float(each) for each in self.options.get(name, default).split(",")]
                for name, default in (("mean", "0"), ("std", "1"))
            )
        except ValueError as error:
            raise ArgumentError(
                "`mean` and `std` must be numbers, one for each channel, got "
                f"{self.text!r}; write mean=0.5,0.5,0.5"
            ) from error
        size = self.options.get("size")
        return ImageInputs(size, size, mean, std)

    @contextmanager
    def loading(self, advice: str) -> Iterator[None]:
        """Turn what libraries raise of damaged files, or of the network, into one error."""
        try:
            yield
        except TutelageError:
            raise
        except Exception as error:
            raise ModelError(
                f"`{self.argument}` {self.text!r} could not be loaded: {in_short(error)}; {advice}"
            ) from error

    def needs(self, module: str, extra: str) -> Any:
        """Return a module of a package that is needed for this model.

        Raises:
            ModelError: It is not installed.
        """
        return installed(f"`{self.argument}` {self.text!r}", module, extra, ModelError)

    def check_classes(self, found: int | None, classes: int | None) -> None:
        """Refuse another number of classes than required, where it cannot be changed."""
        if classes is not None and found is not None and classes != found:
            raise ModelError(
                f"`{self.argument}` must have {classes} classes, got a model with {found}, which "
                "cannot be changed; give the model of these classes"
            )

    def needs_classes(self, classes: int | None, what: str, way: str) -> int:
        """Return the number of classes, which a model without an output layer needs."""
        if classes is None:
            raise ClassesNeededError(
                f"`{self.argument}` must be a model that is trained, or the number of classes must "
                f"be known, got {self.text!r}, {what}; {way}"
            )
        return classes


def digest_of(path: Path) -> str:
    """Return a hash of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
