"""Checks of the values of tensors: where they cost nothing, and within compiled code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def may_look(tensor: Tensor) -> bool:
    """Tell whether a number can be looked at without waiting for a device, or breaking a graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def checked(name: str, check: Callable[..., None], schema: str) -> Callable[..., Tensor]:
    """Return a function that returns a tensor as it is, having looked at its values on the CPU.

    So it does in compiled code, where an index out of range would end the process without a
    traceback. There the check is an operator: the compiler does not look inside, and it may raise.

    Args:
        name: Of the operator.
        check: Raises where something is wrong with the values of its first argument, a tensor.
        schema: The arguments of `check`, and a tensor that is returned, as PyTorch writes them.
    """

    def body(values: Tensor, *others: Any) -> Tensor:
        check(values, *others)
        return values.clone()  # an operator must not return what it was given

    operator = torch.library.custom_op(f"tutelage::{name}", body, mutates_args=(), schema=schema)
    operator.register_fake(lambda values, *_: torch.empty_like(values))

    def looked_at(values: Tensor, *others: Any) -> Tensor:
        if values.device.type != "cpu":
            return values
        if torch.compiler.is_compiling():
            return operator(values, *others)
        check(values, *others)
        return values

    return looked_at
