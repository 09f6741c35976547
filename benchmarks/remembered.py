"""A teacher whose outputs are cached, and a timer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tutelage.signals import Batch, Signals
from tutelage.teachers import Teacher, as_teacher
from tutelage.wants import OUTPUT, Fields


class Remembered(Teacher):
    """A teacher whose outputs for some data sets are computed once.

    Cached outputs are used only if a batch's inputs equal those of the data set.

    Args:
        teacher: Any teacher or module.
        data: Data sets whose inputs are not augmented; labels do not matter.
    """

    def __init__(self, teacher: Teacher | nn.Module, *data: TensorDataset) -> None:
        self.teacher = as_teacher(teacher)
        self.module = self.teacher.module
        self.known: list[tuple[Tensor, Tensor]] = []
        for each in data:
            self.remember(each)

    def remember(self, data: TensorDataset) -> TensorDataset:
        """Cache the outputs for a data set, and return it."""
        inputs = data.tensors[0]
        rows = DataLoader(TensorDataset(inputs), 2000)
        with self.teacher.ready(torch.device("cpu")):
            outputs = [self.teacher.signals(Batch(each), OUTPUT) for (each,) in rows]
        self.known.append((inputs, torch.cat([each.logits for each in outputs])))
        return data

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return cached outputs, if the inputs are the same."""
        rows = torch.empty(0, dtype=torch.int64) if batch.index is None else batch.index
        for inputs, outputs in self.known if len(rows) else ():
            if int(rows.max()) < len(inputs) and torch.equal(batch.inputs, inputs[rows]):
                return Signals(outputs[rows])
        return self.teacher.signals(batch, fields)

    def fingerprint(self) -> str:
        """Return the teacher's fingerprint."""
        return self.teacher.fingerprint()


@contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long the body took."""
    began = time.monotonic()
    yield
    minutes = (time.monotonic() - began) / 60
    print(f"\n{what}: {minutes:.1f} minutes on {torch.get_num_threads()} threads", flush=True)
