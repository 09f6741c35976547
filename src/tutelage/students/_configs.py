"""Put right what counts a model's blocks: entries of its config, attributes of its modules."""

from typing import Any

from torch import nn

_COUNTS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer", "depth", "num_blocks")
_SIDES = {
    "encoder": ("encoder_layers", "num_encoder_layers", "encoder_num_hidden_layers"),
    "decoder": ("decoder_layers", "num_decoder_layers", "decoder_num_hidden_layers"),
}
# Entries of a config with one value per block.
_PER_BLOCK = ("layer_types", "mlp_layer_types", "layers_block_type", "no_rope_layers")


def recount(model: nn.Module, container: str, kept: list[int], count: int) -> None:
    """Write the new number of blocks wherever the model, down to the container, says the old one.

    Args:
        model: The student; its configs are its own.
        container: The path of what holds its blocks.
        kept: The old positions of its blocks.
        count: The old number of blocks.
    """
    sides = [part for part in container.split(".") if part in _SIDES]
    ours = _SIDES[sides[-1]] if sides else ()
    seen = set()
    for module in _down_to(model, container):
        config = getattr(module, "config", None)
        if hasattr(config, "to_dict") and id(config) not in seen:
            # The model's own config may describe an encoder and a decoder; that of a part, as of
            # T5's decoder, is a copy in which the general entry is the part's.
            if not _recount_stage(config, container, kept, count):
                _recount_config(config, ours, kept, count, general=bool(seen))
            seen.add(id(config))
        else:
            _set_first(module, _COUNTS, count, len(kept))


def _recount_stage(config: Any, container: str, kept: list[int], count: int) -> bool:
    """Change the entry of one stage of several, as of a Swin; tell whether there is one."""
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
    config: Any, ours: tuple[str, ...], kept: list[int], count: int, general: bool
) -> None:
    """Change the entry of this side, and the general one, if that is of this side as well."""
    found = _set_first(config, ours, count, len(kept))
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
            config.set_output_features_output_indices(None, None)  # the last, as it was


def _set_first(owner: Any, names: tuple[str, ...], old: int, new: int) -> bool:
    """Change the first of some attributes that has the old value; tell whether there is one."""
    # A config maps general names to its own: GPT-2's num_hidden_layers is its n_layer.
    own_names = getattr(owner, "attribute_map", {})
    for name in (own_names.get(name, name) for name in names):
        if type(vars(owner).get(name)) is int and vars(owner)[name] == old:
            setattr(owner, name, new)
            return True
    return False


def _down_to(model: nn.Module, path: str) -> list[nn.Module]:
    """Return the modules on the way to a layer, from the model to the layer."""
    way = [model]
    for name in path.split(".") if path else ():
        way.append(way[-1].get_submodule(name))
    return way
