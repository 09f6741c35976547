"""What keeps the small network of Hinton, Vinyals and Dean 2015 from 74 errors: three teachers.

    TUTELAGE_DATA=... python benchmarks/hinton_published.py [why] [table]

Published (https://arxiv.org/abs/1503.02531, section 3): a large network with dropout, limited
incoming weights and images shifted by up to two pixels, 67 test errors; a small one without
regularization, 146; the same on unshifted images with soft targets at T = 20 in addition, 74.

`why` compares students on 10,000 held-out training images; its teacher and students are trained on
the other 50,000. It prints how far a student's logits are from the teacher's, on the images it was
trained on and on others: what is lost on the former is a matter of optimization, the rest of
generalization. `table` trains three teachers on all 60,000 images, and students of each with the
settings that `why` chose, and counts errors on the test images.
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
    ENGINE,
    PIXELS,
    RUNS,
    adam,
    adamw,
    errors_table,
    held_out,
    images,
    jittered,
    sgd,
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


def teacher(seed: int, train: TensorDataset | None = None) -> nn.Module:
    """Return a large network, trained on shifted images.

    Args:
        seed: Of its weights, data order, shifts and dropout.
        train: The unshifted images; None for all 60,000.
    """
    torch.manual_seed(seed)
    model = large_net()
    tl.fit(
        model,
        train=jittered(images("train") if train is None else train, seed),
        epochs=EPOCHS,
        seed=seed,
        optimizer=adam(1e-3),
        scheduler=warm_cosine,
        engine=ENGINE,
        out=RUNS / f"hinton-published-teacher-{seed}{'' if train is None else '-held-out'}",
    )
    return model


def small_weights() -> nn.Sequential:
    """Return the small network with normal first weights of deviation 0.01, as Hinton et al."""
    model = small_net()
    for name, each in model.named_parameters():
        _ = nn.init.zeros_(each) if name.endswith("bias") else nn.init.normal_(each, std=0.01)
    return model


SOFT, LABELS = tl.SoftTargets(TEMPERATURE), tl.HardLabels()
TRIED: dict[str, tl.Arm] = {
    "soft targets: AdamW 4e-3, decay 0.5": tl.Arm(objective=SOFT, optimizer=adamw(4e-3, 0.5)),
    "the same, decay 0.1": tl.Arm(objective=SOFT, optimizer=adamw(4e-3, 0.1)),
    "the same, decay 0.1, with labels": tl.Arm(objective=SOFT + LABELS, optimizer=adamw(4e-3, 0.1)),
    "the same, decay 0.1, batches of 256, 150 epochs": tl.Arm(
        objective=SOFT, optimizer=adamw(3e-3, 0.1), batch_size=256, epochs=150
    ),
    "the same, small first weights": tl.Arm(
        objective=SOFT, optimizer=adamw(4e-3, 0.5), student=small_weights
    ),
    "soft targets and labels: AdamW 2e-3, no decay": tl.Arm(
        objective=SOFT + LABELS, optimizer=adamw(2e-3, 0)
    ),
    "soft targets and labels: SGD 0.05, small first weights": tl.Arm(
        objective=SOFT + LABELS, optimizer=sgd(0.05), student=small_weights
    ),
    "the same, soft targets without T²: SGD 0.2": tl.Arm(
        objective=TEMPERATURE**-2 * SOFT + LABELS, optimizer=sgd(0.2), student=small_weights
    ),
    "labels: Adam 1e-3": tl.Arm(objective=LABELS, optimizer=adamw(1e-3, 0)),
    "labels: AdamW 4e-3, decay 0.5": tl.Arm(objective=LABELS, optimizer=adamw(4e-3, 0.5)),
    "labels: AdamW 4e-3, decay 0.1": tl.Arm(objective=LABELS, optimizer=adamw(4e-3, 0.1)),
    "labels: SGD 0.2, small first weights": tl.Arm(
        objective=LABELS, optimizer=sgd(0.2), student=small_weights
    ),
}
"""What `why` compares: by default 30 epochs in batches of 512."""


def distance(student: nn.Module, large: nn.Module, data: TensorDataset) -> float:
    """Return the root mean square distance of centred logits, relative to the teacher's."""
    ours, theirs = (
        _centred(tl.evaluation.predict(each, data, batch_size=2000)) for each in (student, large)
    )
    return float((ours - theirs).norm() / theirs.norm())


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def why() -> None:
    """Print held-out errors of students of one teacher, and the distance of their logits."""
    train, rest = held_out(images("train"))
    large = teacher(0, train)
    study = tl.study(
        Remembered(large, train),
        small_net,
        train=train,
        test=rest,
        arms={name: arm for name, arm in TRIED.items() if "soft" in name or "same" in name},
        controls={name: arm for name, arm in TRIED.items() if name.startswith("labels")},
        seeds=1,
        epochs=30,
        training=_training(512),
        report=tl.ReportOptions(title="MNIST: what decides a small network's errors"),
        out=RUNS / "hinton-published-why",
    )
    errors_table(study)
    print("\n| student | distance of logits, training images | held-out |\n|---|---:|---:|")
    for arm in study.results.arms:
        model = study.student(arm.name)
        apart = [f"{distance(model, large, data):.3f}" for data in (train, rest)]
        print(f"| {arm.name} | {' | '.join(apart)} |", flush=True)


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
                run=partial(distilled, objective=SOFT + LABELS), optimizer=adamw(4e-3, 0.1)
            )
        },
        controls={"small, labels only": tl.Arm(objective=LABELS, optimizer=adamw(4e-3, 0.5))},
        seeds=seeds,
        epochs=STUDENT_EPOCHS,
        training=_training(256),
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


def _training(batch_size: int) -> tl.Training:
    return tl.Training(
        optimizer=adamw(4e-3, 0.1), scheduler=warm_cosine, engine=ENGINE, batch_size=batch_size,
        keep_best=False,
    )  # fmt: skip


def main() -> None:
    """Run the named parts, or both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=["why", "table", []], default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(SEEDS)))
    given = parser.parse_args()
    for name in given.parts or ("why", "table"):
        with timed(name):
            why() if name == "why" else show_table(given.seeds)


if __name__ == "__main__":
    main()
