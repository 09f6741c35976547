"""Specialists, each of which knows one domain, teach one student that knows all of them.

    TUTELAGE_DATA=... python benchmarks/specialists.py [letters] [classes] [digits]

`letters`: letter recognition in three domains, 700 labels in each, nothing else. `classes`: three
specialists that each know a third of the letters. `digits`: MNIST, USPS and optdigits, from few and
from many labels. Nothing named does all. In every study each seed draws labelled rows of its own,
trains specialists of its own on them, and all arms of a seed share both; each arm chooses its
learning rate and length on validation rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import letters
import sources
import tutelage as tl
from mnist import RUNS, warm_cosine
from remembered import timed
from specialists_tables import show, show_models, show_teachers
from tutelage.studies import Trial
from tutelage.teachers import Ensemble, Specialist, Specialists, Teacher
from tutelage.teachers.averages import mean_of_probabilities

SEEDS = 5
MIXUP = letters.MIXUP
LENGTHS, LONG = [200, 600], 1200
"""Epochs to choose from, on letters; and as long as the taught student may take."""
ROUTED = "taught by routed specialists"
FINE_TUNED = "taught by routed specialists that began as one generalist"
UNROUTED = "taught by their average, unrouted"
MakeTeachers = Callable[[Trial], Teacher]


def taught(
    trial: Trial,
    teacher: MakeTeachers,
    objective: tl.Objective,
    transform: tl.data.Transform = MIXUP,
) -> nn.Module:
    """Train specialists, or find them trained, and let them teach the student."""
    run = tl.distill(
        teacher(trial), trial.student, train=trial.train, objective=objective,
        transform=transform, out=trial.out, **trial.settings,
    )  # fmt: skip
    return run.student


def direct(student: Callable[[], nn.Module], name: str, epochs: Sequence[int]) -> dict[str, tl.Arm]:
    """Return the ways without a teacher: plain, with label smoothing, with mixup.

    Without mixup a net has soon seen all there is, so those two choose among shorter trainings.
    """
    short = {"epochs": [each // 4 for each in epochs]}
    smooth = tl.HardLabels(0.1)
    return {
        f"{name}, labels": tl.Arm(student=student, sweep=short),
        f"{name}, smoothed labels": tl.Arm(student=student, objective=smooth, sweep=short),
        f"{name}, labels and mixup": tl.Arm(student=student, transform=MIXUP),
    }


def compare(name: str, options: dict[str, Any], arms: dict[str, tl.Arm]) -> tl.Study:
    """Carry out the arms over five seeds, each tuned on validation rows."""
    return tl.study(
        None,
        arms=arms,
        seeds=SEEDS,
        training=tl.Training(scheduler=warm_cosine, keep_best=False),
        primary=ROUTED,
        report=tl.ReportOptions(title=f"Specialists: {name}"),
        out=RUNS / f"specialists-{name}",
        **options,
    )


def letter_specialists(data: tl.data.Domains, seed: int) -> dict[str, Ensemble]:
    """Return a specialist for each domain of rotated letters."""
    return {
        name: letters.specialist(f"letters-{name}", own, seed) for name, own in data.sets.items()
    }


def routed_letters(trial: Trial) -> Teacher:
    """Return the specialists, each asked about its own domain."""
    return Specialists(letter_specialists(_domains(trial), trial.seed))


def averaged_letters(trial: Trial) -> Teacher:
    """Return the specialists, all asked about everything: the trap."""
    everyone = letter_specialists(_domains(trial), trial.seed)
    return Ensemble(list(everyone.values()), average=mean_of_probabilities)


def guided_letters(data: tl.data.Domains, seed: int) -> nn.Module:
    """Return the specialists and a net that guesses the domain."""
    alone = [
        letters.Average(letters.parts(f"letters-{name}", own, seed))
        for name, own in data.sets.items()
    ]
    return letters.Guided(letters.guide(data, seed), alone).eval()


def all_letters(trial: Trial) -> nn.Module:
    """Train what a specialist is made of on the labels of all domains, without a teacher."""
    columns = zip(*(each.tensors for each in _domains(trial).sets.values()), strict=True)
    every = TensorDataset(*(torch.cat(column) for column in columns))
    return letters.Average(letters.parts("letters-all", every, trial.seed))


def run_letters() -> None:
    """Compare direct training with specialists on three domains of rotated letters."""
    draw = partial(letters.labelled, each=700)
    soft = tl.SoftTargets(1)
    study = compare(
        "letters",
        {
            "student": letters.student,
            "train": draw,
            "val": letters.everywhere(letters.VAL),
            "test": letters.everywhere(letters.TEST),
            "controls": direct(letters.student, "student", LENGTHS)
            | direct(letters.wide, "twice as wide", LENGTHS)
            | {
                "student, labels, mixup and noise": tl.Arm(transform=letters.MIXUP_AND_NOISE),
                "student, labels, mixup and noise, as long as the taught": tl.Arm(
                    transform=letters.MIXUP_AND_NOISE, epochs=LONG, learning_rate=3e-3
                ),
                "nets and support vectors, as one specialist, on all labels": tl.Arm(
                    run=all_letters, epochs=300, learning_rate=2e-3
                ),
            },
            "epochs": LENGTHS[-1],
            "batch_size": 128,
            "optimizer": letters.optimizer,
            "engine": letters.ENGINE,
            "sweep": {"learning_rate": [1e-3, 3e-3], "epochs": LENGTHS},
        },
        {
            ROUTED: tl.Arm(
                run=partial(taught, teacher=routed_letters, objective=soft),
                optimizer=letters.taught_optimizer,
                sweep={"learning_rate": [3e-3], "epochs": [LENGTHS[-1], LONG]},
            ),
            UNROUTED: tl.Arm(
                run=partial(taught, teacher=averaged_letters, objective=soft),
                optimizer=letters.taught_optimizer,
                epochs=LENGTHS[0],
                learning_rate=3e-3,
            ),
        },
    )
    show(study)
    drawn = list(enumerate(map(draw, range(SEEDS))))
    everyone = [letter_specialists(data, seed) for seed, data in drawn]
    show_teachers("The specialists themselves", everyone, letters.everywhere(letters.TEST))
    guided = [guided_letters(data, seed) for seed, data in drawn]
    show_models(
        "Whoever knows all of them, but not the domain", guided, letters.everywhere(letters.TEST)
    )


def _domains(trial: Trial) -> tl.data.Domains:
    assert isinstance(trial.train, tl.data.Domains)
    return trial.train


class Restricted(tl.Objective):
    """KL over the teacher's classes alone, the student's softmax restricted to them (UHC).

    What classes outside get is not looked at, so nothing sets classes of different teachers into
    proportion; here for comparison.
    """

    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))

    def forward(self, student: tl.Signals, teacher: tl.Signals, batch: tl.Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        known = teacher.wanted_answer()
        assert isinstance(known, tl.CoarseLogits)
        absent = known.ids < 0
        ours = student.wanted_output().gather(1, known.ids.clamp(min=0))
        log_q = ours.masked_fill(absent, -1e4).log_softmax(dim=1)
        log_p = known.logits.masked_fill(absent, -1e4).log_softmax(dim=1)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


THIRDS = {"A to I": range(9), "J to R": range(9, 18), "S to Z": range(18, 26)}


def by_third(seed: int) -> tl.data.Domains:
    """Return 2,100 letters drawn by a seed, those of each third as a domain."""
    order = torch.randperm(letters.POOL.stop, generator=torch.Generator().manual_seed(seed))
    values, names = (each[order[:2100]] for each in letters.rows())
    return tl.data.domains(
        {
            third: TensorDataset(values[rows], names[rows])
            for third, ids in THIRDS.items()
            for rows in [(names >= ids.start) & (names < ids.stop)]
        }
    )


def disjoint_specialists(trial: Trial) -> Teacher:
    """Return a specialist for each third of the letters, which knows no others."""
    found: dict[str, Teacher] = {}
    for third, own in _domains(trial).sets.items():
        ids = THIRDS[third]
        counted = TensorDataset(own.tensors[0], own.tensors[1] - ids.start)
        model = letters.net_of_one(f"third-{ids.start}", counted, trial.seed, len(ids))
        found[third] = Specialist(model, labels=list(ids), other_class=False, classes=26)
    return Specialists(found)


def run_classes() -> None:
    """Compare ways of learning all letters from specialists that each know a third."""
    values, names = letters.rows()
    val, test = (TensorDataset(values[part], names[part]) for part in (letters.VAL, letters.TEST))
    make = disjoint_specialists
    study = compare(
        "classes",
        {
            "student": letters.student,
            "train": by_third,
            "val": val,
            "test": test,
            "controls": direct(letters.student, "student", LENGTHS[:1]),
            "epochs": LENGTHS[0],
            "batch_size": 128,
            "optimizer": letters.optimizer,
            "engine": letters.ENGINE,
            "sweep": {"learning_rate": [1e-3, 3e-3], "epochs": LENGTHS[:1]},
        },
        {
            ROUTED: tl.Arm(run=partial(taught, teacher=make, objective=tl.SoftTargets(1))),
            "softmax restricted to the teacher's classes": tl.Arm(
                run=partial(taught, teacher=make, objective=Restricted())
            ),
        },
    )
    show(study)


def digit_specialists(data: tl.data.Domains, seed: int, labels: int) -> dict[str, nn.Module]:
    """Return a specialist for each source of digits."""
    return {
        name: sources.specialist(f"digits-{labels}-{name}", own, seed, labels)
        for name, own in data.sets.items()
    }


def specialised_digits(data: tl.data.Domains, seed: int, labels: int) -> dict[str, nn.Module]:
    """Return a specialist for each source, which began as one network for all."""
    whole = sources.generalist(data, seed, labels)
    return {
        name: sources.specialised(f"digits-{labels}-all-{name}", whole, own, seed, labels)
        for name, own in data.sets.items()
    }


def fine_tuned_digits(trial: Trial, labels: int) -> Teacher:
    """Return those that began as a generalist, each asked about its own source."""
    return Specialists(specialised_digits(_domains(trial), trial.seed, labels))


def routed_digits(trial: Trial, labels: int) -> Teacher:
    """Return the specialists, each asked about its own source."""
    return Specialists(digit_specialists(_domains(trial), trial.seed, labels))


def averaged_digits(trial: Trial, labels: int) -> Teacher:
    """Return the specialists, all asked about everything."""
    everyone = digit_specialists(_domains(trial), trial.seed, labels)
    return Ensemble(list(everyone.values()), average=mean_of_probabilities)


def run_digits() -> None:
    """Compare direct training with specialists on digits of three sources."""
    soft = tl.SoftTargets(1)
    for labels, epochs in ((200, [60, 240]), (3000, [5, 20])):
        study = compare(
            f"digits-{labels}",
            {
                "student": sources.student,
                "train": partial(sources.labelled, each=labels),
                "val": sources.held_out("val"),
                "test": sources.held_out("test"),
                "controls": direct(sources.student, "student", epochs)
                | {
                    "twice as wide, labels and mixup": tl.Arm(student=sources.wide, transform=MIXUP)
                },
                "epochs": epochs[-1],
                "batch_size": 64,
                "optimizer": sources.optimizer,
                "engine": sources.ENGINE,
                "sweep": {"learning_rate": [1e-3, 3e-3], "epochs": epochs},
            },
            {
                name: tl.Arm(
                    run=partial(taught, teacher=partial(make, labels=labels), objective=soft)
                )
                for name, make in (
                    (ROUTED, routed_digits),
                    (FINE_TUNED, fine_tuned_digits),
                    (UNROUTED, averaged_digits),
                )
            },
        )
        show(study)
        draws = [sources.labelled(seed, labels) for seed in range(SEEDS)]
        show_digit_teachers(draws, labels)


def show_digit_teachers(draws: Sequence[tl.data.Domains], labels: int) -> None:
    """Print what the teachers of digits reach themselves."""
    test, of_seeds = sources.held_out("test"), list(enumerate(draws))
    alone = [digit_specialists(data, seed, labels) for seed, data in of_seeds]
    show_teachers("The specialists", alone, test)
    began = [specialised_digits(data, seed, labels) for seed, data in of_seeds]
    show_teachers("The specialists that began as a generalist", began, test)
    whole = [sources.generalist(data, seed, labels) for seed, data in of_seeds]
    show_teachers("The generalist", [dict.fromkeys(test.sets, each) for each in whole], test)


PARTS = {"letters": run_letters, "classes": run_classes, "digits": run_digits}


def main() -> None:
    """Run what is named."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    for name in parser.parse_args().parts or PARTS:
        with timed(name):
            PARTS[name]()


if __name__ == "__main__":
    main()
