"""What a run writes while it is under way: checkpoints, the log, the best student."""

from __future__ import annotations

import copy
import pickle
import time
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import NonFiniteError, RunFolderError
from tutelage.files import LogWriter, write_whole
from tutelage.training.folder import RunFolder, refuse_longer, without_numpy
from tutelage.training.setup import Setup
from tutelage.training.state import RunState

FORMAT = 4
_FRACTION_OF_TIME = 0.05
_STEPS_BETWEEN_VOTES = 16


class Checkpointer:
    """Saves all that a run needs to continue as if it had never stopped, and restores it.

    Only the main process writes; without a folder all is kept in memory.
    """

    def __init__(
        self, setup: Setup, state: RunState, accelerator: Accelerator, folder: RunFolder | None
    ) -> None:
        self.setup, self.state, self.folder = setup, state, folder
        self.accelerator = accelerator
        self._parts: dict[str, Any] = {
            "state": state,
            "distiller": setup.distiller,
            "optimizer": setup.optimizer,
            "scheduler": setup.scheduler,
            "scaler": accelerator.scaler,
        }
        self._main, self._several = accelerator.is_main_process, accelerator.num_processes > 1
        self._seconds = setup.settings.engine.checkpoint_seconds
        self._next = time.monotonic() + self._seconds
        self._best_in_memory: dict[str, Any] | None = None
        self._best_rest: dict[str, Any] = {}
        self._log: LogWriter | None = None

    def resume(self) -> None:
        """Restore the last checkpoint, if there is one."""
        if self.folder is None:
            return
        kept = load(self.folder.last)
        if kept is not None:
            self._restore(kept)
        if self._main:
            self._log = LogWriter(self.folder.log, 0 if kept is None else kept["log_bytes"])
        if kept is None:
            self.save()  # the first weights, so that a run begun twice begins alike

    def due(self) -> bool:
        """Tell whether it is time for a checkpoint."""
        if self.folder is None:
            return False
        if self._seconds == 0 or not self._several:
            return time.monotonic() >= self._next
        if self.state.step % _STEPS_BETWEEN_VOTES:
            return False
        # Clocks differ, and all must write together: the main process decides.
        return broadcast_object_list([time.monotonic() >= self._next])[0]

    def save(self) -> None:
        """Write a checkpoint: a kill at any moment leaves the former or this one."""
        if self.folder is None:
            return
        began = time.monotonic()
        refuse_non_finite(self.setup.distiller, self.state.step)
        content = self._content()
        if self._main:
            save(self.folder.last, content)
            self.folder.keep_only(self._best_file())
        took = time.monotonic() - began
        pause = max(self._seconds, took / _FRACTION_OF_TIME) if self._seconds else 0.0
        self._next = time.monotonic() + pause

    def keep_best(self) -> None:
        """Keep the student of the epoch that has just ended, the best so far."""
        student, best = self.setup.distiller.student, self._best_file()
        refuse_non_finite(student, self.state.step)
        if best is None:
            self._best_in_memory = copy.deepcopy(student.state_dict())
        else:
            self._best_rest = copy.deepcopy(_rest(student))
            if self._main:
                save_student(student, best)

    def finish(self) -> int:
        """Give the student the weights of the best epoch, or of the last; return which it is."""
        student = self.setup.distiller.student
        self.accelerator.wait_for_everyone()
        best = self._best_file()
        if best is not None:
            try:
                load_model(cast("Any", _Dense(student)), best)
                student.load_state_dict(self._best_rest, strict=False)
            except (OSError, RuntimeError, SafetensorError) as error:
                raise RunFolderError(
                    f"{best} must hold the student of the best epoch, got {error}; the run needs "
                    "the whole folder: restore the file, or start in another folder"
                ) from error
        elif self._best_in_memory is not None:
            student.load_state_dict(self._best_in_memory)
        if self.folder is not None and self._main:
            save_student(student, self.folder.student)
        self.accelerator.wait_for_everyone()
        return self.state.best_epoch or self.state.epoch

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the log, if there is a folder."""
        if self._log is not None:
            self._log.write(record)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            self._log.close()

    def _best_file(self) -> Path | None:
        epoch = self.state.best_epoch
        return None if self.folder is None or epoch is None else self.folder.best(epoch)

    def _content(self) -> dict[str, Any]:
        states = {
            name: None if part is None else part.state_dict() for name, part in self._parts.items()
        }
        return states | {
            "finished": self.state.finished(self.setup.settings),
            "source": self.setup.train.state(),
            "random": gather_object([randomness.capture()]),
            "best_rest": self._best_rest,
            "log_bytes": 0 if self._log is None else self._log.length(),
        }

    def _restore(self, kept: dict[str, Any]) -> None:
        for name, part in self._parts.items():
            if part is not None and kept[name] is not None:
                part.load_state_dict(kept[name])
        self._best_rest = kept["best_rest"]
        self.setup.train.load(kept["source"])
        randomness.restore(kept["random"][self.accelerator.process_index])


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint whole."""
    try:
        write_whole(
            path, lambda draft: torch.save({"format": FORMAT} | without_numpy(content), draft)
        )
    except (OSError, RuntimeError) as error:
        raise RunFolderError(
            f"the checkpoint must go to {path}, got {error}; the former one still stands: make "
            "room and start the same call again"
        ) from error


def load(path: Path) -> dict[str, Any] | None:
    """Read a checkpoint; None if there is none. No code runs from it."""
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise RunFolderError(
            f"{path} must be a checkpoint of tutelage, got a file that cannot be read ({error}); "
            "remove it to restart the run"
        ) from error
    if content.get("format") != FORMAT:
        raise RunFolderError(
            f"{path} must be a checkpoint of format {FORMAT}, got {content.get('format')}; finish "
            "that run with the version that began it"
        )
    return content


def end_for_good(out: Path) -> None:
    """Remove from the checkpoints of finished runs what only more epochs would need.

    That is the optimizer's state, with Adam two thirds of a checkpoint.

    Args:
        out: The folder of a run, or of stages.
    """
    for path in out.rglob("last.pt"):
        if not (path.parent / "run.json").exists():
            continue  # of another library, which a function of the user's has called
        kept = load(path)
        if kept is not None and kept["finished"]:
            refuse_longer(path.parent, "its optimizer's state was not kept, as in all studies")
            save(path, kept | {"optimizer": None})


def refuse_non_finite(module: nn.Module, step: int) -> None:
    """Refuse to keep non-finite weights (a buffer may hold infinities, as masks do)."""
    broken = [name for name, each in module.named_parameters() if not torch.isfinite(each).all()]
    broken += [name for name, each in module.named_buffers() if torch.isnan(_values(each)).any()]
    if broken:
        raise NonFiniteError(
            f"`{broken[0]}` must be finite, got NaN or infinity in it after step {step}; the last "
            "checkpoint is from before; lower the learning rate, or set clip_norm"
        )


def _values(tensor: Tensor) -> Tensor:
    if tensor.layout == torch.sparse_coo:
        return tensor.coalesce().values()
    return tensor if tensor.layout == torch.strided else tensor.values()


class _Dense:
    """What safetensors takes for a module: a student's dense tensors, named as uncompiled."""

    def __init__(self, student: nn.Module) -> None:
        self._student = student

    def state_dict(self) -> dict[str, Any]:
        state, rest = self._student.state_dict(), _rest(self._student)
        return {_plain_name(key): each for key, each in state.items() if key not in rest}

    def load_state_dict(self, state: dict[str, Any], strict: bool) -> Any:
        names = {_plain_name(key): key for key in self._student.state_dict()}
        state = {names.get(key, key): each for key, each in state.items()}
        missing, unexpected = self._student.load_state_dict(state, strict=strict)
        rest = _rest(self._student)
        return [_plain_name(key) for key in missing if key not in rest], unexpected


def _plain_name(key: str) -> str:
    return key.replace("_orig_mod.", "")


def _rest(student: nn.Module) -> dict[str, Any]:
    """Return what safetensors cannot hold of a state: sparse tensors, and `get_extra_state`."""
    return {
        key: each
        for key, each in student.state_dict().items()
        if not isinstance(each, Tensor) or each.layout != torch.strided
    }


def save_student(student: nn.Module, path: Path) -> None:
    """Write the student's weights and buffers whole, as safetensors."""
    try:
        write_whole(path, lambda draft: save_model(cast("Any", _Dense(student)), str(draft)))
    except (OSError, RuntimeError, AttributeError, SafetensorError) as error:
        raise RunFolderError(
            f"the student must go to {path} as safetensors, got {error}; make room, or let its "
            "state_dict hold tensors of its own only (the checkpoint beside it has them all)"
        ) from error
