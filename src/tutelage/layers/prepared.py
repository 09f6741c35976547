"""Give a model its own preprocessing, so that it takes raw inputs."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

from torch import nn

from tutelage.errors import ArgumentError, DataError
from tutelage.layers.observe import arguments
from tutelage.layers.text_inputs import TextInputs
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.nested import describe, to_device

Prepare = Callable[[Any], Any]
"""From a batch of raw inputs to the inputs of a model: a tensor, a tuple of them, or a dict."""


class Prepared(Wrapper):
    """A model that takes raw inputs: its forward pass is `model(prepare(raw))`.

    A teacher and a student that normalise, resize or tokenise differently can then be given the
    same batch. The wrapper shares the model's layers, parameters and buffers under the same names,
    so layer paths and the keys of `state_dict` do not change, and only the model's weights are
    moved and trained.

    Args:
        model: Any module.
        prepare: A function of a batch of raw inputs, or a module without parameters, such as
            `ImageInputs` or `TextInputs`. What it returns is moved to the model's device, and is
            given to the model as one argument, as several if it is a tuple or list, or as keywords
            if it is a dict.
        class_names: Names of the classes, in the order of the model's outputs, if they are known.
        untrained: `"model"` if all weights are random, `"head"` if those of the output layer are.

    Raises:
        ArgumentError: `model` is not a module, `prepare` cannot be called or has parameters.

    >>> import torch
    >>> model = Prepared(nn.Linear(3, 2), lambda raw: (raw - 0.5) / 0.5)
    >>> model(torch.zeros(4, 3)).shape, list(model.state_dict())
    (torch.Size([4, 2]), ['weight', 'bias'])
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Prepare,
        class_names: tuple[str, ...] | None = None,
        untrained: str | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"`model` must be a torch.nn.Module, got {describe(model)}; write "
                "Prepared(model, tl.layers.ImageInputs(224))"
            )
        if not callable(prepare):
            raise ArgumentError(
                f"`prepare` must be a function of a batch of raw inputs, got {prepare!r}; for "
                "instance tl.layers.ImageInputs(224)"
            )
        if isinstance(prepare, nn.Module) and next(prepare.parameters(), None) is not None:
            raise ArgumentError(
                f"`prepare` must have no parameters, got {type(prepare).__name__} with some; they "
                "would be neither trained nor saved, so make it a layer of the model"
            )
        super().__init__(model)
        # In a tuple, since a module would be part of every path.
        self.__dict__["_prepare"] = (prepare,)
        self.class_names = class_names
        self.untrained = untrained

    @property
    def prepare(self) -> Prepare:
        """The function from raw inputs to the model's inputs."""
        return self.__dict__["_prepare"][0]

    def prepared(self, raw: Any) -> Any:
        """Return the model's inputs for a batch of raw inputs, on the model's device."""
        inputs = self.prepare(raw)
        weight = next(chain(self.wrapped.parameters(), self.wrapped.buffers()), None)
        return inputs if weight is None else to_device(inputs, weight.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns for raw inputs, given as to any other model.

        Raises:
            DataError: Some are given by position and others by name.
        """
        if args and kwargs:
            raise DataError(
                "raw inputs must be given either by position or by name, got "
                f"{len(args)} by position and {sorted(kwargs)} by name; name all of them"
            )
        raw = kwargs or (args[0] if len(args) == 1 else args)
        positional, named = arguments(self.prepared(raw))
        return self.wrapped(*positional, **named)

    def extra_repr(self) -> str:
        """Return the preprocessing."""
        return f"prepare={self.prepare!r}"


def tokenizer_of(model: nn.Module) -> Any:
    """Return the tokenizer of a model that makes tokens of texts itself and predicts tokens.

    None if it does not, or, as a classifier of texts, has outputs that are not about tokens.
    """
    predicts = getattr(unwrapped(model), "get_output_embeddings", None)
    if not callable(predicts) or predicts() is None:
        return None
    while isinstance(model, Wrapper):
        if isinstance(model, Prepared) and isinstance(model.prepare, TextInputs):
            return model.prepare.tokenizer
        model = model.wrapped
    return None
