"""How the taught student's settings on letters were chosen: on the 3,000 validation rows.

    TUTELAGE_DATA=... python benchmarks/letters_tuning.py [--seeds N] [NAME ...]

The labelled rows are other draws than those of specialists.py; the test rows are not read. Direct
rows are here too, so that nobody is tuned alone.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from statistics import fmean

from torch import nn

import letters
import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from specialists import routed_letters
from tutelage.studies import Trial

FIRST_SEED, EPOCHS, RATE = 100, 1000, 3e-3
MIXUP = tl.data.Mixup()
TRANSFORMS = {
    "mixup": MIXUP,
    "mixup, noise 0.1": tl.data.Chain([MIXUP, tl.data.Noise(0.1)]),
    "mixup, noise 0.3": tl.data.Chain([MIXUP, tl.data.Noise(0.3)]),
    "mixup alpha 0.5": tl.data.Mixup(0.5),
    "mixup alpha 2": tl.data.Mixup(2.0),
}


def taught(trial: Trial, transform: tl.data.Transform, temperature: float) -> nn.Module:
    """Train specialists, or find them trained, and let them teach the student."""
    run = tl.distill(
        routed_letters(trial), trial.student, train=trial.train, transform=transform,
        objective=tl.SoftTargets(temperature), out=trial.out, **trial.settings,
    )  # fmt: skip
    return run.student


ARMS: dict[str, tl.Arm] = {}
for decay in (0.3, 0.1, 0.02):
    optimizer = adamw(RATE, decay)
    ARMS[f"labels and mixup, decay {decay}"] = tl.Arm(
        objective=tl.HardLabels(), transform=MIXUP, optimizer=optimizer
    )
    for what, transform in TRANSFORMS.items():
        for temperature in (1, 2):
            ARMS[f"taught, T = {temperature}, {what}, decay {decay}"] = tl.Arm(
                run=partial(taught, transform=transform, temperature=temperature),
                optimizer=optimizer,
            )
ARMS |= {f"{name}, batch 512": replace(arm, batch_size=512) for name, arm in ARMS.items()}


def main() -> None:
    """Train every arm, or those that are named, and print their accuracy on validation rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    for name in given.names or ARMS:
        with timed(name):
            study = tl.study(
                None,
                letters.student,
                train=partial(letters.labelled, each=700),
                test=letters.everywhere(letters.VAL),
                arms={name: ARMS[name]},
                controls={},
                seeds=range(FIRST_SEED, FIRST_SEED + given.seeds),
                epochs=given.epochs,
                batch_size=128,
                scheduler=warm_cosine,
                keep_best=False,
                engine=letters.ENGINE,
                title=f"Letters: {name}",
                out=RUNS / f"letters-tuning-{given.epochs}-{given.seeds}" / name,
            )
        values = study.results.arms[0].values("accuracy")
        print(f"{100 * fmean(values):.2f} % of {values}", flush=True)


if __name__ == "__main__":
    main()
