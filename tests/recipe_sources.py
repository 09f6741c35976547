"""A small job for the tests of recipes: a module with models and data, and a recipe."""

SOURCE = """
import torch
import tutelage as tl
from torch import nn
from torch.utils.data import TensorDataset


def net(width=16):
    layers = [nn.Linear(4, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width, 3))


def blocks():
    return nn.Sequential(*[nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(4)])


def small():
    return net(4)


kept = net(4)


def examples(seed, number):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 4, generator=generator)
    return TensorDataset(inputs, inputs[:, :3].argmax(1))


def train():
    return examples(0, 48)


def val():
    return examples(1, 24)


def test():
    return examples(2, 24)


def data():
    return {"train": train(), "val": val(), "test": test()}


def nothing():
    pass


class Squares(tl.Objective):
    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = scale

    def forward(self, student, teacher, batch):
        return self.scale * (student.logits - teacher.logits).square().mean(1)


def doubled(batch):
    from dataclasses import replace
    return replace(batch, inputs=2 * batch.inputs)


def hits(output, labels):
    return (output.argmax(1) == labels).float().mean().item()
"""

RECIPE = """
teacher: job.py:net
student: job.py:small
data: job.py:data
objective:
  HardLabels: {weight: 0.1}
  SoftTargets: {temperature: 4, weight: 0.9}
training:
  epochs: 2
  batch_size: 16
  optimizer: {AdamW: {lr: 5e-3}}
out: runs/job
"""
