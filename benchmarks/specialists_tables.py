"""The tables that specialists.py and three_domains.py print."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import numpy as np
from torch import nn

import tutelage as tl
from tutelage.teachers import Ensemble, Teacher, as_teacher
from tutelage.teachers.averages import mean_of_probabilities
from tutelage.wants import OUTPUT


def show(study: tl.Study) -> None:
    """Print each arm's accuracy, the gain of the first distilled arm, and the chosen settings.

    Controls have the interval over seeds and test examples beside it.
    """
    arms = study.results.arms
    first = next(arm for arm in arms if not arm.is_control)
    found = {each.other: each for each in study.results.comparisons if each.arm == first.name}
    head = "accuracy, % | each seed | gain of the distilled student, points (95 %) | chosen"
    print(f"\n| | {head} |\n|---|---:|---|---|---|")
    for arm in arms:
        values = np.array(arm.values("accuracy"))
        each = ", ".join(f"{100 * value:.1f}" for value in values)
        gain = "" if arm is first else f"{100 * (first.values('accuracy') - values).mean():+.2f}"
        ends = found[arm.name].interval if arm.name in found else None
        gain += "" if ends is None else f" ({100 * ends.low:+.2f} to {100 * ends.high:+.2f})"
        chosen = arm.settings.get("chosen", "")
        print(f"| {arm.name} | {100 * values.mean():.1f} | {each} | {gain} | {chosen} |")
    print(f"\n{study.verdict}\n{study.report()}", flush=True)


def show_teachers(
    title: str, by_seed: Sequence[Mapping[str, nn.Module | Teacher]], test: tl.data.Domains
) -> None:
    """Print the specialists' test accuracy, each on its own domain, and of their average."""
    routed = [_accuracy([each[name] for name in test.sets], test) for each in by_seed]
    averages = [Ensemble(list(each.values()), average=mean_of_probabilities) for each in by_seed]
    averaged = [_accuracy([each] * len(test.sets), test) for each in averages]
    print(f"\n{title}, by seed:")
    for what, found in (("each on its own domain", routed), ("averaged without routing", averaged)):
        _line(what, found)


def show_models(what: str, by_seed: Sequence[nn.Module], test: tl.data.Domains) -> None:
    """Print the test accuracy of models that do not know the domains."""
    _line(what, [_accuracy([each] * len(test.sets), test) for each in by_seed])


def _line(what: str, found: Sequence[float]) -> None:
    print(f"{what}: {100 * fmean(found):.1f}  ({', '.join(f'{100 * x:.1f}' for x in found)})")


def _accuracy(teachers: Iterable[nn.Module | Teacher], test: tl.data.Domains) -> float:
    """Return the accuracy, each domain by the teacher in its position."""
    right = 0
    for teacher, data in zip(teachers, test.sets.values(), strict=True):
        inputs, labels = data.tensors
        outputs = as_teacher(teacher).signals(tl.Batch(inputs), OUTPUT).logits
        right += int((outputs.argmax(dim=1) == labels).sum())
    return right / len(test)
