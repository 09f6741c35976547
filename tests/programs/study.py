"""A study of four trials whose trainings leave a line each; `python study.py OUT MARKS`.

Each waits for as long as the environment's PAUSE says, which is no part of their identity.
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


def main(out, marks):
    torch.set_num_threads(1)
    conclude._SECONDS, conclude._ROUNDS = 0.002, 2  # figures of time are not what is looked at
    torch.manual_seed(0)
    inputs = torch.randn(600, 8)
    labels = inputs[:, :3].argmax(dim=1)
    teacher = nn.Linear(8, 3)
    with torch.no_grad():
        teacher.weight.copy_(3 * torch.eye(3, 8))
    parts = (slice(0, 400), slice(400, 500), slice(500, 600))
    train, val, test = (TensorDataset(inputs[part], labels[part]) for part in parts)

    def taught(trial):
        with Path(marks).open("a", encoding="utf-8") as file:
            file.write(f"{trial.seed} {os.getpid()}\n")
        time.sleep(float(os.environ.get("PAUSE", "0")))
        return tl.distill(
            trial.teacher,
            trial.student,
            train=trial.train,
            objective=tl.SoftTargets(2),
            out=trial.out,
            **trial.settings,
        ).student

    study = tl.study(
        teacher,
        lambda: nn.Linear(8, 3),
        train=train,
        val=val,
        test=test,
        arms={"taught": taught, "soft": tl.SoftTargets(2)},
        controls={"labels": tl.Arm(sweep={"learning_rate": [1e-3, 1e-2]})},
        seeds=4,
        epochs=2,
        training=tl.Training(engine=tl.Engine(device="cpu", progress=False, checkpoint_seconds=0)),
        out=out,
        progress=False,
    )
    print(study.verdict)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
