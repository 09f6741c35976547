"""Read weights from files in ways that cannot run code, and load them into a model."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from tutelage.errors import ModelError, NotFoundError, in_short, some_of

_NESTED = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a state dict by name.

    Files other than `.safetensors` are read with PyTorch's `weights_only=True`, which refuses
    everything but tensors and plain containers.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged, or holds something else than a state dict.
    """
    if not path.is_file():
        raise NotFoundError(f"the weights must be an existing file, got {path}; correct the path")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the protocol of a pickle, which is refused
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of damaged files, anything
        raise ModelError(
            f"{path} must hold weights alone, and whole, got {in_short(error)}; copy it again, or "
            "write it again by safetensors.torch.save_file(model.state_dict(), path)"
        ) from error
    if isinstance(found, Mapping):
        nested = (found[name] for name in _NESTED if isinstance(found.get(name), Mapping))
        found = next(nested, found)
    tensors = isinstance(found, Mapping) and all(isinstance(x, Tensor) for x in found.values())
    if not tensors or not found:
        raise ModelError(
            f"{path} must hold a state dict, tensors by name, alone or under one of {_NESTED}, "
            f"got {type(found).__name__}; write model.state_dict() to it"
        )
    return {str(name): each for name, each in found.items()}


def load_weights(
    model: nn.Module, weights: Mapping[str, Tensor], source: object, fresh: Collection[str] = ()
) -> None:
    """Load weights into a model; refuse those that do not fit it.

    Args:
        model: The architecture.
        weights: By name; the prefix `module.` of data-parallel training is left out.
        source: Where they come from, for messages.
        fresh: Names of parameters that keep their random values, whose weights are not loaded.

    Raises:
        ModelError: Names or shapes differ.
    """
    if weights and all(name.startswith("module.") for name in weights):
        weights = {name.removeprefix("module."): each for name, each in weights.items()}
    given = {name: each for name, each in weights.items() if name not in fresh}
    try:
        found = model.load_state_dict(given, strict=False)
    except (RuntimeError, ValueError) as error:  # of shapes; of versions, as MNASNet has them
        faults = [(str(error).partition("\n\t")[2] or str(error)).split("\n")[0].strip()]
    else:
        # Older files lack BatchNorm's counts, which have no influence unless momentum is None.
        kept = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
        missing = [name for name in kept if name not in fresh]
        faults = [f"they lack {some_of(missing, 3)}"] if missing else []
        if found.unexpected_keys:
            faults.append(f"they have besides {some_of(found.unexpected_keys, 3)}")
    if faults:
        raise ModelError(
            f"the weights {source} must be those of the architecture {type(model).__name__}; "
            f"{'; '.join(faults)}; name the architecture that they were saved from"
        )
