"""Errors of the user's data, a full device, and optimizers without a learning rate."""

from functools import partial

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import tutelage as tl
from small_runs import INPUTS, LABELS, distill


class FailingSet(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, place):
        if place > 30:
            raise OSError("the file is gone")
        return INPUTS[place], LABELS[place]


class FailingStream(IterableDataset):
    def __iter__(self):
        yield from zip(INPUTS[:20], LABELS[:20], strict=True)
        raise OSError("the connection is gone")


RAW = {
    "set": ({"train": FailingSet()}, tl.DataError, OSError, "`train` .*the file is gone"),
    "stream": (
        {"train": DataLoader(FailingStream(), 8)},
        tl.DataError,
        OSError,
        "`train` .*the connection is gone.*epoch 1",
    ),
}


@pytest.mark.parametrize("name", RAW)
def test_errors_of_the_users_parts_say_which_failed_and_keep_the_cause(name):
    changes, kind, cause, message = RAW[name]
    with pytest.raises(kind, match=f"(?s){message}") as caught:
        distill(**changes)
    assert isinstance(caught.value.__cause__, cause)


def test_a_full_device_stays_an_error_of_pytorch():
    def full(*_):
        raise torch.OutOfMemoryError("full")

    def optimizer(parameters):
        made = torch.optim.SGD(parameters, lr=0.1)
        made.register_step_pre_hook(full)
        return made

    with pytest.raises(torch.OutOfMemoryError):
        distill(optimizer=optimizer)


class WithoutRate(torch.optim.Optimizer):
    def __init__(self, parameters):
        super().__init__(parameters, {"step_size": 0.1})

    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                each.data.add_(each.grad, alpha=-group["step_size"])


def test_a_learning_rate_that_is_none_or_a_tensor(tmp_path):
    assert "lr" not in distill(optimizer=WithoutRate).history[0]
    adam = partial(torch.optim.Adam, lr=torch.tensor(0.25), foreach=False)
    assert distill(optimizer=adam, out=tmp_path).history[0]["lr"] == 0.25
