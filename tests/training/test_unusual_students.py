"""Students with masks, tables and state of their own train as others do."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

INPUTS = torch.randn(96, 6, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(INPUTS, (INPUTS[:, 0] > 0).long())


class Masked(nn.Module):
    """A student with a mask of infinities and with state that is no tensor."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))

    def forward(self, inputs):
        return self.layer(inputs) @ self.mask.exp()


def test_a_mask_of_infinities_is_no_fault(tmp_path):
    tl.fit(Masked(), train=DATA, val=DATA, epochs=1, out=tmp_path)


class Remembering(nn.Module):
    """A student that makes a table at its first call and keeps it, as rotary embeddings do."""

    def __init__(self):
        super().__init__()
        self.layer, self.table = nn.Linear(6, 3), None

    def forward(self, inputs):
        if self.table is None or len(self.table) < len(inputs):
            self.table = torch.ones(len(inputs), 1)
        return self.layer(inputs) * self.table[: len(inputs)]

    def get_extra_state(self):
        return {"version": 1}

    def set_extra_state(self, state):
        assert state == {"version": 1}


def test_a_student_may_keep_what_it_made_while_it_was_validated():
    tl.fit(Remembering(), train=DATA, val=DATA, epochs=2, batch_size=8)
