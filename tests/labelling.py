"""What tests of `tutelage.label` share: teachers, data, and the content of a folder."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.signals import CoarseLogits


class Rows(nn.Module):
    """A teacher whose answer to a row does not depend on the batch: sums, row by row."""

    def __init__(self, width=6, classes=5):
        super().__init__()
        self.hidden = nn.Identity()
        self.weight = nn.Parameter(torch.randn(classes, width))
        self.asked = 0

    def forward(self, inputs):
        self.asked += len(inputs)
        hidden = self.hidden(torch.tanh(inputs))
        return 3 * torch.stack([(hidden * row).sum(1) for row in self.weight], dim=1)


def data(examples=300, labelled=True):
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(examples, 6, generator=generator)
    labels = torch.randint(0, 5, (examples,), generator=generator)
    return TensorDataset(inputs, labels) if labelled else TensorDataset(inputs)


def quiet(**settings):
    return tl.Engine(device="cpu", progress=False, **settings)


def label(teacher, dataset, out, **options):
    return tl.label(teacher, dataset, out=out, engine=quiet(), **options)


def content(folder):
    names = (path for path in sorted(folder.iterdir()) if path.name != ".lock")
    return {path.name: path.read_bytes() for path in names}


class Coarse(tl.teachers.Teacher):
    """A teacher that knows some classes of each example, more of some."""

    def signals(self, batch, fields):
        width = 2 if bool(batch.index[0] < 64) else 4
        ids = torch.arange(width).repeat(len(batch), 1) + 1
        ids[::2, -1] = -1
        logits = (torch.sin(batch.inputs[:, :width]) * 5).masked_fill(ids < 0, -torch.inf)
        return tl.Signals(CoarseLogits(ids, logits, batch.inputs[:, 5]))

    def fingerprint(self):
        return "coarse"
