"""The objectives' formulas in the fewest lines of PyTorch, which `objectives.py` times.

Each returns the mean over the batch. They check nothing, compute in the precision of their
arguments, and may divide by zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kl(z: Tensor, v: Tensor, temperature: float) -> Tensor:
    """Return T² · KL, the mean over the batch."""
    log_q, log_p = F.log_softmax(z / temperature, 1), F.log_softmax(v / temperature, 1)
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


def center(z: Tensor) -> Tensor:
    """Subtract the mean of each row."""
    return z - z.mean(1, keepdim=True)


def dkd(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """Return DKD with α = 1, β = 8, T = 4."""
    true = F.one_hot(y, z.shape[1]).bool()
    q, p = (F.softmax(side / 4, 1)[true] for side in (z, v))
    log_q, log_p = (torch.stack([each, 1 - each], 1).log() for each in (q, p))
    target = F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
    log_q, log_p = (F.log_softmax((side / 4).masked_fill(true, -1e4), 1) for side in (z, v))
    return 16 * (target + 8 * F.kl_div(log_q, log_p, reduction="batchmean", log_target=True))


def dist(z: Tensor, v: Tensor) -> Tensor:
    """Return DIST with β = γ = T = 1."""
    q, p = z.softmax(1), v.softmax(1)
    rows = F.cosine_similarity(center(q), center(p), 1).mean()
    return 2 - rows - F.cosine_similarity(center(q.T), center(p.T), 1).mean()


def logit_standardization(z: Tensor, v: Tensor) -> Tensor:
    """Return the KL divergence of standardised logits, T = 2."""
    ours, theirs = (center(side) / side.std(1, keepdim=True) for side in (z, v))
    return kl(ours, theirs, 2.0)


def wttm(z: Tensor, v: Tensor) -> Tensor:
    """Return WTTM with γ = 0.1."""
    powers = v.softmax(1) ** 0.1
    weight = powers.sum(1, keepdim=True)
    return (weight * F.kl_div(z.log_softmax(1), powers / weight, reduction="none")).sum(1).mean()


def nkd(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """Return NKD with γ = 1.5, T = 1."""
    true = F.one_hot(y, z.shape[1]).bool()
    first = (v.softmax(1)[true] * z.log_softmax(1)[true]).mean()
    log_q = F.log_softmax(z.masked_fill(true, -1e4), 1)
    others = F.softmax(v.masked_fill(true, -1e4), 1)
    return -first - 1.5 * (others * log_q).sum(1).mean()


def ofa(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """Return OFA with ε = 1.5."""
    one_hot = F.one_hot(y, z.shape[1])
    return -(((v.softmax(1) + one_hot) ** 1.5 - one_hot) * z.log_softmax(1)).sum(1).mean()


def bounded(z: Tensor, v: Tensor, y: Tensor) -> Tensor:
    """Return the squared error where it is above the teacher's."""
    error, bound = ((side - y).square().mean(1) for side in (z, v))
    return torch.where(error > bound, error, 0).mean()


def gaussian(z: Tensor, v: Tensor) -> Tensor:
    """Return the KL divergence of normal distributions."""
    (mean, log_var), (wanted, wanted_log_var) = z.chunk(2, 1), v.chunk(2, 1)
    gap = log_var - wanted_log_var
    distance = (wanted - mean).square() * (-log_var).exp()
    return (gap + (-gap).exp() + distance - 1).sum(1).mean() / 2


def attention_transfer(f: Tensor, g: Tensor) -> Tensor:
    """Return the squared distance of attention maps."""
    ours, theirs = (F.normalize(side.pow(2).mean(1).flatten(1)) for side in (f, g))
    return (ours - theirs).pow(2).mean()


def cwd(f: Tensor, g: Tensor) -> Tensor:
    """Return CWD with T = 4."""
    return kl(f.flatten(2).flatten(0, 1), g.flatten(2).flatten(0, 1), 4.0)


def skd(f: Tensor, g: Tensor) -> Tensor:
    """Return SKD with 8 × 8 nodes."""
    ours, theirs = (F.normalize(F.adaptive_avg_pool2d(side, 8).flatten(2)) for side in (f, g))
    return F.mse_loss(ours.mT @ ours, theirs.mT @ theirs)


def rkd(f: Tensor, g: Tensor) -> Tensor:
    """Return RKD with 25 and 50."""

    def both(rows: Tensor) -> tuple[Tensor, Tensor]:
        differences = rows.unsqueeze(0) - rows.unsqueeze(1)
        unit = F.normalize(differences, dim=2)
        lengths = differences.norm(dim=2)
        return lengths / lengths[lengths > 0].mean(), torch.bmm(unit, unit.mT)

    (lengths, angles), (wanted_lengths, wanted_angles) = both(f), both(g)
    distances = F.smooth_l1_loss(lengths, wanted_lengths)
    return 25 * distances + 50 * F.smooth_l1_loss(angles, wanted_angles)


def cka(f: Tensor, g: Tensor) -> Tensor:
    """Return 1 − CKA."""
    x, y = f - f.mean(0), g - g.mean(0)
    return 1 - (x.T @ y).norm() ** 2 / ((x.T @ x).norm() * (y.T @ y).norm())


def minilmv2(f: Tensor, g: Tensor) -> Tensor:
    """Return MiniLMv2's divergence for 12 relation heads."""

    def log_relations(side: Tensor) -> Tensor:
        heads = side.unflatten(2, (12, -1)).transpose(1, 2)
        return (heads @ heads.mT / heads.shape[3] ** 0.5).log_softmax(3).flatten(0, 2)

    return F.kl_div(log_relations(f), log_relations(g), reduction="batchmean", log_target=True)


def crd(ours: Tensor, theirs: Tensor, memory: Tensor) -> Tensor:
    """Return InfoNCE at τ = 0.07 against the batch and a full memory, of projected embeddings."""
    others = torch.cat([F.normalize(theirs), memory])
    scores = F.normalize(ours) @ others.T / 0.07
    return F.cross_entropy(scores, torch.arange(len(ours)))


def vkd(f: Tensor, g: Tensor, weight: Tensor, signs: Tensor) -> Tensor:
    """Return VkD: Huber error of projected features to the teacher's after a layer norm."""
    rows, targets = (side.movedim(1, -1) for side in (f, g))
    ours = rows @ (torch.linalg.qr(weight)[0] * signs).T
    return F.huber_loss(ours, F.layer_norm(targets, targets.shape[-1:]))
