"""Students that are the teacher with fewer blocks."""

import re
from collections.abc import Iterable, Iterator
from copy import copy, deepcopy
from itertools import pairwise
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.blocks import children, containers
from tutelage.layers.wrapper import unwrapped

Model = TypeVar("Model", bound=nn.Module)

# Names of a block's own position; caches of Hugging Face models are indexed by it.
_POSITIONS = ("layer_idx", "layer_id", "layer_index", "layer_number", "layer_num", "block_idx")
# Names of the number of blocks, in configs and modules.
_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth", "num_blocks")
_SIDES = {
    "encoder": ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers", "decoder_num_hidden_layers"),
}
# Other entries that may be about blocks: their number, or a list with a value for each.
_OF_BLOCKS = re.compile(r"(^|_)(layers?|blocks|depth)($|_)")
# Lists of the positions of some blocks, of those with or without experts (Qwen2-MoE, Llama 4).
_POSITION_LISTS = ("mlp_only_layers", "moe_layers")


class Kept(NamedTuple, Generic[Model]):
    """A student, in the teacher's mode and dtype, and the origin of each block.

    `layer_map` is `{student block: teacher block}`, layer paths, in order.
    """

    student: Model
    layer_map: dict[str, str]


def every_nth_layer(
    teacher: Model,
    n: int = 2,
    path: str | None = None,
    start: int | None = None,
) -> Kept[Model]:
    """Return the teacher with only every n-th block, by default blocks n − 1, 2n − 1 and so on.

    Where the network has several stages (ResNet, ConvNeXt, Swin), each stage keeps every n-th of
    its own blocks.

    Args:
        teacher: As for `keep_layers`.
        n: At least 2 and no more than there are blocks; 2 keeps one half of them.
        path: The container of the blocks, as for `keep_layers`, or of one stage of several.
        start: The position of the first block that is kept, below n; 0 for networks whose first
            block is special (T5, ModernBERT, the stages of a ResNet). None for n − 1.

    Raises:
        ArgumentError: `n` or `start` is out of its range.
        TutelageError: As for `keep_layers`.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> every_nth_layer(teacher).layer_map
    {'0': '1', '1': '3'}
    """
    integer("n", n, 2, "of every n blocks one is kept")
    first = n - 1
    if start is not None:
        first = integer("start", start, 0, f"it is a position from 0 to {n - 1}")
    if first >= n:
        raise ArgumentError(
            f"`start` must be below n, got start={first} and n={n}; pass one from 0 to {n - 1}"
        )
    stages = _containers(teacher, path)
    student, layer_map = teacher, {}
    for stage in stages:
        count = len(children(teacher, stage))
        if n > count and len(stages) == 1:
            raise ArgumentError(
                f"`n` must be no more than the teacher's {count} blocks, got {n}; pass a smaller "
                "one"
            )
        if first >= count:
            raise ArgumentError(
                f"each stage must keep a block, got {count} blocks in {stage!r} with start={first};"
                " pass start=0, or a smaller n"
            )
        student, kept = _keep(student, stage, list(range(first, count, n)))
        layer_map |= kept
    return Kept(student, layer_map)


def keep_layers(teacher: Model, kept: Iterable[int], path: str | None = None) -> Kept[Model]:
    """Return the teacher with only some of its blocks, and the layer map.

    DistilBERT (Sanh et al., arXiv:1910.01108) starts from every second layer of BERT. The student
    is a deep copy without the other blocks; parameters frozen in the teacher are frozen in the
    student. Block j of the student has the name of block j of the teacher. In a Hugging Face model,
    the number of layers in the config and each `layer_idx` are updated, so that the student can be
    saved and loaded like any model of its class.

    Args:
        teacher: Any network of repeated blocks, each of which takes what the one before returns; it
            is not changed.
        kept: Positions of the blocks to keep, from 0, in increasing order.
        path: The container of the blocks, an `nn.Sequential` or `nn.ModuleList`, if
            `tutelage.layers.blocks` does not find it (in an encoder-decoder), or to keep blocks of
            one stage of several.

    Raises:
        ArgumentError: `kept` is out of its range, or blocks are not found, or are stages.
        ModelError: The student does not match its Hugging Face config, as a T5 without block 0,
            which has the position biases.

    >>> teacher = nn.Sequential(*[nn.Linear(2, 2) for _ in range(4)])
    >>> student, layer_map = keep_layers(teacher, [0, 3])
    >>> len(student), layer_map
    (2, {'0': '0', '1': '3'})
    """
    container = container_of(teacher, path)
    positions = _positions(kept, len(children(teacher, container)))
    return _keep(teacher, container, positions)


def container_of(teacher: nn.Module, path: str | None) -> str:
    """Return the path of the one container of the blocks; refuse blocks in stages."""
    found = _containers(teacher, path)
    if len(found) > 1:
        raise ArgumentError(
            f"the blocks of the teacher ({type(teacher).__name__}) are in stages "
            f"({', '.join(map(repr, found))}); pass the path of one of them, such as {found[-1]!r},"
            " or use every_nth_layer, which keeps every n-th block of each"
        )
    return found[0]


def _keep(teacher: Model, container: str, positions: list[int]) -> Kept[Model]:
    """Return the student with only some of the blocks of a container."""
    old = children(teacher, container)
    student = _copy_with(teacher, container, positions)
    layer_map = {old[new]: old[position] for new, position in enumerate(positions)}
    for new, (path, position) in enumerate(zip(layer_map, positions, strict=True)):
        for part in student.get_submodule(path).modules():
            for name in _POSITIONS:
                if type(vars(part).get(name)) is int and vars(part)[name] == position:
                    setattr(part, name, new)
    _recount(student, container, positions, len(old))
    _check_config(student, teacher, container, layer_map)
    return Kept(student, layer_map)


def _containers(teacher: nn.Module, path: str | None) -> list[str]:
    """Return the path of the container of the blocks, or those of all stages."""
    found = containers(teacher, path, "teacher")
    if path is not None or len(found) > 1:
        return found
    stages = children(teacher, found[0])
    try:
        inner = [containers(teacher.get_submodule(each), None, "teacher") for each in stages]
    except ArgumentError:
        return found
    if any(len(each) > 1 for each in inner):
        return found
    # A stage may be the container of its blocks itself.
    return [
        f"{stage}.{each}" if each else stage for stage, (each,) in zip(stages, inner, strict=True)
    ]


def _positions(kept: Iterable[int], count: int) -> list[int]:
    """Return `kept` as a list of positions below `count`, in increasing order."""
    advice = f"pass positions of blocks from 0 to {count - 1}, each above the one before"
    if not isinstance(kept, Iterable):
        raise ArgumentError(f"`kept` must be a list of integers, got {kept!r}; {advice}")
    positions = [integer("kept", position, 0, advice) for position in kept]
    increasing = all(a < b for a, b in pairwise(positions))
    if not positions or not increasing or positions[-1] >= count:
        raise ArgumentError(
            f"`kept` must name one or more of the teacher's {count} blocks in increasing order, "
            f"got {positions}; {advice}"
        )
    return positions


def _copy_with(model: Model, container: str, kept: list[int]) -> Model:
    """Return a deep copy of a model in which a container has only the kept children.

    The other children are not copied, unless the model has a second reference to them.
    """
    try:
        original = unwrapped(model.get_submodule(container))
        # The smaller container is in the memo before the model is copied, so that in the copy all
        # references to the original are to the smaller one.
        smaller = copy(original)
        memo: dict[int, Any] = {id(original): smaller}
        state = {name: value for name, value in vars(original).items() if name != "_modules"}
        # A wrapper shares the dict of the layers.
        modules = memo[id(vars(original)["_modules"])] = {}
        smaller.__dict__ = {"_modules": modules} | deepcopy(state, memo)
        parts = [part for part in original._modules.items() if part[1] is not None]  # noqa: SLF001
        modules |= {parts[new][0]: deepcopy(parts[old][1], memo) for new, old in enumerate(kept)}
        return deepcopy(model, memo)
    except Exception as error:
        raise ModelError(
            f"the teacher ({type(model).__name__}) must be a model that can be copied, got "
            f"{type(error).__name__}: {error} of copy.deepcopy; build or load it again, and store "
            "no computed tensors in it"
        ) from error


def _recount(model: nn.Module, container: str, kept: list[int], count: int) -> None:
    """Update the number of blocks, `count`, in modules and configs from the model to the container.

    `kept` are the old positions of the student's blocks; its configs are its own copies. What is
    missed here `_check_config` finds.
    """
    path = container.split(".") if container else []
    side = next((part for part in reversed(path) if part in _SIDES), "")
    modules, seen = [unwrapped(model)], set[int]()
    for name in path:
        modules.append(modules[-1].get_submodule(name))
    for module in modules:
        config = getattr(module, "config", None)
        if not hasattr(config, "to_dict") or id(config) in seen:
            _recount_entries(module, side, kept, count, general=True)
        elif not _recount_stage(config, path, kept, count):
            # The model's config may describe an encoder and a decoder. That of a part, such as T5's
            # decoder, is a copy whose general entry is that of the part.
            _recount_entries(config, side, kept, count, general=bool(seen))
        seen.add(id(config))


def _recount_stage(config: Any, path: list[str], kept: list[int], count: int) -> bool:
    """Update the entry of one of several stages, as of a Swin; tell whether there is one."""
    numbers = [int(part) for part in path if part.isdecimal()]
    depths = vars(config).get("depths")
    if not numbers or not isinstance(depths, (list, tuple)) or len(depths) <= numbers[-1]:
        return False
    if depths[numbers[-1]] != count:
        return False
    changed = list(depths)
    changed[numbers[-1]] = len(kept)
    config.depths = type(depths)(changed)
    return True


def _recount_entries(owner: Any, side: str, kept: list[int], count: int, general: bool) -> None:
    """Update the entry of this side, and the general one if it is of this side too.

    Where no known entry has the number, those that do by what their names say.
    """
    found = _set_first(owner, _SIDES.get(side, ()), count, len(kept))
    if general or not found:
        found = _set_first(owner, _COUNTS, count, len(kept)) or found
    if not found:
        names = [
            name
            for name, value in vars(owner).items()
            if type(value) is int and value == count and _OF_BLOCKS.search(name)
            if name not in _POSITIONS
        ]
        own = [name for name in names if side and side in name]
        alike = [name for name in names if not side or not any(each in name for each in _SIDES)]
        for name in own + alike if general else own or alike:
            setattr(owner, name, len(kept))
            found = True
    for name, values in list(vars(owner).items()) if found else ():
        if not isinstance(values, (list, tuple)):
            continue
        if name in _POSITION_LISTS:
            renumbered = [new for new, old in enumerate(kept) if old in values]
            setattr(owner, name, type(values)(renumbered))
        elif len(values) == count and _OF_BLOCKS.search(name):
            setattr(owner, name, type(values)(values[old] for old in kept))
    stages = vars(owner).get("stage_names")
    if found and isinstance(stages, list) and len(stages) == count + 1:  # the stem and each block
        owner.stage_names = stages[: len(kept) + 1]
        if owner.out_indices == [count]:
            owner.set_output_features_output_indices(None, None)  # the last block again


def _set_first(owner: Any, names: tuple[str, ...], old: int, new: int) -> bool:
    """Update the first of some attributes that has the old value; tell whether there is one."""
    # A config maps general names to its own: GPT-2's num_hidden_layers is its n_layer.
    mapped = getattr(owner, "attribute_map", {})
    for name in (mapped.get(name, name) for name in names):
        if type(vars(owner).get(name)) is int and vars(owner)[name] == old:
            setattr(owner, name, new)
            return True
    return False


def _check_config(
    student: nn.Module, teacher: nn.Module, container: str, layer_map: dict[str, str]
) -> None:
    """Refuse a Hugging Face student other than its config describes.

    Saved weights are loaded by name, and what a block has may depend on its position (only T5's
    block 0 has position biases): what does not fit would be random weights after loading.
    """
    names = container.split(".") if container else []
    paths = (".".join(names[:depth]) for depth in range(len(names) + 1))
    owner = next((path for path in paths if _is_configured(student.get_submodule(path))), None)
    if owner is None:
        return
    start = len(owner) + 1 if owner else 0
    within, blocks = container[start:], {new[start:]: old[start:] for new, old in layer_map.items()}
    faults = _differences(student.get_submodule(owner), within)
    # Those of a teacher that was changed after it was built (by adapters) are ignored.
    known = _differences(teacher.get_submodule(owner), within) if faults else {}
    for name, (expected, found) in faults.items():
        block = next((each for each in blocks if name.startswith(f"{each}.")), None)
        former = name if block is None else blocks[block] + name.removeprefix(block)
        if former not in known:
            raise ModelError(
                f"the student must be as its config describes it, so that it can be saved and "
                f"loaded: {name!r} must be {expected}, got {found}; keep another block there "
                "(start=0 where the first block is special), or build a smaller "
                f"{type(teacher).__name__} of your own and copy weights by name"
            )


def _is_configured(module: nn.Module) -> bool:
    """Tell whether a module is built from a config, as those of transformers are."""
    has_config = hasattr(getattr(module, "config", None), "from_dict")
    return has_config and hasattr(module, "save_pretrained")


def _differences(model: Any, within: str) -> dict[str, tuple[str, str]]:
    """Return how a model differs from what its config describes, `{name: (expected, found)}`."""
    model = unwrapped(model)
    try:
        # As loading does, from the serialised config, and without allocating weights.
        config = type(model.config).from_dict(model.config.to_dict())
        with torch.device("meta"):
            expected = dict(_facts(type(model)(config), within))
    except Exception as error:  # noqa: BLE001 - the config's own check, of any kind
        return {"config": (f"that of a {type(model).__name__}", f"{type(error).__name__}: {error}")}
    found = dict(_facts(model, within))
    return {
        name: (expected.get(name, "absent"), found.get(name, "absent"))
        for name in expected | found
        if found.get(name) != expected.get(name)
    }


def _facts(model: nn.Module, within: str) -> Iterator[tuple[str, str]]:
    """Yield the shapes of a model's tensors, and the settings of layers inside a path, by name."""
    for name, value in model.state_dict().items():
        yield name, f"of shape {list(value.shape)}" if isinstance(value, Tensor) else "no tensor"
    for path, part in model.named_modules():
        for name, value in vars(part).items() if path.startswith(f"{within}.") else ():
            # No floats: stochastic depth depends on the position, but only matters in training.
            if type(value) in {bool, int, str} and name != "training" and name[0] != "_":
                yield f"{path}.{name}", repr(value)
