"""To which group each example belongs, for what is done group by group."""

import torch
from torch import Tensor

from tutelage.errors import DataError
from tutelage.objectives._objective import labels_of
from tutelage.signals import UNLABELLED, Batch


def by_domain(batch: Batch) -> list[str | None]:
    """Return each example's domain.

    Raises:
        DataError: The batch tells no domains.

    >>> by_domain(Batch(torch.zeros(2, 3), domain=["photo", "sketch"]))
    ['photo', 'sketch']
    """
    if batch.domain is None:
        raise DataError(
            "groups by domain need each example's domain, got a batch without; build the data with "
            "tl.data.domains({name: data set}), or yield (inputs, labels, domain)"
        )
    names = batch.domain.tolist() if isinstance(batch.domain, Tensor) else batch.domain
    return [str(name) for name in names]


def by_class(batch: Batch) -> list[str | None]:
    """Return each example's class, `"class 3"`; None where it has no label.

    An example made of two (`Batch.mixture`) belongs to the class of its larger share.

    Raises:
        DataError: The batch has no labels, or they are no class ids.

    >>> by_class(Batch(torch.zeros(2, 3), torch.tensor([3, -100])))
    ['class 3', None]
    """
    labels = labels_of(batch)
    if labels.is_floating_point() or labels.ndim != 1:
        raise DataError(
            f"groups by class need class ids [batch], got {labels.dtype} {list(labels.shape)}; for "
            "values group by domain, or by a function of your own"
        )
    if batch.mixture is not None:
        labels = torch.where(batch.mixture.fraction >= 0.5, labels, batch.mixture.labels)  # noqa: PLR2004
    return [None if each == UNLABELLED else f"class {each}" for each in labels.tolist()]
