"""Label so many examples and read many at random: how far anonymous memory grows, in KiB."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

import tutelage as tl
from tutelage.training import label  # once for all the children that a test forks


class Made(Dataset):
    """Examples that take no memory."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, place):
        return torch.full((2,), float(place % 97))


def anonymous():
    """Memory that is no mapped file, in KiB: pages of the store may be dropped at any time."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("RssAnon")))


def main(out, length):
    torch.set_num_threads(1)
    engine = tl.Engine(device="cpu", progress=False)
    teacher = nn.Linear(2, 50)
    label(teacher, Made(3000), out=out / "first", engine=engine)  # what is taken once for all
    before = anonymous()
    store = label(teacher, Made(length), out=out / "second", engine=engine)
    for rows in torch.randperm(length)[:20_000].split(200):
        store.read("output", rows)
    return anonymous() - before
