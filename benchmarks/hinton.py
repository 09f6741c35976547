"""Hinton, Vinyals and Dean 2015, section 3, on MNIST: the small net taught by the big one.

    TUTELAGE_DATA=... python benchmarks/hinton.py [published] [moved]

Published: big net 67 test errors; small net from labels 146; small net taught at T = 20 on plain
images 74; with no 3 in the transfer set 206, of them 133 on threes, and after one bias was learnt
109, of them 14; with only 7s and 8s 47.3 % wrong, after the biases 13.2 %. `published` runs these.
`moved` is no row of theirs: the small net sees the images moved by up to two pixels, as the big one
did when it was trained, with the big net's answers to these very images, or with labels.
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


class Shifted(nn.Module):
    """A model whose logits of some classes are moved by one number each.

    Args:
        model: Any classifier.
        shift: What is added to its logits, `[classes]`.
    """

    def __init__(self, model: nn.Module, shift: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("shift", shift)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, moved."""
        return self.model(inputs) + self.shift


def with_bias(model: nn.Module, classes: list[int], train: TensorDataset) -> nn.Module:
    """Learn one number that is added to the logits of `classes`, on training images and labels."""
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
    """Return what both studies share."""
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
            f"taught at T = {TEMPERATURE}": soft,
            "taught, no 3 seen": tl.Arm(objective=soft, train=without([3], train)),
            "taught, 7 and 8 seen": tl.Arm(objective=soft, train=only([7, 8], train)),
        },
        controls={
            "labels": tl.Arm(objective=tl.HardLabels(), epochs=LABEL_EPOCHS, optimizer=adam(1e-3)),
            "labels, as long": tl.Arm(objective=tl.HardLabels(), optimizer=adam(1e-3)),
        },
        report=tl.ReportOptions(title="MNIST: Hinton, Vinyals and Dean 2015"),
        out=RUNS / "hinton",
        **settings,
    )
    errors_table(study)
    print("\n| transfer set | errors | on the digits left out | after the bias | on those digits |")
    print("|---|---:|---:|---:|---:|")
    bias_row(study, "taught, no 3 seen", shown=[3], biased=[3])
    bias_row(study, "taught, 7 and 8 seen", shown=[0, 1, 2, 3, 4, 5, 6, 9], biased=[7, 8])


def moved(big: nn.Module, settings: dict[str, Any]) -> None:
    """Print what the teacher's own augmentation brings."""
    study = tl.study(
        big,
        small_net,
        train=partial(jittered, images("train")),
        arms={f"taught at T = {TEMPERATURE}, moved images": tl.SoftTargets(TEMPERATURE)},
        controls={"labels, moved images": tl.Arm(optimizer=adam(1e-3))},
        report=tl.ReportOptions(title="MNIST: taught on moved images"),
        out=RUNS / "hinton-moved",
        **settings,
    )
    errors_table(study)


PARTS = {"published": published, "moved": moved}


def main() -> None:
    """Run what is named, or all."""
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


def bias_row(study: tl.Study, name: str, shown: list[int], biased: list[int]) -> None:
    """Print the errors before and after the bias, in all and on some digits; means over seeds."""
    train, test = images("train"), images("test")
    labels = test.tensors[1]
    asked = torch.isin(labels, torch.tensor(shown))
    rows = []
    for seed in study.results.seeds:
        model = study.student(name, seed)
        wrong = []
        for each in (model, with_bias(model, biased, train)):
            missed = tl.evaluation.predict(each, test).argmax(dim=1) != labels
            wrong += [int(missed.sum()), int(missed[asked].sum())]
        rows.append(wrong)
    means = torch.tensor(rows).double().mean(dim=0)
    print(f"| {name} | " + " | ".join(f"{each:.0f}" for each in means.tolist()) + " |", flush=True)


if __name__ == "__main__":
    main()
