"""A deep copy of a model that leaves out blocks, and numbers the others anew."""

from collections.abc import Iterable
from copy import copy, deepcopy
from typing import Any, TypeVar

from torch import nn

from tutelage.errors import ModelError

Model = TypeVar("Model", bound=nn.Module)

# What blocks call their own position; Hugging Face's caches are indexed by it.
_POSITIONS = ("layer_idx", "layer_id", "layer_index", "layer_number", "layer_num", "block_idx")


def copy_with(model: Model, container: str, kept: list[int]) -> Model:
    """Return a deep copy of a model in which a container holds only the kept children.

    What is left out is not copied either, unless the model holds it elsewhere, too.

    Raises:
        ModelError: The model cannot be copied.
    """
    try:
        return _copy_with(model, container, kept)
    except Exception as error:
        raise ModelError(
            f"the teacher ({type(model).__name__}) must be a model that can be copied, but "
            f"copy.deepcopy failed with {type(error).__name__}: {error}; build or load it anew, "
            "and keep in it no tensors that were computed"
        ) from error


def _copy_with(model: Model, container: str, kept: list[int]) -> Model:
    memo: dict[int, Any] = {}
    original = model.get_submodule(container)
    # The smaller container stands in the memo before the model is copied, so that whatever refers
    # to the original refers to it in the copy.
    memo[id(original)] = smaller = copy(original)
    state = {name: value for name, value in vars(original).items() if name != "_modules"}
    smaller.__dict__ = {"_modules": {}} | deepcopy(state, memo)
    parts = [part for part in original._modules.items() if part[1] is not None]  # noqa: SLF001
    smaller.__dict__["_modules"] |= {
        parts[new][0]: deepcopy(parts[old][1], memo) for new, old in enumerate(kept)
    }
    return deepcopy(model, memo)


def renumber(model: nn.Module, paths: Iterable[str], kept: list[int]) -> None:
    """Give the parts of each block that know its position the new one."""
    for new, (path, old) in enumerate(zip(paths, kept, strict=True)):
        for part in model.get_submodule(path).modules():
            for name in _POSITIONS:
                if type(vars(part).get(name)) is int and vars(part)[name] == old:
                    setattr(part, name, new)
