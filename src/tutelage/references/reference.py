"""The parts of a reference to a model, and the packages that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tutelage._checks import installed
from tutelage.errors import ArgumentError, ModelError, TutelageError, did_you_mean, in_short

WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Files that may hold the weights of an architecture."""


class ClassesNeededError(ModelError):
    """A model without an output layer needs the number of classes, which is not known."""


@dataclass(frozen=True, slots=True)
class Reference:
    """`kind:name@weights?option=value&option`, in parts.

    Args:
        argument: Whose value it is, for messages.
        text: The whole of it, for messages.
        name: A name, a folder, a file, or `file.py:function`.
        weights: A file, or the name of published weights; None where there is none.
        options: By name; `"true"` for one without a value.
    """

    argument: str
    text: str
    name: str
    weights: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, argument: str, text: str, rest: str) -> Reference:
        """Return the parts of `rest`, which is `text` without its kind."""
        name, mark, asked = rest.partition("?")
        options: dict[str, str] = {}
        for each in asked.split("&") if mark else ():
            key, given, value = each.partition("=")
            if not key or key in options or (given and not value):
                raise ArgumentError(
                    f"`{argument}` must have options such as ?size=64&max_length=128, got {text!r};"
                    " correct it"
                )
            options[key] = value if given else "true"
        name, at, weights = name.partition("@")
        if not name or (at and not weights):
            raise ArgumentError(
                f"`{argument}` must name a model, and weights behind an @, got {text!r}; complete "
                "it, such as timm:resnet18@weights.safetensors"
            )
        return cls(argument, text, name, weights or None, options)

    @property
    def file(self) -> Path:
        """The file of the model, which must exist."""
        path = Path(self.name).expanduser()
        if not path.is_file():
            raise ArgumentError(
                f"`{self.argument}` must name an existing file, got {self.text!r}; correct the path"
            )
        return path

    @property
    def weight_file(self) -> Path | None:
        """The file of the weights; None if there are none, or they are published ones."""
        if self.weights is None:
            return None
        if self.weights.endswith(WEIGHT_FILES) or "/" in self.weights:
            return Path(self.weights).expanduser()
        return None

    def check(self, options: Sequence[str] = (), weights: bool = False) -> None:
        """Refuse options that this kind of model does not have, and weights where it has them."""
        for name in self.options:
            if name not in options:
                has = f"it has {', '.join(options)}" if options else "it has none"
                raise ArgumentError(
                    f"`{self.argument}` must have options of its kind, got {name!r} in "
                    f"{self.text!r}; {did_you_mean(name, options) or has}"
                )
        if self.weights is not None and not weights:
            raise ArgumentError(
                f"`{self.argument}` names a model with its weights, got others behind the @ in "
                f"{self.text!r}; leave them out"
            )

    def number(self, option: str) -> int | None:
        """Return an option that is a positive integer; None if it is not there."""
        value = self.options.get(option)
        if value is not None and not (value.isdecimal() and int(value) > 0):
            raise ArgumentError(
                f"`{option}` must be a positive integer, got {value!r} in {self.text!r}; correct it"
            )
        return None if value is None else int(value)

    def one_of(self, option: str, values: Sequence[str]) -> str | None:
        """Return an option that has one of some values; None if it is not there."""
        value = self.options.get(option)
        if value is not None and value not in values:
            raise ArgumentError(
                f"`{option}` must be one of {', '.join(values)}, got {value!r} in {self.text!r}; "
                "choose one"
            )
        return value

    def flag(self, option: str) -> bool:
        """Tell whether an option is given that has no value."""
        value = self.options.get(option)
        if value not in (None, "true"):
            raise ArgumentError(
                f"`{option}` has no value, got {value!r} in {self.text!r}; write ?{option}, or "
                "leave it out"
            )
        return value is not None

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
        """Refuse another number of classes than is asked for, where it cannot be changed."""
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
