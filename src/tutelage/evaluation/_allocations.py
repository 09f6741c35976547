"""Peak memory of the tensors that a model allocates."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Tracks every storage from the operation that creates it until it is freed.

    torch's profiler also counts the scratch memory of this machine's kernels, and peak counters
    exist for GPUs only. Storages are the same on every machine.

    Args:
        model: Its parameters and buffers are not counted.
        inputs: Not counted either.

    Attributes:
        peak: The largest number of bytes in use at one time.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.peak, self._in_use = 0, 0
        existing = (*model.parameters(), *model.buffers(), *_tensors(inputs))
        # The storages are kept, so that their ids cannot be reused.
        self._existing = {id(each): each for each in (old.untyped_storage() for old in existing)}
        self._tracked: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and track the storages of its result."""
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._track(tensor)
        return result

    def _track(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._existing or key in self._tracked:
            return
        self._tracked.add(key)
        size = storage.nbytes()
        self._in_use += size
        self.peak = max(self.peak, self._in_use)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._tracked.discard(key)
        self._in_use -= size


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in tree_leaves(value) if isinstance(each, Tensor)]
