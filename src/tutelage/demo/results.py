"""What a demo found, as plain data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import RunFolderError
from tutelage.evaluation import Interval, Latency


@dataclass(frozen=True, slots=True)
class Size:
    """What a model takes.

    Args:
        parameters: Numbers that are learnt.
        file_bytes: Size of its weights as a safetensors file.
        timings: One for each batch size.
    """

    parameters: int
    file_bytes: int
    timings: tuple[Latency, ...]


@dataclass(frozen=True, slots=True)
class TeacherResult:
    """The one teacher.

    Args:
        accuracy: On the test images; the interval is Wilson's, over these images.
        size: What it takes.
    """

    accuracy: Interval
    size: Size


@dataclass(frozen=True, slots=True)
class History:
    """Mean training losses of each pass over the data, by part of the objective.

    Args:
        steps: Optimiser steps at the end of each pass.
        losses: For each part one value for each pass.
    """

    steps: tuple[int, ...]
    losses: dict[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One way of teaching the student, over all seeds.

    Args:
        key: Name in records.
        name: Name for readers.
        learns_from: What the student was given.
        accuracies: On the test images, one for each seed.
        agreements: Shares of test images that student and teacher name alike, one for each seed.
        accuracy: Mean over seeds with its 95 % interval (Student's t).
        agreement: The same.
        histories: One for each seed.
    """

    key: str
    name: str
    learns_from: str
    accuracies: tuple[float, ...]
    agreements: tuple[float, ...]
    accuracy: Interval
    agreement: Interval
    histories: tuple[History, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Accuracy of one arm less that of the control, seed by seed.

    Args:
        key: Of the arm.
        differences: One for each seed.
        interval: Their mean with its 95 % interval (Student's t).
    """

    key: str
    differences: tuple[float, ...]
    interval: Interval


@dataclass(frozen=True, slots=True)
class Resemblance:
    """Mean soft targets on the test images: row by true digit, column by digit they go to.

    Args:
        temperature: Of the softmax.
        teacher: The teacher's.
        student: Those of the student of the last arm, its mean over seeds.
    """

    temperature: float
    teacher: tuple[tuple[float, ...], ...]
    student: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class DemoResults:
    """All that a demo found.

    Args:
        settings: The numbers behind it.
        objective: What the distilled students learnt from.
        teacher: The teacher.
        student_size: What the student takes, the same in all arms.
        arms: The control, then the distilled students.
        comparisons: Each distilled arm against the control.
        resemblance: Which digits look alike to teacher and student.
        images: How many images were for what.
        versions: Of what it ran on.
        command: What repeats it.
        seconds: Time it took.
    """

    settings: dict[str, Any]
    objective: str
    teacher: TeacherResult
    student_size: Size
    arms: tuple[ArmResult, ...]
    comparisons: tuple[Comparison, ...]
    resemblance: Resemblance
    images: dict[str, int]
    versions: dict[str, str]
    command: str
    seconds: float

    def write(self, path: Path) -> Path:
        """Write everything as JSON; return the path.

        Raises:
            RunFolderError: The file cannot be written.
        """
        try:
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise RunFolderError(
                f"the results must go to {path}, got {error}; give a folder that can be written"
            ) from error
        return path
