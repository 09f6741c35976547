"""The table of a study that is decided by a metric of its own."""

from __future__ import annotations

import numpy as np

import tutelage as tl


def show(study: tl.Study, metric: str) -> None:
    """Print each arm's metric in percent, and the primary arm's gain over it, with intervals."""
    results = study.results
    primary = next(arm for arm in results.arms if arm.name == results.primary)
    found = {each.other: each for each in results.comparisons if each.arm == primary.name}
    head = f"{metric}, % | each seed | {primary.name} is better by, points (95 %)"
    print(f"\n| | {head} |\n|---|---:|---|---|")
    if results.teacher is not None:
        print(f"| teacher | {100 * results.teacher.metrics[metric]:.1f} | | |")
    for arm in results.arms:
        values = np.array(arm.values(metric))
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        interval = found[arm.name].interval if arm.name in found else None
        gain = ""
        if interval is not None:
            low, high = 100 * interval.low, 100 * interval.high
            gain = f"{100 * interval.mean:+.1f} ({low:+.1f} to {high:+.1f})"
        print(f"| {arm.name} | {100 * values.mean():.1f} | {each} | {gain} |")
    print(f"\n{study.verdict}\n{study.report()}", flush=True)
