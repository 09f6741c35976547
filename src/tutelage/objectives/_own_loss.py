"""The loss that the student's own model or task defines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ModelError
from tutelage.layers.student import returned_loss
from tutelage.objectives._objective import Objective, Term, term_name
from tutelage.objectives._tensors import at_least_float32
from tutelage.signals import Batch, Signals
from tutelage.wants import Fields, Wants


class OwnLoss(Objective):
    """The student's own loss: the one that it returns with its targets, or a function's.

    It is for detectors, segmenters, speech and generative models, whose loss the library does not
    know; objectives on layers, such as `FeatureMatch`, add a teacher.

    Without a function the student is called with the batch's targets: as the argument `labels` for
    inputs in a dict (transformers), else as the last positional argument (torchvision's detectors:
    `model(images, targets)`). Its loss is, in what it returns, the attribute or key `loss`, else
    the sum of a dict of scalars, else a scalar.

    A scalar is taken for the mean over the examples of the batch: each has this value. The mean of
    an epoch, of several accumulated batches and of several processes weighs it by the number of
    examples. That is exact only if the scalar is the plain mean over examples: if it is a mean
    over tokens, boxes or labelled examples, then batches with few of these weigh too much in
    comparison with one large batch. Return `[batch]` from a function to have it exact.

    In validation the student is in eval mode. One that returns no loss there, as torchvision's
    detectors, runs a second time: modules that contain others in training mode, the rest
    (BatchNorm, dropout) in eval mode, under a fixed seed. Standard metrics such as accuracy are
    left out unless another term reads the output, which may be anything.

    With weight 0 it calls the student with its targets, as detectors require in training, for
    objectives on layers alone.

    Args:
        loss: A function of (student, batch) that calls the student and returns a scalar,
            `[batch]`, a dict of such, or an object with `loss`; None for the model's own. The batch
            has `inputs` and, as the data has them, `labels`. All terms share one function, which
            runs once per batch.
        part: The name of one loss in the dict, in place of the sum, so that parts can be weighed:
            `OwnLoss(part="classification") + 2 * OwnLoss(part="bbox_regression")`. Each is logged
            under its name.

    >>> from torch import nn
    >>> from tutelage.distiller import Distiller
    >>> def squared(student, batch):
    ...     return (student(batch.inputs) - batch.labels).square().mean(dim=1)
    >>> batch = Batch(torch.zeros(5, 3), torch.ones(5, 2))
    >>> Distiller(nn.Linear(3, 2, bias=False), None, OwnLoss(squared))(batch).parts
    {'own_loss': tensor(1.)}
    """

    output_kind = None

    def __init__(
        self, loss: Callable[[Any, Batch], Any] | None = None, part: str | None = None
    ) -> None:
        super().__init__()
        self.loss, self.part = loss, part
        self.wants = Wants(student=Fields(loss=loss or returned_loss))

    def terms(self) -> tuple[Term, ...]:
        """Return the term, named after its part."""
        [term] = super().terms()
        return (term if self.part is None else replace(term, name=term_name(self.part)),)

    def forward(self, student: Signals, teacher: Signals, batch: Batch) -> Tensor:
        """Return the loss, `[batch]`.

        Raises:
            ModelError: There is no such part, or in training it, or a part of the sum, has no
                gradient.
        """
        name = self.part or "loss"
        if name not in student.losses:
            raise ModelError(
                f"the student's own loss must have the part {name!r}, got "
                f"{sorted(student.losses) or 'none'}; choose among these by tl.OwnLoss(part='name')"
                " (a dict is summed to 'loss' if all in it have a gradient)"
            )
        loss = student.losses[name]
        if self.training and torch.is_grad_enabled() and not loss.requires_grad:
            raise ModelError(
                f"the student's own loss must have a gradient in training, got {name!r} without; "
                "compute it from trainable parameters, neither detached nor under torch.no_grad"
            )
        return at_least_float32(loss)
