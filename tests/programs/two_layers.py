"""Layers learnt by one process or by several, for comparison; `two_layers.py WEIGHTS`.

In the first stage nobody wants the student's output, so that what lies behind its hidden layer does
not run; in the second only that learns.
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from torch import nn
from two_processes import training_data

import tutelage as tl


def main(weights):
    torch.manual_seed(7)
    teacher = nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 5))
    student = nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Linear(7, 5))
    first = {name: each.clone() for name, each in student.state_dict().items()}
    hint = tl.FeatureMatch({"1": "1"})
    common = {
        "train": training_data("tensors"),
        "val": training_data("norms"),
        "batch_size": 16,
        "seed": 3,
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "engine": tl.Engine(device="cpu", accumulation=2, clip_norm=1.0, progress=False),
    }
    alone = tl.distill(teacher, student, objective=hint, epochs=3, **common)
    after = {name: each.clone() for name, each in student.state_dict().items()}
    staged = [tl.Stage(hint, 1), tl.Stage(tl.SoftTargets(2), 2, trainable=["2"])]
    run = tl.distill(teacher, student, stages=staged, **common)
    if os.environ.get("RANK", "0") == "0":
        content = {
            "first": first,
            "hint": after,
            "staged": run.student.state_dict(),
            "projector": alone.objective.state_dict(),
            "history": alone.history + run.history,
        }
        torch.save(content, weights)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
