"""The MNIST experiment of Hinton, Vinyals and Dean 2015 with three teachers.

    TUTELAGE_DATA=... python benchmarks/hinton_published.py [--seeds N ...]

Published (https://arxiv.org/abs/1503.02531, section 3): a large network with dropout, limited
incoming weights and images shifted by up to two pixels, 67 test errors; a small one without
regularization, 146; the same on unshifted images with soft targets at T = 20 in addition, 74.

Each seed has its own teacher, a distilled student of it, and a student trained on labels. The
settings of both were chosen on held-out training images (`hinton_tuning.py`, names with "why").
"""

from __future__ import annotations

import argparse
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import (
    CLASSES,
    COMMON,
    ENGINE,
    PIXELS,
    RUNS,
    adam,
    adamw,
    errors_table,
    images,
    jittered,
    small_net,
    warm_cosine,
)
from remembered import Remembered, timed
from tutelage.studies import Trial

WIDTH, EPOCHS = 1200, 60
SEEDS, STUDENT_EPOCHS, TEMPERATURE = 3, 60, 20


class HalfDropout(nn.Module):
    """Dropout with p = 1/2 on bfloat16 values.

    One random bit per value, in place of PyTorch's random number per value, takes a fifth of the
    time on a CPU.
    """

    def forward(self, values: Tensor) -> Tensor:
        """Return the values times 0 or 2 in training, else as they are."""
        if not self.training:
            return values
        words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        two = words.view(torch.int16)[: values.numel()] & 0x4000  # as bfloat16 this bit is 2.0
        return values * two.view(torch.bfloat16).view_as(values)


def large_net() -> nn.Sequential:
    """Return the large network, 784-1200-1200-10 with dropout."""
    return nn.Sequential(
        nn.Linear(PIXELS, WIDTH), nn.ReLU(), HalfDropout(),
        nn.Linear(WIDTH, WIDTH), nn.ReLU(), HalfDropout(),
        nn.Linear(WIDTH, CLASSES),
    )  # fmt: skip


def teacher(seed: int) -> nn.Module:
    """Return a large network, trained on shifted images; the seed decides all that is random."""
    torch.manual_seed(seed)
    model = large_net()
    tl.fit(
        model,
        train=jittered(images("train"), seed),
        epochs=EPOCHS,
        seed=seed,
        optimizer=adam(1e-3),
        scheduler=warm_cosine,
        engine=ENGINE,
        out=RUNS / f"hinton-published-teacher-{seed}",
    )
    return model


SOFT, LABELS = tl.SoftTargets(TEMPERATURE), tl.HardLabels()


def distilled(trial: Trial, objective: tl.Objective) -> tl.Run:
    """Distil the teacher of a trial's seed."""
    assert isinstance(trial.train, TensorDataset)
    large = Remembered(teacher(trial.seed), trial.train)
    return tl.distill(
        large, trial.student, train=trial.train, objective=objective, out=trial.out,
        **trial.settings,
    )  # fmt: skip


def table(seeds: list[int]) -> tl.Study:
    """Compare distilled networks with ones trained on labels; each seed has its own teacher."""
    return tl.study(
        None,
        small_net,
        train=images("train"),
        test=images("test"),
        arms={
            "small, distilled": tl.Arm(
                run=partial(distilled, objective=SOFT + 4 * LABELS),
                optimizer=adamw(8e-3, 0.1),
                batch_size=512,
                epochs=STUDENT_EPOCHS,
            )
        },
        controls={"small, labels only": tl.Arm(objective=LABELS)},
        seeds=seeds,
        epochs=STUDENT_EPOCHS,
        training=tl.Training(optimizer=adamw(4e-3, 0.5), keep_best=False, **COMMON),
        report=tl.ReportOptions(title="MNIST: three teachers"),
        out=RUNS / "hinton-published-table",
    )


def show_table(seeds: list[int]) -> None:
    """Print the test errors of teachers and students."""
    test = images("test")
    wrong = [
        int((tl.evaluation.predict(teacher(seed), test).argmax(dim=1) != test.tensors[1]).sum())
        for seed in seeds
    ]
    print(f"\nlarge networks, test errors: {', '.join(map(str, wrong))}")
    errors_table(table(seeds))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    given = parser.parse_args()
    with timed("teachers and students"):
        show_table(given.seeds)


if __name__ == "__main__":
    main()
