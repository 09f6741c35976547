"""A student that is the teacher with fewer blocks."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Generic, NamedTuple

from torch import nn

from tutelage._checks import whole_number
from tutelage.errors import ArgumentError
from tutelage.layers.blocks import children, containers
from tutelage.students._configs import recount
from tutelage.students._copies import Model, copy_with, renumber
from tutelage.students._rebuilding import check_rebuilding


class Kept(NamedTuple, Generic[Model]):
    """A student made out of a teacher's blocks, and where each of them came from.

    Args:
        student: The teacher with only the kept blocks, in the teacher's mode and dtype.
        layer_map: `{student block: teacher block}`, paths, in order.
    """

    student: Model
    layer_map: dict[str, str]


def every_nth_layer(teacher: Model, n: int = 2, path: str | None = None) -> Kept[Model]:
    """Return the teacher with every n-th block alone: blocks n − 1, 2n − 1 and so on.

    Args:
        teacher: As for `keep_layers`.
        n: At least 2 and no more than there are blocks; 2 keeps one half of them.
        path: What holds the blocks, as for `keep_layers`.

    Raises:
        ArgumentError: `n` is out of its range, or as for `keep_layers`.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> every_nth_layer(teacher).layer_map
    {'0': '1', '1': '3'}
    """
    whole_number("n", n, 2, "pass how many blocks there are to one that is kept")
    count = len(children(teacher, _container(teacher, path)))
    if n > count:
        raise ArgumentError(
            f"`n` must be no more than the teacher's {count} blocks, got {n}; pass a smaller one"
        )
    return keep_layers(teacher, range(n - 1, count, n), path)


def keep_layers(teacher: Model, kept: Iterable[int], path: str | None = None) -> Kept[Model]:
    """Return the teacher with some of its blocks alone.

    DistilBERT (Sanh et al., arXiv:1910.01108) starts from every second layer of BERT. The student
    is a deep copy without what is not kept; parameters frozen in the teacher are so in the
    student. Block j of the student has the name of block j of the teacher. In a Hugging Face
    model, what counts layers (the config, `layer_idx`) is put right, so that the student can be
    saved and loaded as any model of its kind.

    Args:
        teacher: Any network of repeated blocks, each of which takes what the others return; it is
            left as it is.
        kept: Positions of the blocks to keep, counted from 0, each above the one before.
        path: What holds the blocks, an `nn.Sequential` or `nn.ModuleList`, where
            `tutelage.layers.blocks` cannot tell (in an encoder-decoder), or to keep blocks within
            one stage of several. Whether the blocks fit each other is then not looked at.

    Returns:
        The student and its layer map, `(student, layer_map)`.

    Raises:
        ArgumentError: `kept` is out of its range, blocks are not found, or they are stages.
        ModelError: The student would be no ordinary Hugging Face model of its kind, as a T5
            without block 0, which alone holds the position biases of all.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> student, layer_map = keep_layers(teacher, [0, 3])
    >>> student
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): Linear(in_features=2, out_features=2, bias=True)
    )
    >>> layer_map
    {'0': '0', '1': '3'}
    """
    container = _container(teacher, path)
    old = children(teacher, container)
    positions = _positions(kept, len(old))
    student = copy_with(teacher, container, positions)
    layer_map = {old[new]: old[position] for new, position in enumerate(positions)}
    renumber(student, layer_map, positions)
    recount(student, container, positions, len(old))
    check_rebuilding(student, teacher, container, layer_map)
    return Kept(student, layer_map)


def _positions(kept: Iterable[int], count: int) -> list[int]:
    """Return `kept` as a list of positions below `count`, or say what is wrong with it."""
    advice = f"pass positions of blocks from 0 to {count - 1}, each above the one before"
    if not isinstance(kept, Iterable):
        raise ArgumentError(f"`kept` must be a list of whole numbers, got {kept!r}; {advice}")
    positions = [whole_number("kept", position, 0, advice) for position in kept]
    increasing = all(a < b for a, b in pairwise(positions))
    if not positions or not increasing or positions[-1] >= count:
        raise ArgumentError(
            f"`kept` must name one or more of the teacher's {count} blocks in increasing order, "
            f"got {positions}; {advice}"
        )
    return positions


def _container(teacher: nn.Module, path: str | None) -> str:
    """Return the path of the one container of blocks, or say why there is no such."""
    found = containers(teacher, path, "teacher")
    if len(found) > 1:
        raise ArgumentError(
            f"the blocks of the teacher ({type(teacher).__name__}) are stages of their own shapes "
            f"({', '.join(map(repr, found))}), none of which can be left out; pass the path of one "
            f"of them, such as {found[-1]!r}, to keep some of the blocks in it"
        )
    other = None if path is not None else _other_shape(teacher, children(teacher, found[0]))
    if other is not None:
        raise ArgumentError(
            f"the blocks of the teacher ({type(teacher).__name__}) in {found[0]!r} have other "
            f"shapes from one to the next ({other!r}), so that leaving one out may break the "
            f"model; pass {found[0]!r} as path if it does not, or the path of what holds equal ones"
        )
    return found[0]


def _other_shape(teacher: nn.Module, paths: list[str]) -> str | None:
    """Return the name of a parameter that has not the same shape in all blocks which have it."""
    shapes: dict[str, object] = {}
    for path in paths:
        for name, parameter in teacher.get_submodule(path).named_parameters():
            if shapes.setdefault(name, parameter.shape) != parameter.shape:
                return f"{path}.{name}"
    return None
