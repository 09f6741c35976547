"""A labelling to be killed, or to be shared by several processes.

Arguments: the store's folder, a file that takes a line for each batch the teacher answers, and
optionally the number of the write to die in (in the middle of it) or `slow`.
"""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage import files
from tutelage.store import journal, writer
from tutelage.training import label  # once for all the children that a test forks

EXAMPLES, BATCH = 3000, 64


class Sines(nn.Module):
    """A teacher."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 4)

    def forward(self, inputs):
        return self.layer(inputs.sin())


def watched(teacher, marks, pause):
    """Let a teacher leave a line for each batch: its first example, and how many there are."""

    def note(_, args):
        with Path(marks).open("a", encoding="utf-8") as file:
            file.write(f"{int(args[0][0, 0])} {len(args[0])}\n")
        time.sleep(pause)

    teacher.register_forward_pre_hook(note)
    return teacher


def die_in_write(number):
    """Kill this process in the middle of the n-th write, after half of its bytes."""
    count = 0

    def write_or_die(file, offset, content, write=files.write_at):
        nonlocal count
        count += 1
        if count == number:
            write(file, offset, memoryview(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        write(file, offset, content)

    for module in (files, journal, writer):
        module.write_at = write_or_die


def main(out, marks, how="0"):
    torch.set_num_threads(1)
    torch.manual_seed(7)
    inputs = torch.randn(EXAMPLES, 5)
    inputs[:, 0] = torch.arange(EXAMPLES)
    if how.isdigit() and int(how):
        die_in_write(int(how))
    writer._SECONDS_BETWEEN_COMMITS = 0.0 if how == "slow" else 0.002
    label(
        watched(Sines(), marks, 0.004 if how == "slow" else 0.0),
        TensorDataset(inputs),
        out=out,
        fields=tl.Fields(output=True, features=frozenset({"layer:input"})),
        batch_size=BATCH,
        engine=tl.Engine(device="cpu", progress=False),
    )
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
