"""The student's weights as a safetensors file."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import nn

from tutelage.errors import RunFolderError
from tutelage.training.files import write_whole


def save_student(student: nn.Module, path: Path) -> None:
    """Write the student's weights and buffers whole.

    Raises:
        RunFolderError: The file cannot be written, or cannot hold what the student keeps.
    """
    try:
        write_whole(path, lambda draft: save_model(student, str(draft)))
    except (OSError, RuntimeError, AttributeError, SafetensorError) as error:
        raise RunFolderError(
            f"the student must go to {path} as safetensors, got {error}; make room, or let its "
            "state_dict hold tensors of its own only (the checkpoint beside it has them all)"
        ) from error


def load_student(student: nn.Module, path: Path) -> None:
    """Read weights and buffers into the student.

    Raises:
        RunFolderError: The file is not there, or is not this student's.
    """
    try:
        load_model(student, path)
    except (OSError, RuntimeError, SafetensorError) as error:
        raise RunFolderError(
            f"{path} must hold the student of the best epoch, got {error}; the run needs the whole "
            "folder: bring the file back, or begin anew in another folder"
        ) from error
