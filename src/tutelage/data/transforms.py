"""Transforms of batches, applied before both teacher and student."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Beta

from tutelage._checks import fraction, not_negative, positive
from tutelage.errors import DataError
from tutelage.labels import UNLABELLED
from tutelage.nested import describe, first_tensor, leaves, named_tensors, on_tensors, versions
from tutelage.signals import Batch, Mixture

Transform = Callable[[Batch], Batch]
"""Callable: batch → the batch for both teacher and student."""


def transformed(batch: Batch, transform: Transform | None) -> Batch:
    """Return the batch after a transform.

    If the inputs changed, the index is dropped, since targets stored by index do not match them;
    tensors may have changed in place.
    """
    if transform is None:
        return batch
    before = versions(batch.inputs)
    found = transform(batch)
    if not isinstance(found, Batch):
        raise DataError(
            f"`transform` must return a tl.Batch, got {describe(found)}; return "
            "dataclasses.replace(batch, inputs=...)"
        )
    mixture = found.mixture
    parts = [found.labels, found.domain, mixture and mixture.labels, mixture and mixture.fraction]
    lengths = {len(each) for each in parts if isinstance(each, (Tensor, tuple, list))}
    if len(found) != len(batch) or lengths - {len(batch)}:
        raise DataError(
            f"`transform` must return as many examples and labels as it is given, {len(batch)}, "
            f"got {len(found)} with inputs {describe(found.inputs)} and labels "
            f"{describe(found.labels)}; change examples, and add or drop them in the data set"
        )
    same = found.inputs is batch.inputs and versions(found.inputs) == before
    index = found.index if same else None
    return replace(found, index=index, progress=batch.progress, replicas=batch.replicas)


@dataclass(frozen=True)
class Chain:
    """Several transforms, one after another.

    Args:
        transforms: In the order of application; at most one may mix labels.

    >>> from tutelage.data import Mixup, Noise
    >>> Chain([Noise(0.1), Mixup()])
    Chain(transforms=(Noise(scale=0.1), Mixup(alpha=1.0, within_domain=True)))
    """

    transforms: Sequence[Transform]

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(self.transforms))

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        for transform in self.transforms:
            batch = transformed(batch, transform)
        return batch


def as_columns(fraction: Tensor, like: Tensor) -> Tensor:
    """Return `[batch]` in the dtype and with as many dimensions as `[batch, …]`."""
    return fraction.to(like).reshape(-1, *[1] * (like.ndim - 1))


def refuse_integers(tensor: Tensor, transform: str) -> None:
    """Refuse inputs that cannot be interpolated: integers and booleans."""
    if not tensor.is_floating_point():
        raise DataError(
            f"{transform} must have inputs of floats, got {describe(tensor)}; ids cannot be mixed: "
            "convert images to floats, or mix embeddings in a transform of your own"
        )


def with_mixed_labels(batch: Batch, inputs: Any, partner: Tensor, fraction: Tensor) -> Batch:
    """Return a batch of mixed inputs, with both labels and the fraction of each.

    The partner's class label is in `Batch.mixture`. Values, and binary labels as floats, are mixed
    directly; NaN in either gives NaN. The index is dropped, since it does not identify mixed
    inputs.

    `partner`, `[batch]`, are the rows of the partners; `fraction`, `[batch]` in [0, 1], is how much
    of each example is its own.

    Raises:
        DataError: Labels are not a tensor, or are several integers per example.
    """
    labels = batch.labels
    if labels is None:
        return replace(batch, inputs=inputs, index=None)
    if not isinstance(labels, Tensor):
        raise DataError(
            "a transform that mixes labels must have a tensor of them, got "
            f"{describe(labels)}; leave it out, or change images and boxes in the data set"
        )
    fraction = fraction.to(labels.device)
    other = labels[partner.to(labels.device)]
    if not labels.is_floating_point():
        if labels.ndim > 1:
            raise DataError(
                "labels must be one for each example, or floats, to be mixed, got "
                f"{describe(labels)}; give binary labels as floats, with NaN for a missing one"
            )
        return replace(batch, inputs=inputs, index=None, mixture=Mixture(other, fraction))
    own = as_columns(fraction, labels)
    # At 0 and 1 the result is one of the labels, even if the other is NaN.
    mixed = torch.where(
        own == 1, labels, torch.where(own == 0, other, own * labels + (1 - own) * other)
    )
    return replace(batch, inputs=inputs, labels=mixed, index=None)


def partners(batch: Batch, within_domain: bool = True) -> Tensor:
    """Return for each example the row of its partner, `[batch]`: a random permutation.

    An example may be its own partner. `within_domain`, partners are of the same domain, if known.
    """
    domains = _domain_numbers(batch, within_domain)
    rows, others = domains.argsort(stable=True), _shuffled(domains)
    return torch.empty_like(rows).index_copy_(0, rows, others)


def pairs(batch: Batch, within_domain: bool = True) -> Tensor:
    """Pair examples at random, and return for each the row of the other, `[batch]`.

    In a domain with an odd number of examples, one is paired with itself.
    """
    domains = _domain_numbers(batch, within_domain)
    rows = _shuffled(domains)
    grouped, positions = domains[rows], torch.arange(len(rows))
    start = torch.searchsorted(grouped, grouped)
    end = torch.searchsorted(grouped, grouped, right=True)
    neighbour = start + ((positions - start) ^ 1)
    mate = rows[torch.where(neighbour < end, neighbour, positions)]
    return torch.empty_like(rows).index_copy_(0, rows, mate)


def _shuffled(domains: Tensor) -> Tensor:
    """Return all rows, domain by domain, in random order within each."""
    order = torch.randperm(len(domains))
    return order[domains[order].argsort(stable=True)]


def _domain_numbers(batch: Batch, within_domain: bool) -> Tensor:
    """Return each example's domain as a number, on the CPU; zeros where domains are not used.

    Examples that are mixed already are refused, and those in lists, which cannot be mixed.
    """
    if batch.mixture is not None:
        raise DataError(
            "a transform that mixes labels must have examples of one label each, got mixed ones; "
            "use only one such transform in a chain"
        )
    lists = (each for each in leaves(batch.inputs) if not isinstance(each, Tensor))
    if any(len(each) == len(batch) for each in lists):
        raise DataError(
            "a transform that exchanges or mixes examples must have inputs in tensors [batch, …], "
            f"got {describe(batch.inputs)}, a list with one item per example; leave it out, or "
            "change the examples in the data set"
        )
    domain = batch.domain if within_domain else None
    if domain is None:
        return torch.zeros(len(batch), dtype=torch.int64)
    if isinstance(domain, Tensor):
        return domain.cpu()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(domain))}
    return torch.tensor([numbers[name] for name in domain])


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
        partner = partners(batch, self.within_domain)
        fraction = Beta(self.alpha, self.alpha, validate_args=False).sample((len(batch),))

        def mixed(tensor: Tensor) -> Tensor:
            refuse_integers(tensor, "Mixup")
            own = as_columns(fraction, tensor)
            # Not x' + λ·(x − x'), which at λ = 1 differs from x by rounding.
            return own * tensor + (1 - own) * tensor[partner.to(tensor.device)]

        return with_mixed_labels(batch, on_tensors(batch.inputs, mixed), partner, fraction)


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
    if images.ndim != 4:  # noqa: PLR2004
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


@dataclass(frozen=True)
class Swap:
    """Pair rows at random, and swap each feature within its pair with a probability.

    Each column keeps its values, and the teacher labels the new rows, as in MUNGE (Bucila et al.
    2006, https://doi.org/10.1145/1150402.1150464), which pairs nearest neighbours. Random pairs are
    AutoGluon's simplification, with a probability of at most 0.1. Uses torch's global generator.

    Args:
        probability: The probability that a feature is swapped, in [0, 1].
        within_domain: As in `Mixup`.
        mix_labels: Whether a changed row has both labels, weighted by their fractions of its
            features, as in `CutMix`. Otherwise it has no label, since the true one is unknown, and
            the hard-label term uses the unchanged rows only.

    Shape:
        Inputs `[batch, features]` or `[batch]`, of any dtype, including category ids.

    Raises:
        ArgumentError: `probability` is outside [0, 1].
        DataError: When called: an input is not a table, or the examples are mixed already.

    >>> table = Batch(torch.arange(6.0).reshape(3, 2))
    >>> sorted(Swap(0.5)(table).inputs[:, 1].tolist())
    [1.0, 3.0, 5.0]
    """

    probability: float = 0.1
    within_domain: bool = True
    mix_labels: bool = False

    def __post_init__(self) -> None:
        fraction("probability", self.probability, "AutoGluon uses at most 0.1")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        mate = pairs(batch, self.within_domain)
        first = torch.minimum(mate, torch.arange(len(mate)))
        unchanged: list[Tensor] = []

        def exchanged(tensor: Tensor) -> Tensor:
            if tensor.ndim > 2:  # noqa: PLR2004
                raise DataError(
                    f"Swap must have tables [batch, features], got {describe(tensor)}; for images "
                    "use CutMix or Mixup"
                )
            table = tensor.unsqueeze(1) if tensor.ndim == 1 else tensor
            chosen = torch.rand(table.shape) < self.probability
            # The choice for a pair's first row holds for both, so that values are exchanged.
            moved = chosen[first] & (mate != torch.arange(len(mate))).unsqueeze(1)
            unchanged.append(~moved)
            other = table[mate.to(tensor.device)]
            return torch.where(moved.to(tensor.device), other, table).reshape(tensor.shape)

        inputs = on_tensors(batch.inputs, exchanged)
        fraction = torch.cat(unchanged, dim=1).float().mean(dim=1)
        if self.mix_labels:
            return with_mixed_labels(batch, inputs, mate, fraction)
        labels = None if batch.labels is None else _kept(batch.labels, fraction == 1)
        return replace(batch, inputs=inputs, labels=labels, index=None)


def _kept(labels: Tensor, unchanged: Tensor) -> Tensor:
    """Return the labels of unchanged rows; other rows have none."""
    if not isinstance(labels, Tensor):
        raise DataError(
            f"Swap must have a tensor of labels, got {describe(labels)}; leave it out, or exchange "
            "values in the data set"
        )
    unchanged = unchanged.to(labels.device).reshape(-1, *[1] * (labels.ndim - 1))
    if not labels.is_floating_point():
        # As int64, since uint8 cannot represent −100.
        return torch.where(unchanged, labels.long(), UNLABELLED)
    return labels.where(unchanged, torch.nan)


@dataclass(frozen=True)
class Noise:
    """x + σ·ε, with ε standard normal for each value, from torch's global generator.

    Labels are unchanged, so the noise should be small.

    Args:
        scale: σ, zero or more; or one for each column (the last dimension), such as a tenth of the
            columns' standard deviations, AutoGluon's choice for tables.

    Raises:
        ArgumentError: A scale is negative or not finite.
        DataError: When called: an input is not of floats, or the number of columns differs.

    >>> Noise(0.0)(Batch(torch.ones(1, 2))).inputs
    tensor([[1., 1.]])
    """

    scale: float | Sequence[float] = 0.1

    def __post_init__(self) -> None:
        scale: Any = self.scale
        plain = scale.tolist() if hasattr(scale, "tolist") else scale
        if isinstance(plain, (tuple, list)):
            # The repr of a tuple shows all numbers, and is part of a run's identity.
            object.__setattr__(self, "scale", tuple(plain))
        for each in self.scale if isinstance(self.scale, tuple) else (self.scale,):
            not_negative("scale", each, "0 adds nothing")

    def __call__(self, batch: Batch) -> Batch:
        """Return the changed batch."""
        scale: Any = self.scale

        def noisy(tensor: Tensor) -> Tensor:
            refuse_integers(tensor, "Noise")
            if not isinstance(scale, tuple):
                return tensor + scale * torch.randn_like(tensor)
            if tensor.shape[-1] != len(scale):
                raise DataError(
                    f"Noise with {len(scale)} scales must have inputs of as many columns, got "
                    f"{describe(tensor)}; give one scale for each, or one number for all"
                )
            return tensor + tensor.new_tensor(scale) * torch.randn_like(tensor)

        if next(named_tensors(batch.inputs), None) is None:
            raise DataError(
                f"Noise must have inputs of floats, got {describe(batch.inputs)}; leave it out, or "
                "change the texts in the data set"
            )
        return replace(batch, inputs=on_tensors(batch.inputs, noisy), index=None)
