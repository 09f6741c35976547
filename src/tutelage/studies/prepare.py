"""Check and convert the arguments of `study`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tutelage._checks import by_name, folder_path, integer
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.evaluation import Metric
from tutelage.evaluation.intervals import Groups, listed
from tutelage.reports.verdict import TEACHER
from tutelage.studies.arm import Arm, as_arm
from tutelage.studies.conclude import ReportOptions
from tutelage.studies.outputs import Truth
from tutelage.studies.plan import Training
from tutelage.studies.score import Scorer
from tutelage.studies.sweep import Sweep, as_sweep, joined
from tutelage.tasks.metrics import needs_logits


def all_arms(
    ours: Mapping[str, Arm], theirs: Mapping[str, Arm], sweep: Mapping[str, Any]
) -> dict[str, Arm]:
    """Return controls and arms by name, all with the common sweep.

    What an arm sets itself it does not sweep over.
    """
    twice = sorted(ours.keys() & theirs.keys())
    if twice:
        raise ArgumentError(
            f"arms and controls must have different names, got {twice} in both; rename one, or "
            "pass controls={} for none"
        )
    both = {**theirs, **ours}
    if TEACHER in both:  # the teacher's own row in the report
        raise ArgumentError(
            f"arms and controls must not be named {TEACHER!r}, got one that is; rename it"
        )
    common = as_sweep(sweep)
    return {
        name: replace(arm, sweep=joined(_unset(arm, common), arm.sweep))
        for name, arm in both.items()
    }


def arms_of(name: str, given: object) -> dict[str, Arm]:
    """Return arms, or controls, by name."""
    named = by_name(name, given, "{'soft targets': tl.SoftTargets(4)}")
    return {each: as_arm(each, arm) for each, arm in named.items()}


def _unset(arm: Arm, common: Sweep) -> Sweep:
    """Return the part of a common sweep that an arm does not set itself."""
    own = {name: each for name, each in common.items() if getattr(arm, name, None) is None}
    return replace(common, grid=own)


def check_options(
    arms: Mapping[str, object], primary: str | None, margin: float | None, teacher: object
) -> None:
    """Refuse options that do not go together, and to be one of several processes of a trainer."""
    if not arms:
        raise ArgumentError("`arms` must have at least one arm, got none; name an objective")
    if primary is not None and primary not in arms:
        raise ArgumentError(
            f"`primary` must be one of the arms {list(arms)}, got {primary!r}; name one of them, "
            "or leave it out"
        )
    if margin is not None and teacher is None:
        raise ArgumentError(
            "`margin` is what may be lost against the teacher, got none; give a teacher, or leave "
            "the margin out"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ArgumentError(
            "a study's processes must each be started alone, got one of several under torchrun or "
            "its like; start the same program several times with one `out`, and they share trials"
        )


def check_kinds(training: object, report: object, allow_overlap: object) -> None:
    """Refuse options of another type."""
    if not isinstance(training, Training):
        raise ArgumentError(
            f"`training` must be a tl.Training, got {training!r}; for instance "
            "tl.Training(batch_size=128)"
        )
    if not isinstance(report, ReportOptions):
        raise ArgumentError(
            f"`report` must be a tl.ReportOptions, got {report!r}; for instance "
            'tl.ReportOptions(title="Digits")'
        )
    if not isinstance(allow_overlap, bool):
        raise ArgumentError(
            f"`allow_overlap` must be True or False, got {allow_overlap!r}; True reports examples "
            "that two data sets have in common"
        )


def check_for_tokens(metrics: Mapping[str, Metric], report: ReportOptions) -> None:
    """Refuse what a study of language models cannot do, since it keeps no logits."""
    if reading := needs_logits(metrics):
        raise ArgumentError(
            "a study of language models keeps scores of tokens and no logits, which would not fit "
            f"into memory, got metrics {reading} that read logits; leave them out, or give metrics "
            "with `reads_scores = True`, such as tl.evaluation.Perplexity()"
        )
    names = ("variants", "words", "class_names")
    if given := [name for name in names if getattr(report, name)]:
        raise ArgumentError(
            f"the report of language models has no {', '.join(given)}, got some; leave that out"
        )


def check_against(arms: Mapping[str, Arm], controls: Sequence[str]) -> None:
    """Refuse an arm that is to be compared with what is no control."""
    for name, arm in arms.items():
        if arm.against is not None and arm.against not in controls:
            raise ArgumentError(
                f"arm {name!r} must be compared `against` one of the controls {list(controls)}, "
                f"got {arm.against!r}; name one of these, or leave it out"
            )


def check_names(class_names: Sequence[str], scorer: Scorer) -> None:
    """Refuse names of classes that are not as many as the teacher's logits."""
    output = scorer.teacher_test
    if not scorer.task.is_classified:
        return  # how many classes there are is not known
    if class_names and output is not None and len(class_names) != output.shape[-1]:
        raise ArgumentError(
            f"`class_names` must name the {output.shape[-1]} logits, got {len(class_names)}; give "
            "one for each, in their order"
        )


def check_groups(groups: Groups | None, test: Truth) -> None:
    """Refuse groups that are not one for each test example."""
    if groups is not None and len(groups) != test.examples:
        raise ArgumentError(
            f"`groups` must give the group of each of {test.examples} test examples, got "
            f"{len(groups)}; write one for each, in their order"
        )
    if groups is not None and len(set(listed(groups))) < 2:  # noqa: PLR2004 - one has no spread
        raise ArgumentError(
            "`groups` must tell at least two groups of test examples apart, got one; leave it out "
            "if examples are independent"
        )


def seeds_of(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds for what a user gives: how many, or which."""
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        chosen = tuple(integer("seeds", each, 0, "each is an integer from 0 on") for each in seeds)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ArgumentError(
                f"`seeds` must be different numbers, got {list(seeds)}; or say how many, such as 5"
            )
        return chosen
    return tuple(range(integer("seeds", seeds, 1, "5 is a good number")))


def folder_of(out: str | Path | None) -> Path:
    """Return the folder of the study, made if need be; without one, a temporary folder."""
    if out is None:
        return Path(mkdtemp(prefix="tutelage-study-"))
    folder = folder_path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"`out` must be a folder that can be written, got {error}; choose another"
        ) from error
    return folder
