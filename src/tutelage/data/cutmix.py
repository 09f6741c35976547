"""CutMix: replace a rectangle of each image by that of another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Beta

from tutelage._checks import positive
from tutelage.data.mixing import partners, refuse_mixed, with_mixed_labels
from tutelage.errors import DataError
from tutelage.nested import describe, first_tensor, on_tensors
from tutelage.signals import Batch

_IMAGES = 4


@dataclass(frozen=True)
class CutMix:
    """Replace a rectangle of each image by the same rectangle of a partner's image.

    It covers 1 − λ of the image, λ from Beta(α, α), around a uniformly random centre, and is
    clipped at the edges; the labels are weighted by their fractions of the pixels (Yun et al. 2019,
    https://arxiv.org/abs/1905.04899). Rectangle and partner are sampled for each example, from
    torch's global generator.

    Args:
        alpha: α > 0; with 1, the authors' choice, λ is uniform in [0, 1].
        within_domain: As in `Mixup`.

    Shape:
        Inputs `[batch, channels, height, width]`; several must be of one height and width.

    Raises:
        ArgumentError: `alpha` is not positive and finite.
        DataError: When called: an input is not an image, or the examples are mixed already.
    """

    alpha: float = 1.0
    within_domain: bool = True

    def __post_init__(self) -> None:
        positive("alpha", self.alpha, "with 1 the fractions are uniform in [0, 1]")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        refuse_mixed(batch)
        partner = partners(batch, self.within_domain)
        height, width = _size(first_tensor(batch.inputs))
        kept = Beta(self.alpha, self.alpha, validate_args=False).sample((len(batch),))
        cut = _span(kept, height).unsqueeze(2) & _span(kept, width).unsqueeze(1)

        def mixed(tensor: Tensor) -> Tensor:
            if _size(tensor) != (height, width):
                raise DataError(
                    f"CutMix must have images of one size, got {height} × {width} and "
                    f"{describe(tensor)}; resize them, or use a transform of your own"
                )
            other = tensor[partner.to(tensor.device)]
            return torch.where(cut.unsqueeze(1).to(tensor.device), other, tensor)

        fraction = 1 - cut.flatten(1).float().mean(dim=1)
        return with_mixed_labels(batch, on_tensors(batch.inputs, mixed), partner, fraction)


def _size(images: Tensor) -> tuple[int, int]:
    if images.ndim != _IMAGES:
        raise DataError(
            "CutMix must have images [batch, channels, height, width], got "
            f"{describe(images)}; for other inputs use Mixup or Swap"
        )
    return images.shape[2], images.shape[3]


def _span(kept: Tensor, length: int) -> Tensor:
    """Return which pixels of a side are in the rectangle, `[batch, length]` of bool."""
    half = (1 - kept).sqrt() * length / 2
    centre = torch.randint(length, kept.shape)
    first, last = (centre - half).round().unsqueeze(1), (centre + half).round().unsqueeze(1)
    pixels = torch.arange(length)
    return (pixels >= first) & (pixels < last)
