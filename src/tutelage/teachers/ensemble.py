"""Several teachers as one: their mean."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.nested import describe
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._callables import callable_fingerprint
from tutelage.teachers._teacher import Teacher
from tutelage.teachers._team import Team, shares
from tutelage.teachers.averages import mean_of_outputs

Average = Callable[[Tensor, Tensor], Tensor]
"""From outputs `[members, batch, …]` and weights `[members, batch, 1…]` to the mean of them."""
Weighting = Callable[[Tensor, Batch], Tensor]
"""From outputs `[members, batch, …]` and their batch to weights `[members, batch]`."""


class Ensemble(Team):
    """The mean of several teachers that know the same classes, or predict the same values.

    Teachers that know different things must not be averaged: an example from the one's domain is
    noise to the others. `Specialists` asks only the teacher whose domain it is.

    Args:
        teachers: A list of modules or teachers, or a dict by name. A layer of a member is the place
            `name/layer`, such as `"big/layer3"`; in a list the names are `"0"`, `"1"`, ….
        weights: One number for each member, zero or more (they are made to sum to 1); or a function
            from outputs and batch to weights for each example, such as `by_label_confidence` and
            `by_entropy`; None for equal ones.
        average: What is made of outputs and weights: `mean_of_outputs` (the default, because it is
            right for values as for logits: of logits it is the normalised geometric mean of the
            probabilities), `mean_of_probabilities`, or `mean_of_gaussians` for models that return
            means and log-variances.
        devices: For each member the device that it runs on; None for that of the batch.

    Raises:
        ArgumentError: There is no member, weights or devices do not fit them, or `average` is no
            function.
        ModelError: A member is neither module nor teacher.

    >>> one, other = nn.Linear(2, 3), nn.Linear(2, 3)
    >>> Ensemble([one, other]).signals(Batch(torch.ones(4, 2)), Fields(output=True)).output.shape
    torch.Size([4, 3])
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module | Teacher] | Mapping[str, nn.Module | Teacher],
        weights: Sequence[float] | Weighting | None = None,
        average: Average = mean_of_outputs,
        devices: Sequence[torch.device | str | None] | None = None,
    ) -> None:
        super().__init__(teachers, devices)
        self.weights: Tensor | Weighting = (
            weights if callable(weights) else shares(weights, self.names)
        )
        if not callable(average):
            raise ArgumentError(
                f"`average` must be a function of outputs and weights, got {average!r}; for "
                "instance tl.teachers.mean_of_probabilities"
            )
        self.average = average

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the mean of the members' outputs, and the features that are wanted of each."""
        outputs, features = self.ask(batch, fields)
        if not fields.output:
            return Signals(None, features)
        both = self._stacked(outputs)
        weights = self._weigh(both, batch)
        weights = weights.reshape(*weights.shape, *[1] * (both.ndim - weights.ndim))
        return Signals(self.average(both, weights), features)

    def _weigh(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Return weights that sum to 1 over the members, `[members, batch]` or `[members, 1]`."""
        if isinstance(self.weights, Tensor):
            return self.weights.to(outputs.device, outputs.dtype).unsqueeze(1)
        weights = self.weights(outputs, batch)
        if not isinstance(weights, Tensor) or weights.shape != outputs.shape[:2]:
            raise ModelError(
                f"`weights` must return {list(outputs.shape[:2])} for as many teachers and "
                f"examples, got {describe(weights)}; return a weight for each of both"
            )
        total = weights.sum(dim=0, keepdim=True)
        # Looked at on the CPU only, where reading does not wait for a device.
        if weights.device.type == "cpu" and not bool((weights >= 0).all() & (total > 0).all()):
            raise ModelError(
                "`weights` must return zero or more for each teacher, and a sum above 0 for each "
                f"example, got {weights.amin().item():g} as the least weight and "
                f"{total.amin().item():g} as the least sum; give all teachers the same where none "
                "is to be preferred"
            )
        return weights / total

    def _stacked(self, outputs: Sequence[Tensor | CoarseLogits]) -> Tensor:
        """Return `[members, batch, …]` in float32 at least, or say why they have no mean."""
        whole = [each for each in outputs if isinstance(each, Tensor)]
        if len(whole) < len(outputs):
            raise ModelError(
                "an Ensemble averages teachers that know all classes, got one that knows some; "
                "join these in Specialists, by domain, or in Consensus"
            )
        shapes = {name: list(each.shape) for name, each in zip(self.names, whole, strict=True)}
        if len({each.shape for each in whole}) > 1:
            raise ModelError(
                f"the teachers of an Ensemble must have outputs of one shape, got {shapes}; give "
                "teachers of the same classes, or name each one's classes with Specialist"
            )
        kind = torch.float64 if any(x.dtype == torch.float64 for x in whole) else torch.float32
        return torch.stack([each.to(kind) for each in whole])

    def _settings(self) -> str:
        if isinstance(self.weights, Tensor):
            weights = str([round(each, 9) for each in self.weights.tolist()])
        else:
            weights = callable_fingerprint(self.weights)
        return f"{callable_fingerprint(self.average)}, weights {weights}"
