"""The student of a recipe as one file that runs without PyTorch."""

from __future__ import annotations

from pathlib import Path

from tutelage.errors import RunFolderError
from tutelage.exporting import ABOUT, Exported, export
from tutelage.recipes.evaluating import models_of
from tutelage.recipes.job import Job
from tutelage.recipes.left_behind import FILE


def export_student(job: Job, path: Path | None) -> Exported:
    """Write the trained student to a file of ONNX, compared on test, validation or training data.

    The file carries `student.json`: what outputs mean, and how inputs are prepared.

    Raises:
        RunFolderError: The student is not trained yet.
        TutelageError: As `export`.
    """
    student = models_of(job).get("student")
    about = job.out / FILE
    if student is None or not about.exists():
        raise RunFolderError(
            f"the student of {job.document.source} must be trained before it is exported, got none "
            f"in {job.out}; run `tutelage distill {job.document.source}`"
        )
    data = next(each for each in (job.data.test, job.data.val, job.data.train) if each is not None)
    metadata = {ABOUT: about.read_text(encoding="utf-8")}
    return export(student, data, path or job.out / "student.onnx", metadata=metadata)
