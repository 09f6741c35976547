"""Find the repeated blocks of a network, and map those of a student to those of its teacher.

Blocks are encoder layers, residual blocks, stages. Each function `map_…` returns
`{student path: teacher path}`, in the student's order; `student_path` and `teacher_path` are the
containers of the blocks, where `blocks` does not find them.
"""

from collections.abc import Iterator

from torch import nn

from tutelage._checks import integer
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


def map_every_nth(
    student: nn.Module,
    teacher: nn.Module,
    n: int = 2,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map student block i to teacher block n·i + n − 1, the last of each n.

    The "skip" strategy of patient knowledge distillation (Sun et al., "Patient Knowledge
    Distillation for BERT Model Compression", EMNLP 2019).

    Args:
        student: A model of s blocks.
        teacher: A model of n·s blocks or more.
        n: At least 1; with 1, block i learns from block i.
        student_path: The container of the student's blocks, as for `blocks`.
        teacher_path: The container of the teacher's blocks.

    Raises:
        ArgumentError: `n` is out of its range, or blocks are not found.
        ModelError: The teacher has too few blocks.

    >>> map_every_nth(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 4))
    {'0': '1', '1': '3'}
    """
    integer("n", n, 1, "pass the number of teacher blocks for each student block")
    ours, theirs = _both(student, teacher, student_path, teacher_path, n)
    return {block: theirs[n * i + n - 1] for i, block in enumerate(ours)}


def map_uniform(
    student: nn.Module,
    teacher: nn.Module,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map student block i of s to teacher block ⌈(i + 1)·t / s⌉ − 1 of t, evenly spaced.

    The last block learns from the last. If t is a multiple of s this is `map_every_nth`, n = t / s;
    arguments and errors as for it. The teacher must have t ≥ s blocks.

    >>> map_uniform(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'0': '2', '1': '4'}
    """
    ours, theirs = _both(student, teacher, student_path, teacher_path)
    s, t = len(ours), len(theirs)
    return {block: theirs[((i + 1) * t + s - 1) // s - 1] for i, block in enumerate(ours)}


def _both(
    student: nn.Module,
    teacher: nn.Module,
    student_path: str | None,
    teacher_path: str | None,
    each: int = 1,
) -> tuple[list[str], list[str]]:
    """Return the blocks of both models; refuse fewer than `each` of the teacher for each other."""
    both = blocks_of(student, student_path, "student"), blocks_of(teacher, teacher_path, "teacher")
    if len(both[1]) < each * len(both[0]):
        raise ModelError(
            f"this map needs {each} teacher block{'s' * (each > 1)} for each student block, got "
            f"{len(both[0])} (student) and {len(both[1])} (teacher); choose models that have them, "
            "or write the map yourself, from tl.layers.blocks"
        )
    return both


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
