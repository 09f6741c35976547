"""How a place inside a model is written: a module's path, and what of the module is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tutelage.errors import ArgumentError

_FORM = re.compile(r"(?P<path>.+?)(?P<input>:input)?(\[(?P<item>\w+)\])?")


@dataclass(frozen=True, slots=True)
class Place:
    """What a module of a network takes in or gives out.

    Args:
        path: The module, as `named_modules()` has it.
        input: Whether its input is meant, and not its output.
        item: Which one, where there are several: a position in a tuple, a key of a dict or the name
            of an argument; None for the first that is a tensor.
    """

    path: str
    input: bool = False
    item: int | str | None = None

    @classmethod
    def read(cls, text: str) -> Place:
        """Read a place as users write it: `path`, `path:input`, `path[1]`, `path:input[mask]`.

        Raises:
            ArgumentError: It is no such text.

        >>> Place.read("encoder.layer.3")
        Place(path='encoder.layer.3', input=False, item=None)
        >>> Place.read("attention:input[1]")
        Place(path='attention', input=True, item=1)
        """
        found = _FORM.fullmatch(text) if isinstance(text, str) else None
        if found is None:
            raise ArgumentError(
                f"a layer must be the path of a module, got {text!r}; write 'layer3', "
                "'layer3:input' for what it takes in, 'layer3[1]' for one item of several"
            )
        item: str | None = found["item"]
        position = int(item) if item is not None and item.isdecimal() else item
        return cls(found["path"], found["input"] is not None, position)
