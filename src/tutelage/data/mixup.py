"""Mixup: interpolate each example with another."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Beta

from tutelage._checks import positive
from tutelage.data.mixing import (
    as_columns,
    partners,
    refuse_integers,
    refuse_mixed,
    with_mixed_labels,
)
from tutelage.nested import on_tensors
from tutelage.signals import Batch


@dataclass(frozen=True)
class Mixup:
    """λ·x + (1 − λ)·x', with the partner x' from the batch and λ from Beta(α, α).

    Teacher and student are given the same mixed inputs, so the student matches the teacher
    between the examples too ("function matching", Beyer et al. 2022,
    https://arxiv.org/abs/2106.05237). Class labels are mixed in the hard-label term, λ·CE(y) +
    (1 − λ)·CE(y'), and values directly (Zhang et al. 2018, https://arxiv.org/abs/1710.09412).
    Partner and λ are sampled for each example, from torch's global generator.

    Args:
        alpha: α > 0. With 1, as in function matching, λ is uniform in [0, 1]. Without a teacher
            Zhang et al. use 0.1 to 0.4 on ImageNet and 1 on CIFAR-10.
        within_domain: Whether partners are of the same domain, if the data has domains, since a
            specialist knows inputs of its own domain only.

    Raises:
        ArgumentError: `alpha` is not positive and finite.
        DataError: When called: an input is not of floats, or the examples are mixed already.

    >>> import torch
    >>> batch = Batch(torch.zeros(4, 2), torch.tensor([0, 1, 2, 3]))
    >>> mixed = Mixup()(batch)
    >>> mixed.labels is batch.labels, mixed.mixture is None
    (True, False)
    """

    alpha: float = 1.0
    within_domain: bool = True

    def __post_init__(self) -> None:
        positive("alpha", self.alpha, "with 1 the fractions are uniform in [0, 1]")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        refuse_mixed(batch)
        partner = partners(batch, self.within_domain)
        fraction = Beta(self.alpha, self.alpha, validate_args=False).sample((len(batch),))

        def mixed(tensor: Tensor) -> Tensor:
            refuse_integers(tensor, "Mixup")
            own = as_columns(fraction, tensor)
            # Not x' + λ·(x − x'), which at λ = 1 differs from x by rounding.
            return own * tensor + (1 - own) * tensor[partner.to(tensor.device)]

        return with_mixed_labels(batch, on_tensors(batch.inputs, mixed), partner, fraction)
