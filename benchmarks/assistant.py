"""The capacity gap: does a medium network between a large teacher and a small student help?

    TUTELAGE_DATA=... python benchmarks/assistant.py

After Mirzadeh et al. 2020 (https://arxiv.org/abs/1902.03393), who report that it does. The
student has 30 units in each hidden layer; the assistant, 300, is distilled from the teacher. All
take the same number of steps; each method chooses its temperature on validation data.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from mnist import (
    COMMON,
    RUNS,
    adam,
    big_net,
    errors_table,
    images,
    net,
)
from remembered import Remembered, timed

SEEDS, EPOCHS, HELD_OUT = 5, 20, 10_000
STUDENT, ASSISTANT, ASSISTANT_TEMPERATURE = 30, 300, 4
TEMPERATURES = [tl.SoftTargets(each) for each in (1, 2.5, 4, 8)]


def assistant(teacher: tl.teachers.Teacher | None, train: TensorDataset) -> nn.Module:
    """Return the medium network, distilled from the teacher or, without one, trained on labels."""
    torch.manual_seed(100)
    middle = net(ASSISTANT)
    common = {
        "train": train,
        "epochs": EPOCHS,
        **COMMON,
    }
    if teacher is None:
        return tl.fit(middle, optimizer=adam(1e-3), **common).student
    objective = tl.SoftTargets(ASSISTANT_TEMPERATURE)
    return tl.distill(teacher, middle, objective=objective, optimizer=adam(2e-3), **common).student


def main() -> None:
    """Run the table."""
    whole, test = images("train"), images("test")
    train = TensorDataset(*(each[:-HELD_OUT] for each in whole.tensors))
    val = TensorDataset(*(each[-HELD_OUT:] for each in whole.tensors))
    with timed("the teacher"):
        teacher = Remembered(big_net(), train, val)
    with timed("with and without an assistant"):
        distilled = Remembered(assistant(teacher, train), train, val)
        trained = Remembered(assistant(None, train), train, val)
        sweep = {"objective": TEMPERATURES}
        first, prefix = TEMPERATURES[0], "student, distilled from an assistant"
        study = tl.study(
            teacher,
            partial(net, STUDENT),
            train=train,
            val=val,
            test=test,
            controls={
                "student, distilled from the teacher": tl.Arm(objective=first, sweep=sweep),
                "student, labels only": tl.HardLabels(),
            },
            arms={
                f"{prefix} that was distilled from the teacher": tl.Arm(
                    objective=first, teacher=distilled, sweep=sweep
                ),
                f"{prefix} trained on labels": tl.Arm(
                    objective=first, teacher=trained, sweep=sweep
                ),
            },
            sweep={"learning_rate": [1e-3, 2e-3, 4e-3]},
            seeds=SEEDS,
            epochs=EPOCHS,
            training=tl.Training(optimizer=adam(2e-3), **COMMON),
            report=tl.ReportOptions(title="MNIST: the capacity gap"),
            out=RUNS / "assistant",
        )
    errors_table(study)


if __name__ == "__main__":
    main()
