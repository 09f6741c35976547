"""Layer maps: which block of a student learns from which block of its teacher.

Each function returns `{student path: teacher path}`, in the student's order. `student_path` and
`teacher_path` are the containers of the blocks, for models where `blocks` cannot tell.
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
        student: The student model; it has s blocks.
        teacher: The teacher model; it has n·s blocks or more.
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
    ours, theirs = _both(student, teacher, student_path, teacher_path)
    _require(
        len(theirs) >= n * len(ours), f"{n} teacher blocks for each student block", ours, theirs
    )
    return {block: theirs[n * i + n - 1] for i, block in enumerate(ours)}


def uniform(
    student: nn.Module,
    teacher: nn.Module,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map student block i of s to teacher block ⌈(i + 1)·t / s⌉ − 1 of t, evenly spread.

    The last learns from the last. Where t is a multiple of s this is `every_nth`, with n = t / s.

    Args:
        student: The student model; it has s blocks.
        teacher: The teacher model; it has t ≥ s blocks.
        student_path: The container of the student's blocks, as for `blocks`.
        teacher_path: The container of the teacher's blocks.

    Raises:
        ArgumentError: Blocks are not found.
        ModelError: The teacher has fewer blocks than the student.

    >>> uniform(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'0': '2', '1': '4'}
    """
    ours, theirs = _both(student, teacher, student_path, teacher_path)
    _require(len(theirs) >= len(ours), "a teacher block for each student block", ours, theirs)
    s, t = len(ours), len(theirs)
    return {block: theirs[((i + 1) * t + s - 1) // s - 1] for i, block in enumerate(ours)}


def first(
    student: nn.Module,
    teacher: nn.Module,
    count: int = 1,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map the first `count` blocks of the student to the first of the teacher, one by one.

    Args:
        student: The student model.
        teacher: The teacher model.
        count: At least 1 and no more than either model has blocks.
        student_path: The container of the student's blocks, as for `blocks`.
        teacher_path: The container of the teacher's blocks.

    Raises:
        ArgumentError: `count` is out of its range, or blocks are not found.
        ModelError: One of the models has fewer blocks.

    >>> first(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'0': '0'}
    """
    ours, theirs = _at_least(count, *_both(student, teacher, student_path, teacher_path))
    return dict(zip(ours[:count], theirs[:count], strict=True))


def last(
    student: nn.Module,
    teacher: nn.Module,
    count: int = 1,
    *,
    student_path: str | None = None,
    teacher_path: str | None = None,
) -> dict[str, str]:
    """Map the last `count` blocks of the student to the last of the teacher, end to end.

    MiniLM (Wang et al., NeurIPS 2020) uses the last layer only.

    Args:
        student: The student model.
        teacher: The teacher model.
        count: At least 1 and no more than either model has blocks.
        student_path: The container of the student's blocks, as for `blocks`.
        teacher_path: The container of the teacher's blocks.

    Raises:
        ArgumentError: `count` is out of its range, or blocks are not found.
        ModelError: One of the models has fewer blocks.

    >>> last(nn.Sequential(*[nn.Linear(2, 2)] * 2), nn.Sequential(*[nn.Linear(2, 2)] * 5))
    {'1': '4'}
    """
    ours, theirs = _at_least(count, *_both(student, teacher, student_path, teacher_path))
    return dict(zip(ours[-count:], theirs[-count:], strict=True))


def _both(
    student: nn.Module, teacher: nn.Module, student_path: str | None, teacher_path: str | None
) -> tuple[list[str], list[str]]:
    """Return the blocks of the two models."""
    return blocks_of(student, student_path, "student"), blocks_of(teacher, teacher_path, "teacher")


def _at_least(count: int, ours: list[str], theirs: list[str]) -> tuple[list[str], list[str]]:
    """Return both lists, after a check that each has `count` blocks."""
    integer("count", count, 1, "pass the number of blocks to map")
    _require(min(len(ours), len(theirs)) >= count, f"{count} blocks of each model", ours, theirs)
    return ours, theirs


def _require(enough: bool, what: str, ours: list[str], theirs: list[str]) -> None:
    if not enough:
        raise ModelError(
            f"this map needs {what}, got {len(ours)} (student, {ours[0]!r} to {ours[-1]!r}) and "
            f"{len(theirs)} (teacher, {theirs[0]!r} to {theirs[-1]!r}); ask for less, or choose "
            "models that have them"
        )
