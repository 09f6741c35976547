"""Models for one domain each as one model, and data that tells it the domain of each example."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from tutelage.data.sets import Domains, domains
from tutelage.nested import label_key, split_dict
from tutelage.signals import Batch
from tutelage.studies.outputs import truth
from tutelage.teachers import Specialists
from tutelage.wants import OUTPUT

_EXCLUDED = -1e4
"""The logit of a class that an example's domain does not have."""


class Routed(nn.Module):
    """Models for the examples of one domain each.

    Args:
        members: In the order of the domains' numbers.
        classes: `[domains, classes]`: which classes each domain has; None for all, or for values.
    """

    def __init__(self, members: Sequence[nn.Module], classes: Tensor | None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes

    def forward(self, inputs: Any, number: Tensor) -> Tensor:
        """Return each example's output from the model of its domain.

        Args:
            inputs: Of the models.
            number: Of each example's domain, `[batch]`.
        """
        routed = Specialists(dict(enumerate(self.members)))
        output = routed.signals(Batch(inputs, domain=number), OUTPUT).logits
        if self.classes is None or output.shape[1] == 1:  # a single logit has no classes to exclude
            return output
        present = nn.functional.pad(self.classes, (0, output.shape[1] - self.classes.shape[1]))
        return output.masked_fill(~present.to(output.device)[number], _EXCLUDED)


class _Numbered(Dataset[Any]):
    """The examples of a domain, with its number as a second input: `((inputs, number), labels)`."""

    def __init__(self, examples: Any, number: int) -> None:
        self.examples, self.number = examples, number

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> Any:
        example = self.examples[index]
        if isinstance(example, Mapping):
            inputs, _ = split_dict(example)
        else:
            inputs = example[0]
        return (inputs, torch.tensor(self.number)), example[label_key(example)]


def numbered(data: Domains) -> Domains:
    """Return the data with the domains' numbers as a second input, for `Routed`."""
    sets = enumerate(data.sets.items())
    return domains({name: _Numbered(own, number) for number, (name, own) in sets})


def every_second(data: Domains, start: int) -> Domains:
    """Return every second example of each domain, from `start` on."""
    return domains(
        {name: Subset(own, range(start, len(own), 2)) for name, own in data.sets.items()}
    )


def classes_of(train: Domains, val: Domains) -> Tensor | None:
    """Return which classes each domain of `val` has, in either of the two, `[domains, classes]`.

    None where all domains have the same, or where the labels are values.
    """
    found = [set[int]() for _ in val.sets]
    for data in (train, val):
        for number, name in enumerate(val.sets):
            labels = truth(name, data.sets[name]).labels
            if labels is None or labels.is_floating_point() or labels.ndim != 1:
                return None
            found[number] |= set(labels[labels >= 0].tolist())
    if all(each == found[0] for each in found):
        return None
    classes = range(1 + max(max(each) for each in found))
    return torch.tensor([[number in each for number in classes] for each in found])
