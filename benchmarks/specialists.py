"""Specialists for one domain each, distilled into one student for all domains.

    TUTELAGE_DATA=... python benchmarks/specialists.py [classes] [digits]

`classes`: three specialists that each know a third of the letters. `digits`: MNIST, USPS and
optdigits, from few and from many labels. Without a name both are run. In every study each seed
samples its own labelled rows and trains its own specialists on them; all arms of a seed use both.
Each arm chooses its learning rate and epochs on validation rows. Letters in three domains, every
row tuned alike: three_domains.py.
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
from specialists_tables import show, show_teachers
from tutelage.studies import Trial
from tutelage.teachers import Ensemble, Specialist, Specialists, Teacher
from tutelage.teachers.averages import mean_of_probabilities

SEEDS = 5
MIXUP = letters.MIXUP
EPOCHS = 200
"""Of the students on thirds of the letters."""
ROUTED = "student, distilled from routed specialists"
FINE_TUNED = f"{ROUTED} fine-tuned from one generalist"
UNROUTED = "student, distilled from the specialists' average, unrouted"
MakeTeachers = Callable[[Trial], Teacher]


def distilled(
    trial: Trial,
    teacher: MakeTeachers,
    objective: tl.Objective,
    transform: tl.data.Transform = MIXUP,
) -> nn.Module:
    """Train specialists, unless they are trained already, and distil them into the student."""
    run = tl.distill(
        teacher(trial), trial.student, train=trial.train, objective=objective,
        transform=transform, out=trial.out, **trial.settings,
    )  # fmt: skip
    return run.student


def direct(student: Callable[[], nn.Module], name: str, epochs: Sequence[int]) -> dict[str, tl.Arm]:
    """Return the controls: labels only, with label smoothing, with mixup.

    Without mixup a network overfits sooner, so the first two choose among fewer epochs.
    """
    short = {"epochs": [each // 4 for each in epochs]}
    smooth = tl.HardLabels(0.1)
    return {
        f"{name}, labels only": tl.Arm(student=student, sweep=short),
        f"{name}, smoothed labels": tl.Arm(student=student, objective=smooth, sweep=short),
        f"{name}, labels and mixup": tl.Arm(student=student, transform=MIXUP),
    }


def training(batch_size: int, optimizer: Any, engine: tl.Engine) -> tl.Training:
    """Return the settings of all arms."""
    common: dict[str, Any] = {"scheduler": warm_cosine, "keep_best": False}
    return tl.Training(batch_size=batch_size, optimizer=optimizer, engine=engine, **common)


def compare(name: str, options: dict[str, Any], arms: dict[str, tl.Arm]) -> tl.Study:
    """Run the arms over five seeds, each tuned on validation rows; the first is the primary one."""
    return tl.study(
        None,
        arms=arms,
        seeds=SEEDS,
        primary=next(iter(arms)),
        report=tl.ReportOptions(title=f"Specialists: {name}"),
        out=RUNS / f"specialists-{name}",
        **options,
    )


def _domains(trial: Trial) -> tl.data.Domains:
    assert isinstance(trial.train, tl.data.Domains)
    return trial.train


class Restricted(tl.Objective):
    """KL over the teacher's classes, with the student's softmax restricted to them (UHC).

    Other classes get no gradient, so nothing determines how the logits of different teachers'
    classes compare. For comparison only.
    """

    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))

    def forward(self, student: tl.Signals, teacher: tl.Signals, batch: tl.Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        known = teacher.targets
        assert isinstance(known, tl.CoarseLogits)
        absent = known.ids < 0
        ours = student.logits.gather(1, known.ids.clamp(min=0))
        log_q = ours.masked_fill(absent, -1e4).log_softmax(dim=1)
        log_p = known.logits.masked_fill(absent, -1e4).log_softmax(dim=1)
        return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=1)


THIRDS = {"A to I": range(9), "J to R": range(9, 18), "S to Z": range(18, 26)}


def by_third(seed: int) -> tl.data.Domains:
    """Sample 2,100 letters by a seed, with those of each third as a domain."""
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
    """Return a specialist for each third of the letters, which has outputs for no others."""
    found: dict[str, Teacher] = {}
    for third, own in _domains(trial).sets.items():
        ids = THIRDS[third]
        renumbered = TensorDataset(own.tensors[0], own.tensors[1] - ids.start)
        model = letters.net_of_one(f"third-{ids.start}", renumbered, trial.seed, len(ids))
        found[third] = Specialist(model, labels=list(ids), other_class=False, classes=26)
    return Specialists(found)


def run_classes() -> None:
    """Compare methods to distil specialists that each know a third of the letters."""
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
            "controls": direct(letters.student, "student", [EPOCHS]),
            "epochs": EPOCHS,
            "training": training(128, letters.optimizer, letters.ENGINE),
            "sweep": {"learning_rate": [1e-3, 3e-3], "epochs": [EPOCHS]},
        },
        {
            "student, distilled: coarsened divergence": tl.Arm(
                run=partial(distilled, teacher=make, objective=tl.SoftTargets(1))
            ),
            "student, distilled: softmax restricted to the teacher's classes": tl.Arm(
                run=partial(distilled, teacher=make, objective=Restricted())
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
    """Return a specialist for each source, fine-tuned from one network for all."""
    whole = sources.generalist(data, seed, labels)
    return {
        name: sources.specialised(f"digits-{labels}-all-{name}", whole, own, seed, labels)
        for name, own in data.sets.items()
    }


def fine_tuned_digits(trial: Trial, labels: int) -> Teacher:
    """Return the specialists fine-tuned from a generalist, routed by source."""
    return Specialists(specialised_digits(_domains(trial), trial.seed, labels))


def routed_digits(trial: Trial, labels: int) -> Teacher:
    """Return the specialists, routed by source."""
    return Specialists(digit_specialists(_domains(trial), trial.seed, labels))


def averaged_digits(trial: Trial, labels: int) -> Teacher:
    """Return the specialists' average on every image."""
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
                "training": training(64, sources.optimizer, sources.ENGINE),
                "sweep": {"learning_rate": [1e-3, 3e-3], "epochs": epochs},
            },
            {
                name: tl.Arm(
                    run=partial(distilled, teacher=partial(make, labels=labels), objective=soft)
                )
                for name, make in (
                    (ROUTED, routed_digits),
                    (FINE_TUNED, fine_tuned_digits),
                    (UNROUTED, averaged_digits),
                )
            },
        )
        show(study)
        samples = [sources.labelled(seed, labels) for seed in range(SEEDS)]
        show_digit_teachers(samples, labels)


def show_digit_teachers(samples: Sequence[tl.data.Domains], labels: int) -> None:
    """Print the accuracy of the teachers of digits."""
    test, of_seeds = sources.held_out("test"), list(enumerate(samples))
    own = [digit_specialists(data, seed, labels) for seed, data in of_seeds]
    show_teachers("The specialists themselves", own, test)
    tuned = [specialised_digits(data, seed, labels) for seed, data in of_seeds]
    show_teachers("Those fine-tuned from one generalist", tuned, test)
    whole = [sources.generalist(data, seed, labels) for seed, data in of_seeds]
    show_teachers("The generalist", [dict.fromkeys(test.sets, each) for each in whole], test)


PARTS = {"classes": run_classes, "digits": run_digits}


def main() -> None:
    """Run the named parts, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    for name in parser.parse_args().parts or PARTS:
        with timed(name):
            PARTS[name]()


if __name__ == "__main__":
    main()
