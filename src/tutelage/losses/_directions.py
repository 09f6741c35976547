"""Rows or columns without their mean and length: what correlation and standardising compare."""

import torch
from torch import Tensor

# Less spread than this many roundings of the values is the roundings' own.
_ROUNDINGS = 32


def directions(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Subtract the mean along `dim` and divide by the length of what is left.

    Values that are constant but for rounding have no direction: it is set to 0, and no gradient
    flows from there, where dividing by next to nothing would blow it up.

    Args:
        values: `[rows, columns]`.
        dim: 1 for the directions of the rows, 0 for those of the columns.

    Returns:
        The directions, in the shape of `values`, of length 1 or 0; and which of them exist, bool,
        with `dim` of size 1.
    """
    mean = values.mean(dim=dim, keepdim=True)
    centred = values - mean
    # Not as vector_norm, which takes several times as long along the first of two dimensions.
    square = centred.square().sum(dim=dim, keepdim=True)
    noise = _ROUNDINGS * torch.finfo(values.dtype).eps
    level = values.shape[dim] * mean.detach().square()  # Σ values² = square + level
    exist = square > noise**2 * (square + level)
    return centred / torch.where(exist, square, torch.inf).sqrt(), exist
