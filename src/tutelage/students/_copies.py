"""Copy a model without some of its blocks, and renumber the others."""

from collections.abc import Iterable
from copy import copy, deepcopy
from typing import Any, TypeVar

from torch import nn

from tutelage.errors import ModelError
from tutelage.layers.wrapper import unwrapped

Model = TypeVar("Model", bound=nn.Module)

# Names of a block's own position; caches of Hugging Face models are indexed by it.
_POSITIONS = ("layer_idx", "layer_id", "layer_index", "layer_number", "layer_num", "block_idx")


def copy_with(model: Model, container: str, kept: list[int]) -> Model:
    """Return a deep copy of a model in which a container has only the kept children.

    The other children are not copied, unless the model has a second reference to them.
    """
    try:
        original = unwrapped(model.get_submodule(container))
        # The smaller container is in the memo before the model is copied, so that in the copy all
        # references to the original are to the smaller one.
        smaller = copy(original)
        memo: dict[int, Any] = {id(original): smaller}
        state = {name: value for name, value in vars(original).items() if name != "_modules"}
        # A wrapper shares the dict of the layers.
        modules = memo[id(vars(original)["_modules"])] = {}
        smaller.__dict__ = {"_modules": modules} | deepcopy(state, memo)
        parts = [part for part in original._modules.items() if part[1] is not None]  # noqa: SLF001
        modules |= {parts[new][0]: deepcopy(parts[old][1], memo) for new, old in enumerate(kept)}
        return deepcopy(model, memo)
    except Exception as error:
        raise ModelError(
            f"the teacher ({type(model).__name__}) must be a model that can be copied, got "
            f"{type(error).__name__}: {error} of copy.deepcopy; build or load it again, and store "
            "no computed tensors in it"
        ) from error


def renumber(model: nn.Module, paths: Iterable[str], kept: list[int]) -> None:
    """Update the position in those parts of each block that store it."""
    for new, (path, old) in enumerate(zip(paths, kept, strict=True)):
        for part in model.get_submodule(path).modules():
            for name in _POSITIONS:
                if type(vars(part).get(name)) is int and vars(part)[name] == old:
                    setattr(part, name, new)
