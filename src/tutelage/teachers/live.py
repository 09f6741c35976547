"""A teacher that is a PyTorch module, run on every batch."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.data import randomness
from tutelage.errors import ModelError
from tutelage.identity import identity
from tutelage.layers import evaluating, observe
from tutelage.layers.capture import check_layers
from tutelage.signals import Batch, Signals
from tutelage.teachers._cast_weights import CastWeights
from tutelage.teachers._teacher import Teacher
from tutelage.wants import Fields


class Live(Teacher):
    """A frozen module; each call is in eval mode and inference mode.

    The module does not change: its training flags are restored after each call, its `requires_grad`
    is not touched (in inference mode no gradient can arise), and it is no part of the student's
    `state_dict`.

    Under autocast, PyTorch casts weights at every call. During a run (within `ready`), the weights
    of linear and convolution layers are cast once and kept, if the outputs for the first batch are
    equal to the bit; this takes half the memory of the weights. Weights that change are cast again,
    unless they are changed through `.data`, which PyTorch does not record.

    Args:
        module: Any module; see `tutelage.layers.observe` for how it is called.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module: nn.Module = module  # pyright: ignore[reportIncompatibleVariableOverride]
        self._device: torch.device | None = None  # within `ready`, if it has autocast
        self._cast: CastWeights | None = None
        self._is_exact: dict[torch.dtype, bool] = {}

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the module's output and features, as plain tensors that autograd may save."""
        with evaluating(self.module), torch.inference_mode():
            signals = self._observe(batch, fields)
        # An inference tensor cannot be saved for a backward pass; its clone can.
        if isinstance(signals.output, Tensor):  # captured features are clones already
            return Signals(signals.output.clone(), signals.features, tokens=signals.tokens)
        return signals

    def _observe(self, batch: Batch, fields: Fields) -> Signals:
        compiling = torch.compiler.is_dynamo_compiling()  # a graph casts where it computes
        cast = self._cast_weights() if fields and not compiling else None
        if cast is None:
            return observe(self.module, batch.inputs, fields, "teacher")
        if cast.dtype in self._is_exact:
            with cast.in_use():
                return observe(self.module, batch.inputs, fields, "teacher")
        signals = None  # where it fails, as a layer does that computes outside of autocast
        with suppress(ModelError), randomness.preserved(), cast.in_use():  # the first batch
            signals = observe(self.module, batch.inputs, fields, "teacher")
        expected = observe(self.module, batch.inputs, fields, "teacher")
        self._is_exact[cast.dtype] = signals is not None and _equal(signals, expected)
        return expected

    def _cast_weights(self) -> CastWeights | None:
        """Return weights in autocast's dtype; None without autocast, or if they are no use."""
        device = self._device
        if device is None or not torch.is_autocast_enabled(device.type):
            return None
        dtype = torch.get_autocast_dtype(device.type)
        if self._is_exact.get(dtype) is False:
            return None
        if self._cast is None or not self._cast.is_current(dtype):
            self._cast = CastWeights(self.module, dtype)
            if not self._cast.weights:
                self._is_exact[dtype] = False
        return self._cast if self._cast.weights else None

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse paths of layers that the module does not have; the error names the nearest."""
        check_layers(self.module, paths, "teacher")

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Move the module to `device` and into eval mode; afterwards back to where it was."""
        first = next(chain(self.module.parameters(), self.module.buffers()), None)
        home = None if first is None or first.device == device else first.device
        before = self._device
        self._device = device if torch.amp.is_autocast_available(device.type) else None
        with evaluating(self.module):
            try:
                if home is not None:
                    self.module.to(device)
                yield
            finally:
                self._device, self._cast = before, None
                if home is not None:
                    self.module.to(home)

    def fingerprint(self) -> str:
        """Return the class and its identity: weights, buffers, attributes, code of one's own.

        Attributes that look like caches are left out (see `tutelage.identity`).
        """
        return f"{type(self.module).__name__} {identity(self.module, tensors='in use')}"


def _equal(signals: Signals, expected: Signals) -> bool:
    """Tell whether signals are equal to the bit; the predictions of detectors are not compared."""
    pairs: list[tuple[Any, Any]] = [(signals.output, expected.output)]
    pairs += [(signals.features[path], each) for path, each in expected.features.items()]
    plain = [[getattr(each, "hidden", each) for each in pair] for pair in pairs]  # of HeadLogits
    equal = all(one is other is None or torch.equal(one, other) for one, other in plain)
    return equal and expected.predictions is None
