"""All that a run needs to go on as if it had never stopped, in one file."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.errors import NonFiniteError, RunFolderError
from tutelage.training.files import write_whole

FORMAT = 1


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole: a kill at any moment leaves the former or this one.

    Raises:
        RunFolderError: The disk is full or the folder cannot be written.
    """
    try:
        write_whole(path, lambda draft: torch.save({"format": FORMAT} | content, draft))
    except (OSError, RuntimeError) as error:
        raise RunFolderError(
            f"the checkpoint must go to {path}, got {error}; the former one still stands: make "
            "room and start the same call again"
        ) from error


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None if there is none. No code runs from it.

    Raises:
        RunFolderError: It cannot be read, or is of another format.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise RunFolderError(
            f"{path} must be a checkpoint of tutelage, got a file that cannot be read ({error}); "
            "remove it to begin the run anew"
        ) from error
    if content.get("format") != FORMAT:
        raise RunFolderError(
            f"{path} must be a checkpoint of format {FORMAT}, got {content.get('format')}; finish "
            "that run with the version that began it"
        )
    return content


def refuse_non_finite(module: nn.Module, step: int) -> None:
    """Refuse to keep weights that are not numbers (a buffer may hold infinities, as masks do).

    Raises:
        NonFiniteError: A parameter is NaN or infinite, or a buffer NaN.
    """
    broken = [name for name, each in module.named_parameters() if not torch.isfinite(each).all()]
    broken += [name for name, each in module.named_buffers() if torch.isnan(each).any()]
    if broken:
        raise NonFiniteError(
            f"`{broken[0]}` must be finite, got NaN or infinity in it after step {step}; the last "
            "checkpoint is from before; lower the learning rate, or set clip_norm"
        )
