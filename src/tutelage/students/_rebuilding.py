"""Check that a Hugging Face model can be built again from its config, as loading it does."""

from collections.abc import Iterator
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.blocks import children

_CONFIG = "config"  # the name of the fault of a config from which nothing can be built


def check_rebuilding(
    student: nn.Module, teacher: nn.Module, container: str, layer_map: dict[str, str]
) -> None:
    """Compare a student with what its config describes; models without a config pass.

    Saved weights find their places by name, and some blocks have a structure of their own by
    their position (T5's block 0 holds the position biases), so the two have to be alike.

    Raises:
        ModelError: They are not, although the teacher is as its config describes it.
    """
    owner = _owner(student, container)
    if owner is None:
        return
    start = len(owner) + 1 if owner else 0
    within, blocks = container[start:], {new[start:]: old[start:] for new, old in layer_map.items()}
    student, teacher = student.get_submodule(owner), teacher.get_submodule(owner)
    faults = _faults(student, within)
    # A teacher that was changed after it was built (by adapters, say) is no ordinary model itself.
    known = _faults(teacher, within) if faults else {}
    for name, due in faults.items():
        block = next((new for new in blocks if name.startswith(f"{new}.")), None)
        if block is None and name not in known:
            _refuse_config(teacher, within, name, due)
        if block is not None and blocks[block] + name.removeprefix(block) not in known:
            _refuse_block(teacher, within, (block, blocks[block]), name, due)


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
    """Return where a model differs from what its config describes, `{name: what is due}`."""
    try:
        # As loading does: from what is written of the config, and without memory for weights.
        config = type(model.config).from_dict(model.config.to_dict())
        with torch.device("meta"):
            due = dict(_facts(type(model)(config), within))
    except Exception as error:  # noqa: BLE001 - told below, unless the teacher has it, too
        return {_CONFIG: f"{type(error).__name__}: {error}"}
    found = dict(_facts(model, within))
    return {name: due.get(name) for name in due | found if found.get(name) != due.get(name)}


def _facts(model: nn.Module, within: str) -> Iterator[tuple[str, object]]:
    """Yield the shapes of a model's tensors, and the settings of what is in a layer, by name."""
    for name, value in model.state_dict().items():
        yield name, list(value.shape) if isinstance(value, Tensor) else None
    for path, part in model.named_modules():
        for name, value in vars(part).items() if path.startswith(f"{within}.") else ():
            # No floats: rates of stochastic depth follow the position, but change no evaluation.
            if type(value) in {bool, int, str} and name != "training" and name[0] != "_":
                yield f"{path}.{name}", value


def _refuse_config(teacher: nn.Module, within: str, name: str, due: object) -> NoReturn:
    kind = type(getattr(teacher, "config", None)).__name__
    came = due if name == _CONFIG else f"{name!r} is not as it describes it"
    raise ModelError(
        f"the student's config must describe fewer blocks in {within!r}, but none of the entries "
        f"of a {kind} that are known to count them did it ({came}); build a smaller "
        f"{type(teacher).__name__} from a config of your own and copy the weights by name"
    )


def _refuse_block(
    teacher: nn.Module, within: str, block: tuple[str, str], name: str, due: object
) -> NoReturn:
    """Say what is wrong with a block at its new place, and which of the teacher's fit there."""
    new, old = block
    rest = name.removeprefix(f"{new}.")
    facts, paths = dict(_facts(teacher, within)), children(teacher, within)
    fitting = [i for i, path in enumerate(paths) if facts.get(f"{path}.{rest}") == due]
    raise ModelError(
        f"block {old!r} of the teacher ({type(teacher).__name__}) has another structure than "
        f"{new!r}, its place in the student, needs: {rest!r} must be {_say(due)}, and is "
        f"{_say(facts.get(f'{old}.{rest}'))}; keep one of the blocks {fitting} for this place"
    )


def _say(fact: object) -> str:
    if fact is None:
        return "absent"
    return f"of shape {fact}" if isinstance(fact, list) else repr(fact)
