"""Find the repeated blocks of a network: encoder layers, residual blocks, stages."""

from collections.abc import Iterator

from torch import nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.paths import submodule
from tutelage.layers.wrapper import unwrapped

# Candidates with less than this fraction of the largest one's parameters are ignored, such as
# the two linear layers of a head beside twelve encoder layers.
_RIVAL = 1 / 20
_MOST_NAMED = 6  # candidates in a message


def blocks(model: nn.Module, path: str | None = None) -> list[str]:
    """Return the paths of a network's repeated blocks, first to last.

    Without a path, it searches for an `nn.Sequential` or `nn.ModuleList` whose children (two or
    more) are all of one class and have parameters: the encoder layers of BERT or of a ViT. Where
    several `nn.Sequential` of one parent contain the same class, as `layer1` to `layer4` of a
    ResNet, these stages themselves are the blocks.

    Args:
        model: Any network.
        path: The `nn.Sequential` or `nn.ModuleList` whose children are the blocks; `""` is the
            model itself. Needed if there are several, as in an encoder-decoder.

    Raises:
        ArgumentError: There is no container at the path; or without a path, none or more than one
            was found.

    >>> body = nn.Sequential(*[nn.TransformerEncoderLayer(8, 2) for _ in range(3)])
    >>> blocks(nn.Sequential(nn.Linear(5, 8), body, nn.Linear(8, 2)))
    ['1.0', '1.1', '1.2']
    """
    return blocks_of(model, path, "model")


def blocks_of(model: nn.Module, path: str | None, side: str) -> list[str]:
    """Return the paths of the blocks of a model; `side` is its name in messages."""
    found = containers(model, path, side)
    return found if len(found) > 1 else children(model, found[0])


def containers(model: nn.Module, path: str | None, side: str) -> list[str]:
    """Return the path of the one container of blocks, or of all stages where there are several."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"the {side} must be an nn.Module, got {type(model).__name__}; pass one")
    if path is None:
        return _search(model, side)
    found = unwrapped(submodule(model, path, side))
    if not isinstance(found, (nn.Sequential, nn.ModuleList)) or not len(found):
        raise ArgumentError(
            f"the path of the {side}'s blocks must be that of an nn.Sequential or nn.ModuleList "
            f"with children, got {path!r}, a {type(found).__name__} with "
            f"{len(list(found.children()))}; pass the path of the container of the blocks"
        )
    return [path]


def children(model: nn.Module, path: str) -> list[str]:
    """Return the paths of the children of a layer."""
    parts = model.get_submodule(path)._modules  # noqa: SLF001 - children() leaves out repetitions
    return [f"{path}.{name}" if path else name for name, part in parts.items() if part is not None]


def _search(model: nn.Module, side: str) -> list[str]:
    """Return the outermost group of containers that is by far the largest."""
    groups = list(_groups(model))
    groups = [group for group in groups if not any(_inside(group, other) for other in groups)]
    if not groups:
        raise ArgumentError(
            f"no repeated blocks were found in the {side} ({type(model).__name__}), neither an "
            "nn.Sequential nor an nn.ModuleList of two or more layers of one class; pass the path "
            "of the container of the blocks, or name layers by their own paths"
        )
    # The number of parameters of each group.
    parts = [nn.ModuleList(map(model.get_submodule, group)) for group in groups]
    sizes = [sum(each.numel() for each in part.parameters()) for part in parts]
    rivals = [
        group for group, size in zip(groups, sizes, strict=True) if size >= _RIVAL * max(sizes)
    ]
    if len(rivals) > 1:
        names = ", ".join(repr(group[0]) for group in rivals[:_MOST_NAMED])
        raise ArgumentError(
            f"several parts of the {side} ({type(model).__name__}) could be its blocks, those of "
            f"{names}{' and more' * (len(rivals) > _MOST_NAMED)}; pass the path of one"
        )
    return rivals[0]


def _groups(model: nn.Module) -> Iterator[list[str]]:
    """Yield containers of equal layers; those of one parent and class as one group."""
    groups: dict[object, list[str]] = {}
    for path, module in unwrapped(model).named_modules():
        if not isinstance(module, (nn.Sequential, nn.ModuleList)) or not _is_repeated(module):
            continue
        key: object = path
        # A ModuleList is never called, so it cannot be a stage with an output.
        if isinstance(module, nn.Sequential) and path:
            key = path.rpartition(".")[0], _kind(module)
        groups.setdefault(key, []).append(path)
    for paths in groups.values():
        if len(paths) > 1 or len(children(model, paths[0])) > 1:
            yield paths


def _is_repeated(container: nn.Sequential | nn.ModuleList) -> bool:
    """Tell whether its children are of one class: several, or a single composite one."""
    parts = [part for part in container._modules.values() if part is not None]  # noqa: SLF001
    if not all(next(part.parameters(), None) is not None for part in parts):
        return False
    composed = any(True for part in parts for _ in part.children())
    return len(set(map(_kind, parts))) == 1 and (len(parts) > 1 or composed)


def _kind(module: nn.Module) -> object:
    """Return the class of a layer; for a container, also the classes inside."""
    if type(module) in {nn.Sequential, nn.ModuleList}:
        return type(module), frozenset(map(_kind, module.children()))
    return type(module)


def _inside(group: list[str], other: list[str]) -> bool:
    """Tell whether a group lies within another."""
    return group is not other and any(
        path == "" or group[0].startswith(f"{path}.") for path in other
    )
