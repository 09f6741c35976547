"""A study by several processes; each trial of one arm leaves its process's number.

`python study_processes.py OUT MARKS PROCESSES [FAULT]`. As in many scripts and notebooks, functions
and classes are the script's own and nothing stands below `if __name__ == "__main__"`.
"""

import os
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.studies import conclude

OUT, MARKS, PROCESSES, FAULT = (*sys.argv[1:], "")[:4]
torch.set_num_threads(int(PROCESSES))  # one for each
conclude._SECONDS, conclude._ROUNDS = 0.002, 2  # times are not what is looked at
torch.manual_seed(0)
inputs = torch.randn(600, 8)
labels = inputs[:, :3].argmax(dim=1)


class Student(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 3)

    def forward(self, inputs):
        return self.linear(inputs)


def marked(trial):
    with Path(MARKS).open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    while len(set(Path(MARKS).read_text(encoding="utf-8").split())) < int(PROCESSES):
        time.sleep(0.02)
    if FAULT == "die" and sys.argv[0] == "-c":  # not the first process
        os._exit(3)
    if FAULT == "hang":
        time.sleep(600)
    data = {"train": trial.train, "objective": tl.SoftTargets(2), "out": trial.out}
    return tl.distill(trial.teacher, trial.student, **data, **trial.settings).student


study = tl.study(
    Student(),
    lambda: Student(),  # noqa: PLW0108 - a lambda is tried
    train=TensorDataset(inputs[:400], labels[:400]),
    val=TensorDataset(inputs[400:500], labels[400:500]),
    test=TensorDataset(inputs[500:], labels[500:]),
    arms={"marked": marked, "soft": tl.SoftTargets(2)},
    controls={"labels": tl.Arm(sweep={"learning_rate": [1e-3, 1e-2]})},
    seeds=2,
    epochs=2,
    training=tl.Training(engine=tl.Engine(device="cpu", progress=False), processes=int(PROCESSES)),
    out=OUT,
    progress=False,
)
