"""Checks of tensors' values: on the CPU only, in eager and in compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def readable(tensor: Tensor) -> bool:
    """Tell whether reading a value neither waits for a device nor breaks a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def value_check(name: str, check: Callable[..., None], schema: str) -> Callable[..., Tensor]:
    """Return a function that checks a tensor's values on the CPU and returns the tensor.

    It does so in compiled code too, where an index out of range would end the process without a
    traceback: there the check is an operator, which the compiler does not trace. `schema` has the
    arguments of `check` and a returned tensor, in PyTorch's notation.
    """

    def body(values: Tensor, *others: Any) -> Tensor:
        check(values, *others)
        return values.clone()  # an operator must not return its input

    operator = torch.library.custom_op(f"tutelage::{name}", body, mutates_args=(), schema=schema)
    operator.register_fake(lambda values, *_: torch.empty_like(values))

    def checked(values: Tensor, *others: Any) -> Tensor:
        if values.device.type != "cpu":
            return values
        if torch.compiler.is_compiling():
            return operator(values, *others)
        check(values, *others)
        return values

    return checked
