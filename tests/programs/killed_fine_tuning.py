"""Fine-tuning to be killed. Arguments: the run's folder, the checkpoint to die before (0: none)."""

import os
import signal
import sys
from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.training import checkpointer


def die_before(number):
    """Kill this process before it writes its n-th checkpoint."""
    count = 0

    def save_or_die(path, content, save=checkpointer.save):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        save(path, content)

    checkpointer.save = save_or_die


def main(out, number):
    die_before(number)
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.1)) for _ in range(3)]
    model = nn.Sequential(nn.Linear(6, 8), nn.Sequential(*blocks), nn.Linear(8, 3))
    tl.fine_tune(
        model,
        train=TensorDataset(torch.randn(40, 6), torch.arange(40) % 3),
        epochs=4,
        batch_size=10,
        frozen=["1.0"],
        layer_decay=0.7,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        transform=tl.data.Mixup(),
        out=out,
        engine=tl.Engine(checkpoint_seconds=0),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
