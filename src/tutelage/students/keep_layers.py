"""Students that are the teacher with fewer blocks."""

from collections.abc import Iterable
from itertools import pairwise
from typing import Generic, NamedTuple

import torch
from torch import nn

from tutelage._checks import integer
from tutelage.errors import ArgumentError
from tutelage.layers import evaluating, observe
from tutelage.layers.blocks import children, containers
from tutelage.students._configs import recount
from tutelage.students._copies import Model, copy_with, renumber
from tutelage.students._fitting import check_first, check_left_out, check_pattern
from tutelage.students._rebuilding import check_rebuilding
from tutelage.wants import OUTPUT


class Kept(NamedTuple, Generic[Model]):
    """A student, in the teacher's mode and dtype, and the origin of each block.

    `layer_map` is `{student block: teacher block}`, layer paths, in order.
    """

    student: Model
    layer_map: dict[str, str]


def every_nth_layer(
    teacher: Model,
    n: int = 2,
    path: str | None = None,
    start: int | None = None,
    inputs: object = None,
) -> Kept[Model]:
    """Return the teacher with only every n-th block, by default blocks n − 1, 2n − 1 and so on.

    Where the network has several stages (ResNet, ConvNeXt, Swin), each stage keeps every n-th of
    its own blocks.

    Args:
        teacher: As for `keep_layers`.
        n: At least 2 and no more than there are blocks; 2 keeps one half of them.
        path: The container of the blocks, as for `keep_layers`, or of one stage of several.
        start: The position of the first block that is kept, below n; 0 for networks whose first
            block is special (T5, ModernBERT, the stages of a ResNet). None for n − 1.
        inputs: As for `keep_layers`.

    Raises:
        ArgumentError: `n` or `start` is out of its range.
        TutelageError: As for `keep_layers`.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> every_nth_layer(teacher).layer_map
    {'0': '1', '1': '3'}
    """
    integer("n", n, 2, "of every n blocks one is kept")
    first = n - 1
    if start is not None:
        first = integer("start", start, 0, f"it is a position from 0 to {n - 1}")
    if first >= n:
        raise ArgumentError(
            f"`start` must be below n, got start={first} and n={n}; pass one from 0 to {n - 1}"
        )
    stages = _containers(teacher, path)
    student, layer_map = teacher, {}
    for stage in stages:
        count = len(children(teacher, stage))
        if n > count and len(stages) == 1:
            raise ArgumentError(
                f"`n` must be no more than the teacher's {count} blocks, got {n}; pass a smaller "
                "one"
            )
        if first >= count:
            raise ArgumentError(
                f"each stage must keep a block, got {count} blocks in {stage!r} with start={first};"
                " pass start=0, or a smaller n"
            )
        student, kept = _keep(student, stage, list(range(first, count, n)), inputs is None)
        layer_map |= kept
    return _tried(Kept(student, layer_map), inputs)


def keep_layers(
    teacher: Model, kept: Iterable[int], path: str | None = None, inputs: object = None
) -> Kept[Model]:
    """Return the teacher with only some of its blocks, and the layer map.

    DistilBERT (Sanh et al., arXiv:1910.01108) starts from every second layer of BERT. The student
    is a deep copy without the other blocks; parameters frozen in the teacher are frozen in the
    student. Block j of the student has the name of block j of the teacher. In a Hugging Face model,
    the number of layers in the config and each `layer_idx` are updated, so that the student can be
    saved and loaded like any model of its class.

    Args:
        teacher: Any network of repeated blocks, each of which takes what the one before returns; it
            is not changed.
        kept: Positions of the blocks to keep, from 0, in increasing order.
        path: The container of the blocks, an `nn.Sequential` or `nn.ModuleList`, if
            `tutelage.layers.blocks` does not find it (in an encoder-decoder), or to keep blocks of
            one stage of several.
        inputs: An example batch of inputs. With it, the student is run once, and any blocks may be
            removed with which it runs.

    Raises:
        ArgumentError: `kept` is out of its range, blocks are not found, they are stages, or a
            removed block changes the shape, has parameters of its own, or is part of a pattern.
        ModelError: The student does not run on `inputs`, or does not match its Hugging Face config,
            as a T5 without block 0, which has the position biases.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> student, layer_map = keep_layers(teacher, [0, 3])
    >>> len(student), layer_map
    (2, {'0': '0', '1': '3'})
    """
    container = container_of(teacher, path)
    positions = _positions(kept, len(children(teacher, container)))
    return _tried(_keep(teacher, container, positions, inputs is None), inputs)


def container_of(teacher: nn.Module, path: str | None) -> str:
    """Return the path of the one container of the blocks; refuse blocks in stages."""
    found = _containers(teacher, path)
    if len(found) > 1:
        raise ArgumentError(
            f"the blocks of the teacher ({type(teacher).__name__}) are in stages "
            f"({', '.join(map(repr, found))}); pass the path of one of them, such as {found[-1]!r},"
            " or use every_nth_layer, which keeps every n-th block of each"
        )
    return found[0]


def _keep(teacher: Model, container: str, positions: list[int], check: bool) -> Kept[Model]:
    """Return the student with only some of the blocks of a container."""
    old = children(teacher, container)
    if check:
        check_left_out(teacher, old, positions)
    student = copy_with(teacher, container, positions)
    layer_map = {old[new]: old[position] for new, position in enumerate(positions)}
    renumber(student, layer_map, positions)
    recount(student, container, positions, len(old))
    if not check_rebuilding(student, teacher, container, layer_map) and check:
        check_first(teacher, old, positions)
        check_pattern(teacher, old, positions)
    return Kept(student, layer_map)


def _tried(kept: Kept[Model], inputs: object) -> Kept[Model]:
    """Run the student once on the inputs, if there are any."""
    if inputs is not None:
        with evaluating(kept.student), torch.no_grad():
            observe(kept.student, inputs, OUTPUT, "student")
    return kept


def _containers(teacher: nn.Module, path: str | None) -> list[str]:
    """Return the path of the container of the blocks, or those of all stages."""
    found = containers(teacher, path, "teacher")
    if path is not None or len(found) > 1:
        return found
    stages = children(teacher, found[0])
    try:
        inner = [containers(teacher.get_submodule(each), None, "teacher") for each in stages]
    except ArgumentError:
        return found
    if any(len(each) > 1 for each in inner):
        return found
    # A stage may be the container of its blocks itself.
    return [
        f"{stage}.{each}" if each else stage for stage, (each,) in zip(stages, inner, strict=True)
    ]


def _positions(kept: Iterable[int], count: int) -> list[int]:
    """Return `kept` as a list of positions below `count`, in increasing order."""
    advice = f"pass positions of blocks from 0 to {count - 1}, each above the one before"
    if not isinstance(kept, Iterable):
        raise ArgumentError(f"`kept` must be a list of integers, got {kept!r}; {advice}")
    positions = [integer("kept", position, 0, advice) for position in kept]
    increasing = all(a < b for a, b in pairwise(positions))
    if not positions or not increasing or positions[-1] >= count:
        raise ArgumentError(
            f"`kept` must name one or more of the teacher's {count} blocks in increasing order, "
            f"got {positions}; {advice}"
        )
    return positions
