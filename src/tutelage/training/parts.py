"""Parts of a model that are trained apart: frozen, or at rates of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Optimizer

from tutelage._checks import by_name, fraction, positive
from tutelage.errors import ArgumentError
from tutelage.layers import blocks
from tutelage.layers.paths import submodule

REST = "rest"
"""The group of what no rate was given for."""


@contextmanager
def frozen_parts(model: nn.Module, paths: Sequence[str]) -> Iterator[None]:
    """Freeze parts of a model; afterwards each parameter is as it was.

    Raises:
        ArgumentError: A path names no part with parameters.
    """
    members = [each for path in _checked(paths) for each in parameters_at(model, path)]
    members = [each for each in members if each.requires_grad]
    for each in members:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in members:
            each.requires_grad_(True)


def parameters_at(model: nn.Module, path: str) -> list[nn.Parameter]:
    """Return the parameters of a layer, or the one parameter, at a path.

    Raises:
        ArgumentError: The model has neither, or the layer has none.
    """
    named = dict(model.named_parameters(remove_duplicate=False))
    if isinstance(path, str) and path in named:
        return [named[path]]
    found = list(submodule(model, path, "model").parameters())
    if not found:
        raise ArgumentError(
            f"a part that is frozen or has its own rate must have parameters, got {path!r} without "
            "any; leave it out, or name the layer around it"
        )
    return found


@dataclass(frozen=True)
class Rates:
    """By what the learning rate is multiplied, part by part.

    Args:
        factors: By part, above zero.
        part_of: The part of a parameter, by its id; others belong to the rest, at factor 1.
    """

    factors: Mapping[str, float]
    part_of: Mapping[int, str]

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Return parameters as groups for an optimiser, the rest first."""
        members: dict[str, list[nn.Parameter]] = {REST: []}
        for each in parameters:
            members.setdefault(self.part_of.get(id(each), REST), []).append(each)
        return [
            {"params": held, "part": part, "factor": self.factors.get(part, 1.0)}
            for part, held in members.items()
            if held
        ]


def rates_of(
    model: nn.Module,
    factors: Mapping[str, float],
    layer_decay: float | None,
    frozen: Sequence[str],
) -> Rates:
    """Return which parameters learn at which rate.

    Args:
        model: Whose parameters.
        factors: By path, above zero; these go before the decay.
        layer_decay: In (0, 1]: the factor from each block to the one before it; None for none.
        frozen: Paths that may have no rate.

    Raises:
        ArgumentError: A path names no part, two of them overlap, or a factor is out of its range.
    """
    owners = {id(each): path for path in _checked(frozen) for each in parameters_at(model, path)}
    still = set(owners)
    for path, factor in by_name("rates", factors, "{'encoder': 0.1}").items():
        positive(f"rates[{path!r}]", factor, "freeze what is not to learn at all: frozen=[...]")
        for each in parameters_at(model, path):
            if id(each) in owners:
                raise ArgumentError(
                    "each parameter must have one rate or be frozen, got one that belongs to both "
                    f"{owners[id(each)]!r} and {path!r}; leave one of them out, or name smaller "
                    "parts"
                )
        owners |= {id(each): path for each in parameters_at(model, path)}
    found = {key: path for key, path in owners.items() if key not in still}
    if layer_decay is None:
        return Rates(dict(factors), found)
    decayed, belongs = _decayed(model, layer_decay)
    return Rates(decayed | dict(factors), belongs | found)


def _decayed(model: nn.Module, decay: float) -> tuple[dict[str, float], dict[int, str]]:
    """Return factors that fall from the last block to the first, and to what lies before it."""
    fraction("layer_decay", positive("layer_decay", decay, "1 is for none"), "1 is for none")
    try:
        paths = blocks(model)
    except ArgumentError as error:
        raise ArgumentError(
            f"`layer_decay` needs a model with repeated blocks, but {error}; here, give `rates` by "
            "path in its place"
        ) from error
    factors = {path: decay ** (len(paths) - place) for place, path in enumerate(paths)}
    inside = {id(each): path for path in paths for each in model.get_submodule(path).parameters()}
    listed, before = list(model.parameters()), f"before {paths[0]}"
    first = next(place for place, each in enumerate(listed) if id(each) in inside)
    belongs = {id(each): before for each in listed[:first]} | inside
    return {before: decay ** (len(paths) + 1)} | factors, belongs


@dataclass(frozen=True)
class ByPart:
    """From parameters to an optimiser that holds them part by part, each at its rate.

    Args:
        make: The user's: from groups of parameters to an optimiser.
        rates: Of the parts.
    """

    make: Callable[[Any], Optimizer]
    rates: Rates

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Make it, and multiply each group's rate by the part's factor.

        Raises:
            ArgumentError: The user's function takes no groups, or does not keep them.
        """
        expected = (
            "`optimizer` must take groups of parameters, [{'params': [...], ...}, ...], where "
            "parts have rates of their own, and keep them, as torch.optim's do"
        )
        try:
            optimizer = self.make(self.rates.groups(parameters))
        except (TypeError, AttributeError) as error:
            raise ArgumentError(f"{expected}, got {self.make!r}, which says {error}") from error
        if not isinstance(optimizer, Optimizer):
            return optimizer  # the run says what is wrong with it
        for group in optimizer.param_groups:
            if "factor" not in group:
                raise ArgumentError(f"{expected}, got {self.make!r}, which makes groups of its own")
            group["lr"] = group["lr"] * group["factor"]
        return optimizer


def _checked(paths: Sequence[str]) -> Sequence[str]:
    if isinstance(paths, str) or not isinstance(paths, Sequence):
        raise ArgumentError(
            f"`frozen` must be a list of paths of the model's parts, got {paths!r}; write "
            "['embeddings', 'layer1']"
        )
    return paths
