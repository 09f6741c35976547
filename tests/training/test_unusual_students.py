"""Students with masks, tables and state of their own train as others do."""

import pytest
import torch
from safetensors.torch import load_file
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


class Restless(nn.Module):
    """A student with an extra state that counts, and a sparse buffer."""

    def __init__(self):
        super().__init__()
        self.layer, self.calls = nn.Linear(6, 3), 0
        self.register_buffer("graph", torch.eye(3).to_sparse())

    def forward(self, inputs):
        self.calls += self.training
        return torch.sparse.mm(self.graph, self.layer(inputs).T).T

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]


@pytest.mark.parametrize("in_folder", [False, True])
def test_sparse_buffers_and_extra_states_are_those_of_the_best_epoch(in_folder, tmp_path):
    worse = lambda parameters: torch.optim.SGD(parameters, lr=0.1, maximize=True)  # noqa: E731
    out = tmp_path if in_folder else None
    run = tl.fit(
        Restless(), train=DATA, val=DATA, epochs=3, batch_size=24, optimizer=worse, out=out,
        monitor="loss", engine=tl.Engine(checkpoint_seconds=0),
    )  # fmt: skip
    assert run.best_epoch == 1
    assert run.student.calls == 4
    if in_folder:
        assert load_file(tmp_path / "student.safetensors").keys() == {"layer.weight", "layer.bias"}
        again = tl.fit(
            Restless(), train=DATA, val=DATA, epochs=3, batch_size=24, optimizer=worse, out=out,
            monitor="loss", engine=tl.Engine(checkpoint_seconds=0),
        )  # fmt: skip
        assert again.student.calls == 4


@pytest.mark.parametrize("inner", [False, True])
def test_a_compiled_student_has_the_keys_of_a_plain_one(inner, tmp_path):
    student = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    if inner:
        student[0] = torch.compile(student[0], backend="eager")
    else:
        student = torch.compile(student, backend="eager")
    run = tl.fit(student, train=DATA, val=DATA, epochs=2, out=tmp_path)
    plain = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))
    plain.load_state_dict(load_file(tmp_path / "student.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(plain(INPUTS), run.student(INPUTS))


class Counted(nn.Module):
    """A helper that counts its calls in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, inputs):
        self.calls += 1
        return inputs / 2


def test_a_helper_that_counts_may_be_shared():
    helper = Counted()
    teacher, student = (nn.Sequential(helper, nn.Linear(6, 3)) for _ in range(2))
    tl.distill(teacher, student, train=DATA, objective=tl.SoftTargets(2), epochs=1)
    assert helper.calls > 0


class Shifted(nn.Linear):
    """A model whose answers depend on a single integer in a buffer."""

    def __init__(self, shift):
        super().__init__(6, 3)
        self.register_buffer("shift", torch.tensor(shift))

    def forward(self, inputs):
        return super().forward(inputs).roll(int(self.shift), dims=1)


def test_teachers_that_differ_in_an_integer_are_two(tmp_path):
    one, other = Shifted(0), Shifted(1)
    other.load_state_dict(one.state_dict() | {"shift": torch.tensor(1)})
    tl.label(one, DATA, out=tmp_path / "store")
    with pytest.raises(tl.TutelageError, match="teacher"):
        tl.label(other, DATA, out=tmp_path / "store")
    call = {"train": DATA, "objective": tl.SoftTargets(2), "epochs": 1, "out": tmp_path / "run"}
    tl.distill(one, nn.Linear(6, 3), **call)
    with pytest.raises(tl.TutelageError, match="teacher"):
        tl.distill(other, nn.Linear(6, 3), **call)
