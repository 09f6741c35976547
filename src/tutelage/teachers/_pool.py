"""The search for the distribution that comes nearest to several coarse ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError

_LEAST = -1e4
"""The least log-probability that the search begins with."""


@dataclass(frozen=True)
class Cells:
    """What several teachers say, laid out over all classes.

    Args:
        known: `[members, batch, classes]`: whether a class has a cell of its own.
        log_p: `[members, batch, classes]`: the log-probability of its cell; −∞ where it has none.
        rest: `[members, batch, 1]`: the log-probability of the cell of all others.
    """

    known: Tensor
    log_p: Tensor
    rest: Tensor

    @classmethod
    def of(cls, teachers: Sequence[CoarseLogits], classes: int) -> Cells:
        """Lay out coarse logits, in float32 at least.

        Raises:
            ModelError: A teacher names a class that is not there (looked at on the CPU only).
        """
        parts = [_laid_out(each, classes) for each in teachers]
        known, log_p, rest = (torch.stack(column) for column in zip(*parts, strict=True))
        return cls(known, log_p, rest)

    def open_members(self) -> list[int]:
        """Return the members that know some classes in a row and give the others no mass at all."""
        open_ = (self.rest == -torch.inf) & ~self.known.all(dim=-1, keepdim=True)
        return open_.flatten(1).any(dim=1).nonzero().flatten().tolist()

    def shared_out(self, log_q: Tensor) -> Tensor:
        """Return each teacher's log-probabilities, its rest shared out as q has it.

        Args:
            log_q: `[batch, classes]`.
        """
        outside = log_q.masked_fill(self.known, -torch.inf).logsumexp(dim=-1, keepdim=True)
        return torch.where(self.known, self.log_p, self.rest + log_q - outside)

    def divergence(self, log_q: Tensor, weights: Tensor) -> Tensor:
        """Return Σ_k w_k KL(p_k ‖ q_k), `[batch]`: what the search makes small."""
        outside = log_q.masked_fill(self.known, -torch.inf).logsumexp(dim=-1, keepdim=True)
        log_p = torch.cat([self.log_p, self.rest], dim=-1)
        log_q_k = torch.cat([log_q.expand_as(self.log_p), outside], dim=-1)
        possible = log_p > -torch.inf
        terms = log_p.exp() * (log_p - log_q_k)
        return (terms.where(possible, 0).sum(dim=-1) * weights.to(terms).unsqueeze(1)).sum(dim=0)


def pooled(
    cells: Cells, weights: Tensor, begin: Tensor | None, tolerance: float, max_steps: int
) -> Tensor:
    """Return log q, `[batch, classes]`, of the least Σ_k w_k KL(p_k ‖ q_k).

    Args:
        cells: What the teachers say.
        weights: `[members]`, with a sum of 1.
        begin: Logits from which the search begins; None for equal probabilities.
        tolerance: It ends once no probability moves by more.
        max_steps: Or after so many steps.
    """
    log_w = weights.to(cells.log_p).log().reshape(-1, 1, 1)
    start = torch.zeros_like(cells.log_p[0]) if begin is None else begin.to(cells.log_p)
    # Kept finite: a cell whose classes are all impossible has no proportions to share out by.
    log_q = F.log_softmax(start, dim=1).clamp(min=_LEAST)
    for _ in range(max_steps):
        # Normalised anew, so that rounding does not add up over the steps.
        last, log_q = log_q, F.log_softmax(step(cells, log_w, log_q), dim=1)
        if (log_q.exp() - last.exp()).abs().amax() <= tolerance:
            break
    return log_q


def step(cells: Cells, log_weights: Tensor, log_q: Tensor) -> Tensor:
    """Return log Σ_k w_k·p_k(cell of i)·q_i/q(cell of i): the fixed point's next log q."""
    return (log_weights + cells.shared_out(log_q)).logsumexp(dim=0)


def _laid_out(teacher: CoarseLogits, classes: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return which classes are known, their log-probabilities, and that of the rest."""
    ids = teacher.ids
    if teacher.drawn_at is not None:
        raise ModelError(
            "teachers of a Consensus must say how likely classes are, got classes that were drawn; "
            "label with `top_k` or all classes"
        )
    if ids.device.type == "cpu" and len(ids) and int(ids.amax()) >= classes:
        raise ModelError(
            f"teachers of {classes} classes must name those from 0 to {classes - 1}, got "
            f"{int(ids.amax())}; correct the labels of Specialist, or `classes`"
        )
    cells = torch.cat([teacher.logits, teacher.rest.unsqueeze(1)], dim=1)
    kind = torch.float64 if cells.dtype == torch.float64 else torch.float32
    log_p = F.log_softmax(cells.to(kind), dim=1)
    columns = torch.where(ids < 0, classes, ids)  # the filling has a column past the last class
    empty = log_p.new_full((len(ids), classes + 1), -torch.inf)
    laid = empty.scatter(1, columns, log_p[:, :-1])[:, :-1]
    known = torch.zeros_like(empty, dtype=torch.bool).scatter(1, columns, True)[:, :-1]
    return known, laid, log_p[:, -1:]
