"""Settings for the student on letters, distilled and not, compared on the 3,000 validation rows.

    TUTELAGE_DATA=... python benchmarks/letters_tuning.py [--seeds N] [NAME ...]

The labelled rows are other samples than those of specialists.py. The test rows are not used.
"""

from __future__ import annotations

import argparse
from functools import partial
from itertools import product
from statistics import fmean

import letters
import tutelage as tl
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from specialists import distilled, routed_letters

FIRST_SEED, EPOCHS, RATE = 100, 600, 3e-3
TRANSFORMS = {
    "mixup": letters.MIXUP,
    "mixup, noise 0.1": letters.MIXUP_AND_NOISE,
    "mixup, noise 0.3": tl.data.Chain([letters.MIXUP, tl.data.Noise(0.3)]),
    "mixup alpha 0.5": tl.data.Mixup(0.5),
    "mixup alpha 2": tl.data.Mixup(2.0),
}


def arms() -> dict[str, tl.Arm]:
    """Return all arms by name."""
    found: dict[str, tl.Arm] = {}
    for decay, (what, transform) in product((0.3, 0.1, 0.02), TRANSFORMS.items()):
        optimizer = adamw(RATE, decay)
        found[f"labels, {what}, decay {decay}"] = tl.Arm(
            objective=tl.HardLabels(), transform=transform, optimizer=optimizer
        )
        for temperature in (1, 2):
            objective = tl.SoftTargets(temperature)
            found[f"distilled, T = {temperature}, {what}, decay {decay}"] = tl.Arm(
                run=partial(
                    distilled, teacher=routed_letters, objective=objective, transform=transform
                ),
                optimizer=optimizer,
            )
    return found


def main() -> None:
    """Train the named arms, or all, and print their accuracy on validation rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", metavar="NAME", help="arms; none for all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given, every = parser.parse_args(), arms()
    for name in given.names or every:
        with timed(name):
            study = tl.study(
                None,
                letters.student,
                train=partial(letters.labelled, each=700),
                test=letters.everywhere(letters.VAL),
                arms={name: every[name]},
                controls={},
                seeds=range(FIRST_SEED, FIRST_SEED + given.seeds),
                epochs=given.epochs,
                training=tl.Training(
                    batch_size=128, scheduler=warm_cosine, keep_best=False, engine=letters.ENGINE
                ),
                report=tl.ReportOptions(title=f"Letters: {name}"),
                out=RUNS / f"letters-tuning-{given.epochs}-{given.seeds}" / name,
            )
        values = study.results.arms[0].values("accuracy")
        print(f"{100 * fmean(values):.2f} % of {values}", flush=True)


if __name__ == "__main__":
    main()
