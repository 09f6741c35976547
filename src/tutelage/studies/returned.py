"""Students that the user's functions returned, kept so that no function is called twice.

A function may train by hand, in a way that no call of ours can resume or repeat exactly; the
student that is handed out later must be the one that was judged.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from tutelage.identity import identity, model_identity
from tutelage.studies.trial import Trained
from tutelage.training.checkpointer import load, save


def keep(path: Path, trained: Trained, untrained: nn.Module) -> None:
    """Write a returned student, if its weights in an untrained student make the same model.

    A function may return a model of another architecture, or one with other tensors outside its
    state; such a function is called again.
    """
    student, weights = trained.student, trained.student.state_dict()
    if (
        _form(student) == _form(untrained)
        and _outside(student) == _outside(untrained)
        and all(isinstance(each, Tensor) for each in weights.values())
    ):
        save(path, {"student": weights, "record": trained.record, "seconds": trained.seconds})


def kept(path: Path, untrained: nn.Module) -> Trained | None:
    """Return the student that was kept, in eval mode, in place of an untrained one; None if none.

    Raises:
        RunFolderError: The file cannot be read.
    """
    found = load(path)
    if found is None:
        return None
    untrained.load_state_dict(found["student"])
    return Trained(untrained.eval(), found["record"], found["seconds"])


def _form(model: nn.Module) -> str:
    return model_identity(model, weights=False)


def _outside(model: nn.Module) -> str:
    """Return a text of the tensors that are not in the state: plain attributes, some buffers."""
    state = model.state_dict().keys()
    buffers = [each for name, each in model.named_buffers() if name not in state]
    plain = [each for module in model.modules() for each in vars(module).values()]
    return identity([*buffers, *(each for each in plain if isinstance(each, Tensor))])
