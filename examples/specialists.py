"""Three specialists, each of which knows one domain, teach one student all of them.

The domains are handwritten digits whose pixels stand in another order in each. There are few labels
and more inputs without: the specialists say what those are, and what lies between them. The control
is the same network, trained as long on the labels and on mixtures of them.

python examples/specialists.py
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import ConcatDataset, TensorDataset

import tutelage as tl
from tutelage.evaluation import accuracy

DOMAINS = ("photo", "sketch", "scan")
LABELLED, TRAINING = 100, 399  # of 599 digits in each domain; the others are for testing


def network(width: int) -> nn.Sequential:
    """Return a classifier of 8 × 8 pixels."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def digits() -> dict[str, TensorDataset]:
    """Return different digits for each domain, their pixels in its own order."""
    pixels, labels = load_digits(return_X_y=True)
    images, classes = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    parts = torch.randperm(len(images)).split(599)
    return {
        name: TensorDataset(images[rows][:, torch.randperm(64)], classes[rows])
        for name, rows in zip(DOMAINS, parts, strict=True)
    }


def main() -> dict[str, float]:
    """Train specialists, distil them, and return the accuracies of student and control."""
    torch.manual_seed(0)
    sets = digits()
    labelled = {name: TensorDataset(*own[:LABELLED]) for name, own in sets.items()}
    more = {name: tl.data.unlabelled(own[LABELLED:TRAINING][0]) for name, own in sets.items()}
    test = {name: own[TRAINING:] for name, own in sets.items()}
    settings = {
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "scheduler": torch.optim.lr_scheduler.CosineAnnealingLR,
        "transform": tl.data.Mixup(),
    }
    specialists = {name: network(256) for name in DOMAINS}
    for name, specialist in specialists.items():
        tl.fit(specialist, train=labelled[name], epochs=60, **settings)
    both = {name: ConcatDataset([labelled[name], more[name]]) for name in DOMAINS}
    soft = tl.SoftTargets(temperature=2)
    student = tl.distill(
        specialists, network(64), train=tl.data.domains(both), objective=soft, epochs=60, **settings
    )
    control = tl.fit(network(64), train=tl.data.domains(labelled), epochs=240, **settings)
    result = {}
    for who, run in {"student": student, "labels only": control}.items():
        found = {name: accuracy(run.student(x), y) for name, (x, y) in test.items()}
        print(who, *(f"{name} {value:.3f}" for name, value in found.items()))
        result[who] = sum(found.values()) / len(found)
    return result


if __name__ == "__main__":
    main()
