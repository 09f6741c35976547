"""`compare_specialists`: whether a specialist for each domain beats one generalist."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.data import Transform
from tutelage.data.sets import Domains
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import Interval
from tutelage.objectives import Objective
from tutelage.signals import Batch
from tutelage.studies.arm import Arm, Trial
from tutelage.studies.conclude import ReportOptions
from tutelage.studies.describe import seeded
from tutelage.studies.examples import examples_of, train_examples
from tutelage.studies.kinds import on_labels, study_kind
from tutelage.studies.outputs import truth
from tutelage.studies.overlap import checked, compare
from tutelage.studies.plan import Training, train_of
from tutelage.studies.prepare import seeds_of
from tutelage.studies.routed import Routed, classes_of, every_second, numbered
from tutelage.studies.specialist_comparison import GENERALIST, SPECIALISTS, SpecialistComparison
from tutelage.studies.study import study
from tutelage.training import fit


def compare_specialists(  # noqa: PLR0913 - the options of `study`
    make_model: Callable[[], nn.Module],
    *,
    train: Domains | Callable[[int], Domains],
    val: Domains,
    epochs: int | None = None,
    training: Training | None = None,
    objective: Objective | None = None,
    transform: Transform | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    seeds: int | Sequence[int] = 5,
    allow_overlap: bool = False,
    out: str | Path | None = None,
    progress: bool = True,
) -> SpecialistComparison:
    """Measure whether one specialist per domain beats one generalist, before anything is distilled.

    For each seed, a specialist is trained on each domain's labelled examples, and one generalist,
    which begins with the same weights, on those of all domains. All specialists together take as
    many optimizer steps as the generalist, to half an epoch of each domain. Both are evaluated on
    `val`, each example by the specialist of its domain. Where the domains have different classes,
    specialist and generalist alike choose among those of the example's domain: which domain an
    example is from is known to either teacher. The last epoch is kept.

    Args:
        make_model: Makes a model of a specialist's size, with an output for every class of all
            domains (called under the trial's seed).
        train: Labelled examples, from `tl.data.domains`; or a function from a seed to such, for
            instance to sample which examples are labelled. Unlabelled ones are left out of the
            loss.
        val: Held-out labelled examples of the same domains.
        epochs: Passes of the generalist over `train`; None where `training` has steps.
        training: Steps in place of `epochs`, batch size, optimizer, scheduler, engine.
        objective: One without a teacher; None for `HardLabels()`, for values `LabelRegression()`,
            for several binary labels, given as integers, `BinaryLabels()`.
        transform: Of the training batches, such as `tl.data.Mixup()`.
        sweep: Values that both try, as in `study`. Every second example of a domain in `val` then
            chooses, and only the others measure.
        seeds: How many seeds (then 0, 1, …), or which; at least two.
        allow_overlap: As in `study`, for `train` and `val`.
        out: A folder to resume from; None to keep nothing.
        progress: Whether to show a progress bar (on a terminal only).

    Returns:
        The differences, the advice, and the trained models.

    Raises:
        ArgumentError: There are fewer than two seeds or domains, `train` or `val` has no domains,
            or an argument is outside its range.
        DataError: `train` and `val` have different domains, no labels, or examples in common.
        TutelageError: As `study`.
    """
    _check(train, val, seeds, allow_overlap)
    reads = objective or on_labels(study_kind({}, {}, truth("val", val)))
    settings: dict[str, Any] = {"val": val, "objective": reads}
    routable = numbered(val)
    common: dict[str, Any] = {"reads": reads, "transform": transform}
    chooses, measures = (every_second(routable, start) for start in (0, 1))
    found = study(
        None,
        make_model,
        train=train,
        val=chooses if sweep else None,
        test=measures if sweep else routable,
        arms={SPECIALISTS: Arm(run=partial(_one_per_domain, **settings), **common)},
        controls={GENERALIST: Arm(run=partial(_one_for_all, **settings), **common)},
        seeds=seeds,
        epochs=epochs,
        training=replace(training or Training(), keep_best=False),
        sweep=sweep,
        report=ReportOptions(title="Specialists against a generalist"),
        out=out,
        allow_overlap=allow_overlap,
        progress=progress,
    )
    record = found.results
    parts = {each.name: each.interval for each in record.parts if each.kind == "domain"}
    return SpecialistComparison(
        _known(record.comparisons[0].interval),
        {name: _known(parts.get(str(name))) for name in val.sets},
        found,
    )


def _known(interval: Interval | None) -> Interval:
    """Return an interval, of infinite width where there is none."""
    return interval or Interval(math.nan, -math.inf, math.inf)


def _one_per_domain(trial: Trial, val: Domains, objective: Objective) -> nn.Module:
    """Train a specialist for each domain, all together for as many steps as the generalist."""
    train = _own_domains(trial.train, val)
    size = trial.settings["batch_size"]
    total = trial.settings["epochs"] * _batches(len(train), size)
    members, common = [], {**trial.settings, "objective": objective}
    for number, name in enumerate(val.sets):
        own = train.sets[name]
        steps = total * len(own) / len(train)
        settings = common | {
            "epochs": max(1, round(steps / _batches(len(own), size))),
            "out": trial.out / str(number),
        }
        members.append(fit(deepcopy(trial.student), train=own, **settings).student)
    return Routed(members, classes_of(train, val))


def _one_for_all(trial: Trial, val: Domains, objective: Objective) -> nn.Module:
    """Train the generalist."""
    train = _own_domains(trial.train, val)
    settings = {**trial.settings, "objective": objective, "out": trial.out}
    model = fit(trial.student, train=train, **settings).student
    return Routed([model] * len(val.sets), classes_of(train, val))


def _batches(examples: int, size: int) -> int:
    return -(-examples // size)


def _own_domains(train: object, val: Domains) -> Domains:
    if not isinstance(train, Domains):
        raise ArgumentError(
            f"`train` must be tl.data.domains({{name: data set}}), got {type(train).__name__}; "
            "a function of the seed must return such"
        )
    if set(train.sets) != set(val.sets):
        raise DataError(
            f"`train` and `val` must have the same domains, got {list(train.sets)} and "
            f"{list(val.sets)}; name them alike in tl.data.domains"
        )
    return train


def _check(train: object, val: object, seeds: int | Sequence[int], allow_overlap: bool) -> None:
    if not isinstance(val, Domains) or len(val.sets) < 2:  # noqa: PLR2004 - or there is no choice
        raise ArgumentError(
            "`val` must be tl.data.domains({name: data set}) of two domains or more, got "
            f"{list(val.sets) if isinstance(val, Domains) else type(val).__name__}; give the "
            "held-out examples of each domain"
        )
    if seeded(train) is None:
        _own_domains(train, val)
    numbers = seeds_of(seeds)
    if len(numbers) < 2:  # noqa: PLR2004 - one has no spread
        raise ArgumentError(
            "`seeds` must be at least two, or there is no interval, got one; 5 is a good number"
        )
    for name, own in val.sets.items():
        labels = truth("val", own).labels
        if labels is None or not bool(Batch(labels, labels).labelled().all()):
            raise DataError(
                f"all examples of `val` must have labels, got some of the domain {name!r} without; "
                "leave these out"
            )
    for seed in numbers if seeded(train) else numbers[:1]:
        own = train_examples("train", _own_domains(train_of(train, seed), val))
        checked(compare(own, examples_of("val", val)), allow_overlap)
