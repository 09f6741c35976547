"""The tables that domains.py prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from tutelage.evaluation import Interval, paired_interval

Scores = dict[str, Tensor]
"""In each domain 1 for each example that is predicted correctly, else 0."""
ALL = "all, the mean over domains"


def mean(own: Scores) -> float:
    """Return the mean over domains of the accuracy."""
    return fmean(each.mean().item() for each in own.values())


def gain(ours: Sequence[Scores], theirs: Sequence[Scores]) -> str:
    """Return the difference of the means over domains in points, and its interval."""
    whole, names = sum(map(len, ours[0].values())), list(ours[0])
    weights = {name: whole / len(names) / len(ours[0][name]) for name in names}
    table = [
        torch.cat([weights[name] * (a[name] - b[name]) for name in names])
        for a, b in zip(ours, theirs, strict=True)
    ]
    return points(paired_interval(torch.stack(table), resolution=max(weights.values())))


def points(found: Interval) -> str:
    """Return a mean and its interval in points."""
    return f"{100 * found.mean:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"


def models(rows: Mapping[str, Sequence[Scores]], first: str, chosen: Mapping[str, str]) -> None:
    """Print the accuracy of models, and by how much one of them is better than each other.

    Args:
        rows: Of each model, one for each seed.
        first: The name of that model.
        chosen: The setting of each.
    """
    print(f"\n| | accuracy, % | each seed | gain of {first} | chosen |\n|---|---:|---|---:|---|")
    for name, own in rows.items():
        means = [100 * mean(each) for each in own]
        each = ", ".join(f"{value:.1f}" for value in means)
        shown = "" if name == first else gain(rows[first], own)
        print(f"| {name} | {fmean(means):.1f} | {each} | {shown} | {chosen[name]} |")


def by_domain(
    before: Mapping[str, Interval],
    pairs: Sequence[tuple[Sequence[Scores], Sequence[Scores]]],
) -> None:
    """Print what specialists gain in each domain, as teachers and in the student.

    Args:
        before: The differences on validation examples: by domain, then of all.
        pairs: Specialists and generalists, then students of both, on test examples.
    """
    names = list(pairs[0][0][0])
    head = "teachers, validation | teachers, test | students distilled from them, test"
    print(f"\nspecialists − generalist | {head} |\n|---|---:|---:|---:|")
    for name in names:
        level, cells = 1 - 0.05 / len(names), [points(before[name])]
        for ours, theirs in pairs:
            table = torch.stack([a[name] - b[name] for a, b in zip(ours, theirs, strict=True)])
            cells.append(points(paired_interval(table, resolution=1, confidence=level)))
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"| {ALL} | {points(before[ALL])} | {' | '.join(gain(*each) for each in pairs)} |")
