"""Update the number of blocks in a model's config and in attributes of its modules."""

from typing import Any

from torch import nn

from tutelage.layers.wrapper import unwrapped

_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth", "num_blocks")
_SIDES = {
    "encoder": ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers", "decoder_num_hidden_layers"),
}
# Entries of a config with one value per block.
_PER_BLOCK = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")


def recount(model: nn.Module, container: str, kept: list[int], count: int) -> None:
    """Update the number of blocks, `count`, in modules and configs from the model to the container.

    `kept` are the old positions of the student's blocks; its configs are its own copies.
    """
    sides = [part for part in container.split(".") if part in _SIDES]
    names = _SIDES[sides[-1]] if sides else ()
    seen = set()
    modules = [unwrapped(model)]
    for name in container.split(".") if container else ():
        modules.append(modules[-1].get_submodule(name))
    for module in modules:
        config = getattr(module, "config", None)
        if hasattr(config, "to_dict") and id(config) not in seen:
            # The model's config may describe an encoder and a decoder. That of a part, such as T5's
            # decoder, is a copy whose general entry is that of the part.
            if not _recount_stage(config, container, kept, count):
                _recount_config(config, names, kept, count, general=bool(seen))
            seen.add(id(config))
        else:
            _set_first(module, _COUNTS, count, len(kept))


def _recount_stage(config: Any, container: str, kept: list[int], count: int) -> bool:
    """Update the entry of one of several stages, as of a Swin; tell whether there is one."""
    numbers = [int(part) for part in container.split(".") if part.isdecimal()]
    depths = vars(config).get("depths")
    if not numbers or not isinstance(depths, (list, tuple)) or len(depths) <= numbers[-1]:
        return False
    if depths[numbers[-1]] != count:
        return False
    changed = list(depths)
    changed[numbers[-1]] = len(kept)
    config.depths = type(depths)(changed)
    return True


def _recount_config(
    config: Any, names: tuple[str, ...], kept: list[int], count: int, general: bool
) -> None:
    """Update the entry of this side, and the general one if it is of this side too."""
    found = _set_first(config, names, count, len(kept))
    if general or not found:
        found = _set_first(config, _COUNTS, count, len(kept)) or found
    for name in _PER_BLOCK if found else ():
        values = vars(config).get(name)
        if isinstance(values, (list, tuple)) and len(values) == count:
            setattr(config, name, type(values)(values[old] for old in kept))
    stages = vars(config).get("stage_names")
    if found and isinstance(stages, list) and len(stages) == count + 1:  # the stem and each block
        config.stage_names = stages[: len(kept) + 1]
        if config.out_indices == [count]:
            config.set_output_features_output_indices(None, None)  # the last block again


def _set_first(owner: Any, names: tuple[str, ...], old: int, new: int) -> bool:
    """Update the first of some attributes that has the old value; tell whether there is one."""
    # A config maps general names to its own: GPT-2's num_hidden_layers is its n_layer.
    mapped = getattr(owner, "attribute_map", {})
    for name in (mapped.get(name, name) for name in names):
        if type(vars(owner).get(name)) is int and vars(owner)[name] == old:
            setattr(owner, name, new)
            return True
    return False
