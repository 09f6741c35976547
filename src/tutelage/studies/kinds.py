"""What the outputs of a study's students hold: class logits, logits of binary labels, or values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from tutelage.errors import ArgumentError
from tutelage.objectives import (
    BinaryLabels,
    HardLabels,
    LabelRegression,
    Objective,
    OwnLoss,
    RowMean,
)
from tutelage.objectives._objective import OutputKind
from tutelage.studies.arm import Arm
from tutelage.studies.outputs import Truth

StudyKind = OutputKind | Literal["boxes", "tokens"]
"""What the students' outputs hold: as `OutputKind`, the dicts of a detector, or the logits of a
language model, of which `TokenScores` are kept."""


def on_labels(kind: StudyKind, smoothing: float = 0.0) -> Objective:
    """Return the usual objective on labels; values and boxes are never smoothed.

    Tokens count alike, as trainers of language models usually have it.
    """
    if kind == "values":
        return LabelRegression()
    if kind == "tokens":
        return RowMean(HardLabels(smoothing))
    if kind == "boxes":
        return OwnLoss()
    return BinaryLabels(smoothing) if kind == "binary" else HardLabels(smoothing)


def study_kind(arms: Mapping[str, Arm], controls: Mapping[str, Arm], test: Truth) -> StudyKind:
    """Return what the outputs hold, by the objectives of the arms, else of the controls.

    Where no objective tells, the labels do, and boxes tell first.

    Raises:
        ArgumentError: Some objectives are of binary labels and others are not, or there is nothing
            to tell by but floats that are all 0 or 1.
    """
    if test.targets is not None:
        return "boxes"
    if test.of_tokens:
        return "tokens"
    told = [_by_kind(arms), _by_kind(controls)]
    kinds = {**told[1], **told[0]}
    if "binary" in kinds and len(kinds) > 1:
        other = next(each for kind, each in kinds.items() if kind != "binary")
        raise ArgumentError(
            "the arms of a study must read the outputs alike, got logits of binary labels in "
            f"{kinds['binary']}, but not in {other}; for binary labels use BinaryLabels, "
            "BinaryTargets and LogitRegression(center=False)"
        )
    order: tuple[OutputKind, ...] = ("values", "binary", "classes")
    for each in filter(None, told):
        return next(kind for kind in order if kind in each)
    return "classes" if test.labels is None else _kind_of(test.labels)


def may_be_of_tokens(*arms: Mapping[str, Arm]) -> bool:
    """Tell whether objectives read outputs as classes, as far as they say."""
    return all(_by_kind(each).keys() <= {"classes"} for each in arms)


def _by_kind(arms: Mapping[str, Arm]) -> dict[OutputKind, Objective]:
    """Return an objective of each kind that arms have."""
    found: dict[OutputKind, Objective] = {}
    for arm in arms.values():
        stages = [each[-1].objective for each in arm.sweep.get("stages", ())]
        swept = [*arm.sweep.get("objective", ()), *stages]
        reads = [] if arm.reads is None else [arm.reads]
        for each in (*arm.asked[-1:], *swept, *reads):
            if each.output_kind is not None:
                found.setdefault(each.output_kind, each)
    return found


def _kind_of(labels: Tensor) -> OutputKind:
    if not labels.is_floating_point():
        return "binary" if labels.ndim == 2 else "classes"  # noqa: PLR2004 - several labels each
    known = labels[~labels.isnan()]
    if len(known) and bool(((known == 0) | (known == 1)).all()):
        raise ArgumentError(
            "labels that are floats must be values or binary labels, got only 0 and 1, which may "
            "be either; give an objective that tells, tl.BinaryLabels() or tl.LabelRegression(), "
            "for an arm that is a function as `reads`: tl.Arm(run=..., reads=tl.BinaryLabels())"
        )
    return "values"
