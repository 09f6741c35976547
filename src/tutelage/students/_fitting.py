"""Check which blocks of a network can be removed, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from torch import nn
from torch.nn.modules.conv import _ConvNd

from tutelage.errors import ArgumentError

_Shapes = dict[str, tuple[int, ...]]


def check_left_out(teacher: nn.Module, paths: Sequence[str], kept: Sequence[int]) -> None:
    """Refuse to remove a block that may change the shape of its input; `kept` are positions.

    A block does not if a neighbour has weights of equal shapes, or if the width of its last layer
    equals that of its first layer's input. The first block of a stage of a ResNet, which changes
    the number of channels, meets neither condition.
    """
    shapes = [_shapes(teacher.get_submodule(path)) for path in paths]
    for position in sorted(set(range(len(paths))) - set(kept)):
        neighbours = [each for each in (position - 1, position + 1) if 0 <= each < len(paths)]
        others = [_other_shape(shapes[position], shapes[each]) for each in neighbours]
        if None in others or _keeps_width(teacher.get_submodule(paths[position])):
            continue
        if others:
            why = f"whose {others[0]!r} has another shape than in its neighbours"
            _refuse(teacher, paths, position, why)


def check_first(teacher: nn.Module, paths: Sequence[str], kept: Sequence[int]) -> None:
    """Refuse to remove a first block with parameters that the others lack, as T5's biases."""
    first, *rest = (set(_shapes(teacher.get_submodule(path))) for path in paths)
    if kept[0] == 0 or len(rest) < 2:  # noqa: PLR2004 - of two, neither is the exception
        return
    names = (first - set().union(*rest)) | (set.intersection(*rest) - first)
    if names:
        _refuse(teacher, paths, 0, f"which, unlike all others, has (or lacks) {min(names)!r}")


def check_pattern(teacher: nn.Module, paths: Sequence[str], kept: Sequence[int]) -> None:
    """Refuse kept blocks that break a pattern, such as a Swin's alternately shifted windows."""
    settings = [_settings(teacher.get_submodule(path)) for path in paths]
    for name in settings[0]:
        values = [each.get(name) for each in settings]
        period = next(p for p in range(1, len(values) + 1) if values[p:] == values[:-p])
        if period == 1 or 2 * period > len(values):
            continue
        for new, old in enumerate(kept):
            if values[old] != values[new % period]:
                raise ArgumentError(
                    f"the blocks of the teacher ({type(teacher).__name__}) alternate in {name!r}, "
                    f"so that block {new} of the student must have {values[new % period]!r}, got "
                    f"{paths[old]!r} with {values[old]!r}; keep blocks that continue the pattern, "
                    f"as every_nth_layer(..., n={period + 1}, start=0) does"
                )


def _shapes(block: nn.Module) -> _Shapes:
    """Return the shapes of a block's parameters and the strides of its convolutions, by name."""
    strides = (
        (f"{name}.stride", part.stride)
        for name, part in block.named_modules()
        if isinstance(part, _ConvNd)
    )
    return dict(chain(((name, each.shape) for name, each in block.named_parameters()), strides))


def _other_shape(block: _Shapes, other: _Shapes) -> str | None:
    """Return a name that both blocks have with different shapes; None if there is none."""
    return next((name for name in block if block[name] != other.get(name, block[name])), None)


def _keeps_width(block: nn.Module) -> bool:
    """Tell whether a block seems to keep the shape of its input."""
    layers = [each for each in block.modules() if isinstance(each, (nn.Linear, _ConvNd))]
    if not layers or any(max(each.stride) > 1 for each in layers if isinstance(each, _ConvNd)):
        return False
    first, last = layers[0], layers[-1]
    into = first.in_features if isinstance(first, nn.Linear) else first.in_channels
    out_of = last.out_features if isinstance(last, nn.Linear) else last.out_channels
    return into == out_of


def _settings(block: nn.Module) -> dict[str, object]:
    """Return the settings of all parts of a block, by name."""
    return {
        f"{path}.{name}".removeprefix("."): tuple(value) if isinstance(value, list) else value
        for path, part in block.named_modules()
        for name, value in vars(part).items()
        if name[0] != "_" and name != "training"
        if isinstance(value, (bool, int, str))
        or (isinstance(value, (list, tuple)) and all(isinstance(each, int) for each in value))
    }


def _refuse(teacher: nn.Module, paths: Sequence[str], position: int, why: str) -> None:
    first = " (every_nth_layer(..., start=0) does)" if position == 0 else ""
    raise ArgumentError(
        f"blocks that are removed must be like their neighbours, got {paths[position]!r} of the "
        f"teacher ({type(teacher).__name__}), {why}; keep block {position}{first}, or give "
        "`inputs`, to test the student on them instead"
    )
