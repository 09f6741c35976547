"""Three specialists distilled into one student, against models trained directly, all tuned alike.

    TUTELAGE_DATA=... python benchmarks/three_domains.py [--longer] [--more] [--processes N]

Letter recognition in three domains (see letters.py), 700 labelled rows in each and no other data.
Each seed samples its own rows and trains its own teachers on them. Every row of the table tries the
same number of settings on the validation rows of the first seed: one that earlier trials on other
samples favoured, and the same random ones for all rows (length, learning rate, weight decay,
augmentation, and smoothing or temperature). With --longer, where the longest training is chosen,
twice as long is tried, until a shorter one is chosen. With --more, students of one generalist and
of the specialists' average are trained too.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from random import Random
from typing import Any

import torch
from torch import nn
from torch.utils.data import TensorDataset

import letters
import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from specialists_tables import show, show_models, show_teachers
from tutelage.studies import Trial
from tutelage.teachers import Ensemble, Specialists, Teacher
from tutelage.teachers.averages import mean_of_probabilities

SEEDS = range(1000, 1005)
"""Samples of labelled rows that no earlier benchmark or trial has used."""
TRIALS, BATCH, LONGEST = 8, 256, 1200
TRANSFORMS = {
    "none": None,
    "mixup": letters.MIXUP,
    "mixup and noise": letters.MIXUP_AND_NOISE,
}


@dataclass(frozen=True)
class Setting:
    """What is tuned.

    Args:
        epochs: Passes over the labelled rows.
        rate: Learning rate.
        decay: Weight decay.
        transform: Name of the augmentation.
        soft: Whether labels are smoothed by 0.1, or targets softened at T = 2 rather than 1.
    """

    epochs: int
    rate: float
    decay: float
    transform: str
    soft: bool

    def training(self) -> dict[str, Any]:
        """Return it as arguments of `distill` and `fit`."""
        return {
            "epochs": self.epochs,
            "optimizer": adamw(self.rate, self.decay),
            "transform": TRANSFORMS[self.transform],
        }

    def __str__(self) -> str:
        """For tables."""
        return (
            f"{self.epochs} epochs, rate {self.rate:g}, decay {self.decay:g}, {self.transform}"
            f"{', soft' if self.soft else ''}"
        )

    __repr__ = __str__


WITH_LABELS = Setting(LONGEST, 4e-3, 0.3, "mixup and noise", soft=False)
WITH_TARGETS = Setting(LONGEST, 4e-3, 0.02, "mixup", soft=False)
"""What earlier trials, on other samples of rows, favoured."""


def drawn(first: Setting) -> list[Setting]:
    """Return the settings of a row: one, and random ones that are the same for all rows."""
    grid = product((150, 500, LONGEST), (1.5e-3, 4e-3), (0.02, 0.3), TRANSFORMS, (False, True))
    everything = [Setting(*each) for each in grid]
    others = [each for each in everything if each not in (WITH_LABELS, WITH_TARGETS)]
    return [first, *Random(1).sample(others, TRIALS - 1)]


def domains_of(trial: Trial) -> tl.data.Domains:
    """Return a trial's training data."""
    assert isinstance(trial.train, tl.data.Domains)
    return trial.train


def specialists(data: tl.data.Domains, seed: int) -> dict[str, Ensemble]:
    """Return a specialist for each domain."""
    return {
        name: letters.specialist(f"letters-{name}", own, seed) for name, own in data.sets.items()
    }


def together(data: tl.data.Domains) -> TensorDataset:
    """Return the rows of all domains as one data set."""
    columns = zip(*(each.tensors for each in data.sets.values()), strict=True)
    return TensorDataset(*(torch.cat(column) for column in columns))


def generalist(data: tl.data.Domains, seed: int) -> Ensemble:
    """Return such a model of all domains: the same size, and as many steps as all specialists."""
    return letters.specialist("letters-all", together(data), seed)


def routed(data: tl.data.Domains, seed: int) -> Teacher:
    """Return the specialists, each for its own domain."""
    return Specialists(specialists(data, seed))


def unrouted(data: tl.data.Domains, seed: int) -> Teacher:
    """Return the specialists' average, on every row."""
    return Ensemble(list(specialists(data, seed).values()), average=mean_of_probabilities)


def direct(trial: Trial) -> tl.Run:
    """Train the student on labels."""
    setting: Setting = trial.swept["setting"]
    objective = tl.HardLabels(smoothing=0.1 if setting.soft else 0.0)
    settings = dict(trial.settings) | setting.training()
    return tl.fit(trial.student, train=trial.train, objective=objective, out=trial.out, **settings)


def distilled(trial: Trial, teacher: Callable[[tl.data.Domains, int], Teacher]) -> tl.Run:
    """Distil a teacher into the student."""
    setting: Setting = trial.swept["setting"]
    objective = tl.SoftTargets(2 if setting.soft else 1)
    settings = dict(trial.settings) | setting.training()
    model = teacher(domains_of(trial), trial.seed)
    return tl.distill(
        model, trial.student, train=trial.train, objective=objective, out=trial.out, **settings
    )


def one_generalist(trial: Trial) -> nn.Module:
    """Return the generalist itself, as a module."""
    return letters.Average(letters.parts("letters-all", together(domains_of(trial)), trial.seed))


TAUGHT = "student, distilled from routed specialists"
CONTROLS: dict[str, tuple[Callable[..., Any], Callable[[], nn.Module]]] = {
    "student, labels": (direct, letters.student),
    "twice as wide, labels": (direct, letters.wide),
}
ARMS: dict[str, Callable[[tl.data.Domains, int], Teacher]] = {
    TAUGHT: routed,
    "student, distilled from one generalist": generalist,
    "student, distilled from the specialists' average, unrouted": unrouted,
}


def compare(
    settings: dict[str, list[Setting]], processes: int, seeds: Sequence[int] = SEEDS
) -> tl.Study:
    """Run the study, with these settings to try for each row."""
    controls = {
        name: tl.Arm(run=run, student=student, sweep={"setting": settings[name]})
        for name, (run, student) in CONTROLS.items()
    }
    return tl.study(
        None,
        letters.student,
        train=partial(letters.labelled, each=700),
        val=letters.everywhere(letters.VAL),
        test=letters.everywhere(letters.TEST),
        controls=controls
        | {"one generalist of the specialists' size, labels": tl.Arm(run=one_generalist)},
        arms={
            name: tl.Arm(run=partial(distilled, teacher=teacher), sweep={"setting": settings[name]})
            for name, teacher in ARMS.items()
            if name in settings
        },
        seeds=seeds,
        epochs=LONGEST,
        training=tl.Training(
            batch_size=BATCH,
            scheduler=warm_cosine,
            keep_best=False,
            engine=letters.ENGINE,
            processes=processes,
        ),
        primary=TAUGHT,
        groups=[*range(letters.TEST.stop - letters.TEST.start)] * len(letters.DOMAINS),
        report=tl.ReportOptions(title="Three domains, one student"),
        out=RUNS / "three-domains",
    )


def beyond(settings: Sequence[Setting], chosen: str) -> list[Setting]:
    """Return the settings to try, with twice the epochs where the longest training was chosen."""
    best = next(each for each in settings if chosen.endswith(str(each)))
    longest = max(each.epochs for each in settings)
    more = [replace(best, epochs=2 * longest)] if best.epochs == longest else []
    return [*settings, *more]


def tuned(settings: dict[str, list[Setting]], processes: int) -> dict[str, list[Setting]]:
    """Tune on the first seed alone, ever longer where the longest training is chosen."""
    while True:
        study = compare(settings, processes, SEEDS[:1])
        chosen = {arm.name: arm.settings.get("chosen", "") for arm in study.results.arms}
        longer = {name: beyond(each, chosen[name]) for name, each in settings.items()}
        if longer == settings:
            return settings
        settings = longer


def main() -> None:
    """Tune, train and print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--longer", action="store_true", help="longer training")
    parser.add_argument("--more", action="store_true", help="more students")
    parser.add_argument("--processes", type=int, default=1, help="how many train at a time")
    given = parser.parse_args()
    samples = [(seed, letters.labelled(seed, 700)) for seed in SEEDS]
    with timed("teachers"):
        everyone = [specialists(data, seed) for seed, data in samples]
        for seed, data in samples:
            generalist(data, seed)
    settings = {name: drawn(WITH_LABELS) for name in CONTROLS}
    settings |= {name: drawn(WITH_TARGETS) for name in (ARMS if given.more else [TAUGHT])}
    with timed("study"):
        settings = tuned(settings, given.processes) if given.longer else settings
        study = compare(settings, given.processes)
    show(study)
    test = letters.everywhere(letters.TEST)
    show_teachers("The specialists themselves", everyone, test)
    guided = [
        letters.Guided(
            letters.guide(data, seed),
            [
                letters.Average(letters.parts(f"letters-{name}", own, seed))
                for name, own in data.sets.items()
            ],
        ).eval()
        for seed, data in samples
    ]
    show_models("weighted by a network that predicts the domain", guided, test)


if __name__ == "__main__":
    main()
