"""How much memory tensors take at once."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Follows every storage from the operation that makes it until nothing refers to it.

    torch's profiler adds up what an operation takes and gives back, and its trace holds the scratch
    memory of this machine's kernels too; peak counters exist for GPUs only. The storages themselves
    are the same everywhere.

    Args:
        model: Whose parameters and buffers were there before, and do not count.
        inputs: Neither do these.

    Attributes:
        peak: Most bytes that were alive at once.
    """

    def __init__(self, model: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.peak, self._now = 0, 0
        before = (*model.parameters(), *model.buffers(), *_tensors(inputs))
        # Storages are held, so that their ids stay theirs.
        self._before = {id(each): each for each in (old.untyped_storage() for old in before)}
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and take note of the storages that it made."""
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            self._note(tensor)
        return result

    def _note(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._before or key in self._alive:
            return
        self._alive.add(key)
        size = storage.nbytes()
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size


def _tensors(value: Any) -> list[Tensor]:
    return [each for each in tree_leaves(value) if isinstance(each, Tensor)]
