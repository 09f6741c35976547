"""Hinton, Vinyals and Dean 2015, section 3, on MNIST: a large network distilled into a small one.

    TUTELAGE_DATA=... python benchmarks/hinton.py [published] [moved]

Published: large network 67 test errors; small network, labels only 146; small network, distilled at
T = 20 on unshifted images 74; with no 3 in the transfer set 206, of them 133 on threes, and after
bias correction 109, of them 14; with only 7s and 8s 47.3 %, after bias correction 13.2 %.
`published` runs these. `moved` is not in the paper: the small network is trained on images shifted
by up to two pixels, as the large one was, with the large one's predictions for the same shifted
images, or with labels.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset, TensorDataset

import tutelage as tl
from mnist import (
    COMMON,
    RUNS,
    adam,
    adamw,
    big_net,
    errors_table,
    images,
    jittered,
    small_net,
)
from remembered import Remembered, timed

SEEDS, TEMPERATURE, EPOCHS, LABEL_EPOCHS = 3, 20, 100, 20
NO_3, ONLY_7_AND_8 = "small, distilled, no 3", "small, distilled, only 7 and 8"


class Shifted(nn.Module):
    """A model with a bias added to its logits.

    Args:
        model: Any classifier.
        shift: The bias, `[classes]`.
    """

    def __init__(self, model: nn.Module, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("shift", shift)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits with the bias."""
        return self.model(inputs) + self.shift


def with_bias(model: nn.Module, classes: list[int], train: TensorDataset) -> nn.Module:
    """Fit one bias for the logits of `classes`, on training images and labels."""
    logits, labels = tl.evaluation.predict(model, train, batch_size=2000), train.tensors[1]
    mask = torch.zeros(logits.shape[1])
    mask[classes] = 1
    tried = torch.linspace(-15, 15, 121)
    losses = [nn.functional.cross_entropy(logits + each * mask, labels) for each in tried]
    best = tried[int(torch.stack(losses).argmin())]
    return Shifted(model, best * mask)


def without(digits: list[int], train: TensorDataset) -> Subset:
    """Return the training images of all other digits."""
    return Subset(train, _rows(train, digits, wanted=False))


def only(digits: list[int], train: TensorDataset) -> Subset:
    """Return the training images of these digits."""
    return Subset(train, _rows(train, digits, wanted=True))


def _rows(train: TensorDataset, digits: list[int], wanted: bool) -> list[int]:
    found = torch.isin(train.tensors[1], torch.tensor(digits))
    return (found if wanted else ~found).nonzero().flatten().tolist()


def common(seeds: int, epochs: int) -> dict[str, Any]:
    """Return the settings of both studies."""
    return {
        "test": images("test"),
        "seeds": seeds,
        "epochs": epochs,
        "training": tl.Training(optimizer=adamw(4e-3, 0.5), keep_best=False, **COMMON),
    }


def published(big: nn.Module, settings: dict[str, Any]) -> None:
    """Print the tables that were published."""
    train = images("train")
    soft = tl.SoftTargets(TEMPERATURE)
    study = tl.study(
        Remembered(big, train),
        small_net,
        train=train,
        arms={
            "small, distilled": soft,
            NO_3: tl.Arm(objective=soft, train=without([3], train)),
            ONLY_7_AND_8: tl.Arm(objective=soft, train=only([7, 8], train)),
        },
        controls={
            f"small, labels only ({LABEL_EPOCHS} epochs)": tl.Arm(
                objective=tl.HardLabels(), epochs=LABEL_EPOCHS, optimizer=adam(1e-3)
            ),
            "small, labels only (as long as the distilled)": tl.Arm(
                objective=tl.HardLabels(), optimizer=adam(1e-3)
            ),
        },
        report=tl.ReportOptions(title="MNIST: Hinton, Vinyals and Dean 2015"),
        out=RUNS / "hinton",
        **settings,
    )
    errors_table(study)
    found = "of these, on unseen digits | after bias correction | on unseen digits"
    print(f"\n| transfer set | ours | {found} |\n|---|---:|---:|---:|---:|")
    bias_row(study, NO_3, unseen=[3], biased=[3])
    bias_row(study, ONLY_7_AND_8, unseen=[0, 1, 2, 3, 4, 5, 6, 9], biased=[7, 8])


def moved(big: nn.Module, settings: dict[str, Any]) -> None:
    """Print the results on images with the teacher's augmentation."""
    study = tl.study(
        big,
        small_net,
        train=partial(jittered, images("train")),
        arms={"small, distilled, shifted images": tl.SoftTargets(TEMPERATURE)},
        controls={"small, labels only, shifted images": tl.Arm(optimizer=adam(1e-3))},
        report=tl.ReportOptions(title="MNIST: distilled on shifted images"),
        out=RUNS / "hinton-moved",
        **settings,
    )
    errors_table(study)


PARTS = {"published": published, "moved": moved}


def main() -> None:
    """Run the named parts, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    given = parser.parse_args()
    with timed("the teacher"):
        big = big_net()
    for name in given.parts or PARTS:
        with timed(name):
            PARTS[name](big, common(given.seeds, given.epochs))


def bias_row(study: tl.Study, name: str, unseen: list[int], biased: list[int]) -> None:
    """Print the errors before and after bias correction, as means over seeds."""
    train, test = images("train"), images("test")
    labels = test.tensors[1]
    affected = torch.isin(labels, torch.tensor(unseen))
    rows = []
    for seed in study.results.seeds:
        model = study.student(name, seed)
        wrong = []
        for each in (model, with_bias(model, biased, train)):
            missed = tl.evaluation.predict(each, test).argmax(dim=1) != labels
            wrong += [int(missed.sum()), int(missed[affected].sum())]
        rows.append(wrong)
    means = torch.tensor(rows).double().mean(dim=0)
    print(f"| {name} | " + " | ".join(f"{each:.0f}" for each in means.tolist()) + " |", flush=True)


if __name__ == "__main__":
    main()
