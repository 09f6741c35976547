"""Check that a Hugging Face student matches its config, so that it can be saved and loaded."""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.blocks import children
from tutelage.layers.wrapper import unwrapped

_CONFIG = "config"  # the name under which a config that builds no model is reported


def check_rebuilding(
    student: nn.Module, teacher: nn.Module, container: str, layer_map: dict[str, str]
) -> bool:
    """Compare a student with what its config describes; return False if it has no config.

    Saved weights are loaded by name, and the structure of a block may depend on its position (only
    T5's block 0 has position biases), so the two must match, where the teacher matches its own.
    """
    owner = _owner(student, container)
    if owner is None:
        return False
    start = len(owner) + 1 if owner else 0
    within, blocks = container[start:], {new[start:]: old[start:] for new, old in layer_map.items()}
    student, teacher = student.get_submodule(owner), teacher.get_submodule(owner)
    faults = _faults(student, within)
    # The faults of a teacher that was changed after it was built (by adapters) are ignored.
    known = _faults(teacher, within) if faults else {}
    for name, due in faults.items():
        block = next((new for new in blocks if name.startswith(f"{new}.")), None)
        if block is None and name not in known:
            _refuse_config(teacher, within, name, due)
        if block is not None and blocks[block] + name.removeprefix(block) not in known:
            _refuse_block(teacher, within, (block, blocks[block]), name, due)
    return True


def _owner(model: nn.Module, container: str) -> str | None:
    """Return the path of the outermost module around a container that is built from a config."""
    names = container.split(".") if container else []
    for depth in range(len(names) + 1):
        path = ".".join(names[:depth])
        module = model.get_submodule(path)
        if hasattr(module, "save_pretrained") and hasattr(
            getattr(module, "config", None), "from_dict"
        ):
            return path
    return None


def _faults(model: Any, within: str) -> dict[str, object]:
    """Return the differences between a model and what its config describes, `{name: expected}`."""
    model = unwrapped(model)
    try:
        # As loading does, from the serialised config, and without allocating weights.
        config = type(model.config).from_dict(model.config.to_dict())
        with torch.device("meta"):
            due = dict(_facts(type(model)(config), within))
    except Exception as error:  # noqa: BLE001 - reported later, unless the teacher has it too
        return {_CONFIG: f"{type(error).__name__}: {error}"}
    found = dict(_facts(model, within))
    return {name: due.get(name) for name in due | found if found.get(name) != due.get(name)}


def _facts(model: nn.Module, within: str) -> Iterator[tuple[str, object]]:
    """Yield the shapes of a model's tensors, and the settings of layers inside a path, by name."""
    for name, value in model.state_dict().items():
        yield name, list(value.shape) if isinstance(value, Tensor) else None
    for path, part in model.named_modules():
        for name, value in vars(part).items() if path.startswith(f"{within}.") else ():
            # No floats: stochastic depth depends on the position, but only matters in training.
            if type(value) in {bool, int, str} and name != "training" and name[0] != "_":
                yield f"{path}.{name}", value


def _refuse_config(teacher: nn.Module, within: str, name: str, due: object) -> NoReturn:
    kind = type(getattr(teacher, "config", None)).__name__
    fault = due if name == _CONFIG else f"{name!r} does not match"
    raise ModelError(
        f"the student's config must describe fewer blocks in {within!r}, got a {kind} without a "
        f"known entry for their number ({fault}); build a smaller {type(teacher).__name__} from a "
        "config of your own and copy the weights by name"
    )


def _refuse_block(
    teacher: nn.Module, within: str, block: tuple[str, str], name: str, due: object
) -> NoReturn:
    """Raise an error that names a block's fault, and the blocks that could be kept instead."""
    new, old = block
    entry = name.removeprefix(f"{new}.")
    facts, paths = dict(_facts(teacher, within)), children(teacher, within)
    fitting = [i for i, path in enumerate(paths) if facts.get(f"{path}.{entry}") == due]
    raise ModelError(
        f"block {old!r} of the teacher ({type(teacher).__name__}) does not have the structure that "
        f"the student needs at {new!r}: {entry!r} must be {_as_text(due)}, got "
        f"{_as_text(facts.get(f'{old}.{entry}'))}; keep one of the blocks {fitting} there"
        f"{' (every_nth_layer(..., start=0) does)' if 0 in fitting and new == paths[0] else ''}"
    )


def _as_text(fact: object) -> str:
    if fact is None:
        return "absent"
    return f"of shape {fact}" if isinstance(fact, list) else repr(fact)
