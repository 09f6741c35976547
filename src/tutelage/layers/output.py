"""Choose which part of what a model returns is its output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.wrapper import Wrapper
from tutelage.nested import describe


class Output(Wrapper):
    """A model whose output is one part of what it returns, such as an encoder's hidden states.

    It is for models that return no `logits`, such as those of transformers without a head. The
    wrapper shares the model's layers, parameters and buffers under the same names, so layer paths
    and the keys of `state_dict` do not change. Other attributes, such as `config` and
    `save_pretrained`, are the model's.

    Args:
        model: Any module.
        output: The name of the part (a key or an attribute), its position in a tuple, or a function
            of what the model returns that returns a tensor `[batch, …]`.

    Raises:
        ArgumentError: `model` is not a module, or `output` none of these.

    >>> import torch
    >>> class Encoder(nn.Linear):
    ...     def forward(self, x):
    ...         return {"hidden": super().forward(x)}
    >>> encoder = Output(Encoder(3, 2), "hidden")
    >>> encoder(torch.zeros(4, 3)).shape, list(encoder.state_dict())
    (torch.Size([4, 2]), ['weight', 'bias'])
    """

    def __init__(self, model: nn.Module, output: str | int | Callable[[Any], Tensor]) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"`model` must be a torch.nn.Module, got {describe(model)}; write "
                'Output(model, "last_hidden_state")'
            )
        if isinstance(output, bool) or not (isinstance(output, (str, int)) or callable(output)):
            raise ArgumentError(
                "`output` must be the name of a part of what the model returns, a position or a "
                f'function, got {output!r}; for instance "last_hidden_state"'
            )
        super().__init__(model)
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the chosen part of what the model returns.

        Raises:
            ModelError: It does not have this part.
        """
        return self.chosen(self.wrapped(*args, **kwargs))

    def chosen(self, result: Any) -> Tensor:
        """Return the chosen part of what the model returned.

        Raises:
            ModelError: It does not have this part.
        """
        output = self.output
        if callable(output):
            return output(result)
        try:
            if isinstance(output, str) and not isinstance(result, Mapping):
                return getattr(result, output)
            return result[output]
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"the model ({type(self.wrapped).__name__}) must return something with the part "
                f"{output!r}, got {describe(result)}; choose one of its parts"
            ) from error

    def extra_repr(self) -> str:
        """Return which part is the output."""
        return f"output={self.output!r}"
