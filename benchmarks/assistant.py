"""The capacity gap: does a middle-sized teacher between the big net and a tiny student help?

    TUTELAGE_DATA=... python benchmarks/assistant.py

After Mirzadeh et al. 2020 (https://arxiv.org/abs/1902.03393), who say that it does. The student
has 30 units in each hidden layer; the assistant, 300, is itself taught by the big net. All take
the same number of steps; the temperature of each way is chosen on validation data.
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
    """Return the middle net, taught by the big one or, without it, trained on labels."""
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
        taught = Remembered(assistant(teacher, train), train, val)
        untaught = Remembered(assistant(None, train), train, val)
        sweep = {"objective": TEMPERATURES}
        first = TEMPERATURES[0]
        study = tl.study(
            teacher,
            partial(net, STUDENT),
            train=train,
            val=val,
            test=test,
            controls={
                "big teacher": tl.Arm(objective=first, sweep=sweep),
                "labels": tl.HardLabels(),
            },
            arms={
                "assistant, taught": tl.Arm(objective=first, teacher=taught, sweep=sweep),
                "assistant, from labels": tl.Arm(objective=first, teacher=untaught, sweep=sweep),
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
