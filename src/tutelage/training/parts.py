"""Parts of a model that are frozen or have learning rates of their own."""

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

OTHER_PARAMETERS = "rest"
"""The group of what no factor was given for."""


@contextmanager
def freezing(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Freeze parameters; afterwards each is as it was."""
    members = [each for each in parameters if each.requires_grad]
    for each in members:
        each.requires_grad_(False)
    try:
        yield
    finally:
        for each in members:
            each.requires_grad_(True)


def parameters_at(model: nn.Module, path: str) -> list[nn.Parameter]:
    """Return the parameters of a layer, or the one parameter, at a path."""
    named = dict(model.named_parameters(remove_duplicate=False))
    if isinstance(path, str) and path in named:
        return [named[path]]
    found = list(submodule(model, path, "model").parameters())
    if not found:
        raise ArgumentError(
            f"a part that is frozen or has its own learning rate must have parameters, got "
            f"{path!r} without any; leave it out, or name the layer around it"
        )
    return found


@dataclass(frozen=True)
class ByPart:
    """From parameters to an optimizer that holds them part by part, each with its own factor.

    The learning rate of each group is the full one, so that schedulers move all groups alike; it is
    multiplied by the group's factor for the length of each step, by `scaled_rates`.
    """

    make: Callable[[Any], Optimizer]  # the user's: from groups of parameters
    factors: Mapping[str, float]  # by part; 1 for others
    part_of: Mapping[int, str]  # by a parameter's id

    def groups(self, parameters: Iterable[nn.Parameter]) -> list[dict[str, Any]]:
        """Return parameters as groups for an optimizer, the other parameters first."""
        members: dict[str, list[nn.Parameter]] = {OTHER_PARAMETERS: []}
        for each in parameters:
            members.setdefault(self.part_of.get(id(each), OTHER_PARAMETERS), []).append(each)
        return [
            {"params": held, "part": part, "factor": self.factors.get(part, 1.0)}
            for part, held in members.items()
            if held
        ]

    def __call__(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """Make it."""
        optimizer = self.make(self.groups(parameters))
        # What is no optimizer is refused where it is used.
        grouped = getattr(optimizer, "param_groups", [{"factor", "lr"}])
        if not all({"factor", "lr"} <= {*group} for group in grouped):
            raise ArgumentError(
                "`optimizer` must keep the groups of parameters that it is given, [{'params': "
                "[...], ...}, ...], where parts have learning rates of their own, got "
                f"{self.make!r}, which makes its own"
            )
        return optimizer


@contextmanager
def scaled_rates(optimizer: Optimizer) -> Iterator[None]:
    """Multiply the learning rate of each group of a `ByPart` optimizer, for the length of a step.

    Hooks of the optimizer would not do: they run twice where a subclass calls `super().step()`.
    """
    full = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * group["factor"]
    try:
        yield
    finally:
        for group, rate in zip(optimizer.param_groups, full, strict=True):
            group["lr"] = rate


def by_part(
    make: Callable[[Any], Optimizer],
    model: nn.Module,
    factors: Mapping[str, float],
    layer_decay: float | None,
    frozen: Sequence[str],
) -> ByPart:
    """Return what makes an optimizer in which parts of a model have learning rates of their own.

    `factors` by path take precedence over the decay; frozen parts may have none.
    """
    still = {id(each): path for path in frozen for each in parameters_at(model, path)}
    found: dict[int, str] = {}
    for path, factor in by_name("lr_factors", factors, "{'encoder': 0.1}").items():
        positive(
            f"lr_factors[{path!r}]", factor, "freeze what is not to learn at all: frozen=[...]"
        )
        own = {id(each): path for each in parameters_at(model, path)}
        for key in own.keys() & (still | found).keys():
            raise ArgumentError(
                "each parameter must have one factor or be frozen, got one that belongs to both "
                f"{(still | found)[key]!r} and {path!r}; leave one of them out, or name smaller "
                "parts"
            )
        found |= own
    decayed, belongs = ({}, {}) if layer_decay is None else _decayed(model, layer_decay)
    return ByPart(make, decayed | dict(factors), belongs | found)


def _decayed(model: nn.Module, decay: float) -> tuple[dict[str, float], dict[int, str]]:
    """Return factors that fall from the last block to the first, and to what lies before it."""
    fraction("layer_decay", positive("layer_decay", decay, "1 is for none"), "1 is for none")
    try:
        paths = blocks(model)
    except ArgumentError as error:
        raise ArgumentError(
            f"`layer_decay` needs a model with repeated blocks, but {error}; here, give "
            "`lr_factors` by path instead"
        ) from error
    factors = {path: decay ** (len(paths) - place) for place, path in enumerate(paths)}
    inside = {id(each): path for path in paths for each in model.get_submodule(path).parameters()}
    listed, before = list(model.parameters()), f"before {paths[0]}"
    first = next(place for place, each in enumerate(listed) if id(each) in inside)
    belongs = {id(each): before for each in listed[:first]} | inside
    return {before: decay ** (len(paths) + 1)} | factors, belongs
