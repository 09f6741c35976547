"""A model of values that is trained on standardised ones and gives them in their own units."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.wrapper import Wrapper
from tutelage.nested import describe


class Rescaled(Wrapper):
    """A model whose output is `model(x) * deviation + mean`: values in the units of their labels.

    A new network gives outputs around 0 and of a size near 1; prices around 13,000 are out of its
    reach for thousands of steps. Here it learns standardised values, while outputs, labels,
    losses, metrics and exports are in the original units: only the optimisation is conditioned.
    The gradient of each output is divided by its deviation squared, so that the squared error has
    the gradients that it has between standardised values, whatever the units.

    `mean` and `deviation` are saved with the weights, as the buffers `target_mean` and
    `target_deviation`.

    Args:
        model: Its output is a tensor `[batch, outputs]`.
        mean: Of the labels, `[outputs]`.
        deviation: Of the labels, `[outputs]`, above 0.

    >>> net = nn.Linear(3, 1)
    >>> scaled = Rescaled(net, torch.tensor([200.0]), torch.tensor([50.0]))
    >>> x = torch.randn(4, 3)
    >>> torch.allclose(scaled(x), net(x) * 50 + 200)
    True
    """

    def __init__(self, model: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__(model)
        self.register_buffer("target_mean", torch.tensor(mean.tolist()))
        self.register_buffer("target_deviation", torch.tensor(deviation.tolist()))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the model's output in the units of the labels, as float32."""
        output = self.wrapped(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ModelError(
                f"a model of values must return a tensor [batch, outputs], got {describe(output)}; "
                "return that, or write standardize: false in the recipe"
            )
        mean, deviation = (self.get_buffer(f"target_{each}") for each in ("mean", "deviation"))
        value = output.float() * deviation + mean
        if not (self.training and torch.is_grad_enabled()):
            return value
        conditioned = output.float() / deviation
        return value.detach() + (conditioned - conditioned.detach())  # the difference is 0
