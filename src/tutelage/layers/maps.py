"""Layer maps: which block of a student learns from which block of its teacher.

Each function returns `{student path: teacher path}`, in the student's order. `student_path` and
`teacher_path` are the containers of the blocks, where `blocks` does not find them.
"""

from torch import nn

from tutelage._checks import integer
from tutelage.errors import ModelError
from tutelage.layers.blocks import blocks_of


def every_nth(
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

    >>> every_nth(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 4))
    {'0': '1', '1': '3'}
    """
    integer("n", n, 1, "pass the number of teacher blocks for each student block")
    student_blocks, teacher_blocks = both = _both(student, teacher, student_path, teacher_path)
    enough = len(teacher_blocks) >= n * len(student_blocks)
    _require(enough, f"{n} teacher blocks for each student block", both)
    return {block: teacher_blocks[n * i + n - 1] for i, block in enumerate(student_blocks)}


def uniform(
    student: nn.Module,
    teacher: nn.Module,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map student block i of s to teacher block ⌈(i + 1)·t / s⌉ − 1 of t, evenly spaced.

    The last block learns from the last. If t is a multiple of s this is `every_nth`, n = t / s;
    arguments and errors as for it. The teacher must have t ≥ s blocks.

    >>> uniform(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'0': '2', '1': '4'}
    """
    student_blocks, teacher_blocks = both = _both(student, teacher, student_path, teacher_path)
    s, t = len(student_blocks), len(teacher_blocks)
    _require(t >= s, "a teacher block for each student block", both)
    return {
        block: teacher_blocks[((i + 1) * t + s - 1) // s - 1]
        for i, block in enumerate(student_blocks)
    }


def first(
    student: nn.Module,
    teacher: nn.Module,
    count: int = 1,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map the first `count` blocks of the student to the first of the teacher, one by one.

    Both models must have `count` blocks, 1 or more; arguments and errors as for `every_nth`.

    >>> first(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'0': '0'}
    """
    both = _both(student, teacher, student_path, teacher_path)
    _require_count(count, both)
    return dict(zip(both[0][:count], both[1][:count], strict=True))


def last(
    student: nn.Module,
    teacher: nn.Module,
    count: int = 1,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map the last `count` blocks of the student to the last of the teacher, end to end.

    MiniLM (Wang et al., NeurIPS 2020) uses the last layer only. Both models must have `count`
    blocks, 1 or more; arguments and errors as for `every_nth`.

    >>> last(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'1': '4'}
    """
    both = _both(student, teacher, student_path, teacher_path)
    _require_count(count, both)
    return dict(zip(both[0][-count:], both[1][-count:], strict=True))


def _both(
    student: nn.Module, teacher: nn.Module, student_path: str | None, teacher_path: str | None
) -> tuple[list[str], list[str]]:
    return blocks_of(student, student_path, "student"), blocks_of(teacher, teacher_path, "teacher")


def _require_count(count: int, both: tuple[list[str], list[str]]) -> None:
    integer("count", count, 1, "pass the number of blocks to map")
    _require(min(map(len, both)) >= count, f"{count} blocks of each model", both)


def _require(enough: bool, what: str, both: tuple[list[str], list[str]]) -> None:
    if not enough:
        found = [
            f"{len(blocks)} ({side}, {blocks[0]!r} to {blocks[-1]!r})"
            for side, blocks in zip(("student", "teacher"), both, strict=True)
        ]
        raise ModelError(
            f"this map needs {what}, got {' and '.join(found)}; map fewer blocks, or choose models "
            "that have them"
        )
