"""A folder's run is resumed or returned by the call that began it, and by no other."""

import logging
import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

import tutelage as tl
from children import Child

X = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(X, torch.arange(40) % 3)
WANTS = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))


class Margin(tl.Objective):
    """As in CONTRIBUTING, with a margin that its text does not show."""

    wants = WANTS

    def __init__(self, margin):
        super().__init__()
        self.margin = margin

    def forward(self, student, teacher, batch):
        best = teacher.logits.argmax(1)
        return nn.functional.multi_margin_loss(
            student.logits, best, margin=self.margin, reduction="none"
        )


class Weighted(tl.Objective):
    """With class weights in a buffer that is in no state_dict."""

    wants = WANTS

    def __init__(self, weights):
        super().__init__()
        self.register_buffer("weights", torch.tensor(weights), persistent=False)

    def forward(self, student, teacher, batch):
        return ((student.logits - teacher.logits) * self.weights).abs().sum(1)


class Scale:
    """A transform, metric or scheduler of one's own."""

    def __init__(self, by):
        self._by = by

    def __call__(self, batch):
        return tl.data.Noise(self._by)(batch)


def with_hook(by):
    def make(parameters):
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        optimizer.register_step_pre_hook(lambda *_: print(by) if by < 0 else None)
        return optimizer

    return make


def falling(by):
    return lambda optimizer, steps: torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - by * step / steps
    )


class Residual(nn.Module):
    """Of one shape whatever `scale` is."""

    def __init__(self, scale):
        super().__init__()
        self.layer, self.scale = nn.Linear(6, 3), scale

    def forward(self, inputs):
        return self.scale * self.layer(inputs)


class Counting:
    """A metric that keeps what it has seen."""

    def __init__(self, at):
        self.at, self.seen = at, []

    def reset(self):
        self.seen = []

    def update(self, outputs, labels):
        self.seen.append((outputs.argmax(1) == labels).double().mean().item())

    def compute(self):
        return self.at + sum(self.seen)


def teacher():
    torch.manual_seed(1)
    return nn.Linear(6, 3)


def distill(out, **changes):
    good = {
        "teacher": teacher(),
        "student": nn.Linear(6, 3),
        "train": DATA,
        "objective": tl.SoftTargets(2),
        "epochs": 1,
        "batch_size": 20,
        "out": out,
    }
    return tl.distill(**(good | changes))


def metric(at):
    val = {"val": DATA, "monitor": tl.Monitor("own", higher_is_better=True)}
    return val | {"metrics": {"own": Counting(at)}}


PAIRS = {
    "objective's attribute": [{"objective": Margin(0.1)}, {"objective": Margin(5.0)}],
    "objective in a sum": [{"objective": tl.HardLabels() + Margin(margin)} for margin in (0.1, 5)],
    "objective's buffer": [{"objective": Weighted([float(first), 2, 3])} for first in (1, 3)],
    "transform": [{"transform": Scale(0.1)}, {"transform": Scale(0.5)}],
    "transform's closure": [{"transform": lambda b, s=s: tl.data.Noise(s)(b)} for s in (0.1, 0.2)],
    "partial": [{"transform": partial(Scale(by).__call__)} for by in (0.1, 1.0)],
    "metric": [metric(0.0), metric(1.0)],
    "optimizer's hook": [{"optimizer": with_hook(0.1)}, {"optimizer": with_hook(0.2)}],
    "scheduler's function": [{"scheduler": falling(0.1)}, {"scheduler": falling(0.2)}],
    "student's attribute": [{"student": Residual(1.0)}, {"student": Residual(2.0)}],
    "student's activation": [
        {"student": nn.Sequential(nn.Linear(6, 3), act)} for act in (nn.ReLU(), nn.GELU())
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_in_one_thing_is_another_run_and_what_does_not_is_this_one(name, tmp_path):
    one, other = PAIRS[name]
    first = distill(tmp_path, **one)
    with pytest.raises(tl.RunFolderError, match=r"(?s)differs in.*_content"):
        distill(tmp_path, **other)
    again = distill(tmp_path, **one)
    assert again.history == first.history


PROGRAM = """
import sys, torch, tutelage as tl
from torch import nn
class Mine(tl.Objective):
    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))
    def __init__(self, names):
        super().__init__()
        self.names, self.own = names, nn.Linear(3, 3)  # not seeded, as the student is not
    def forward(self, student, teacher, batch):
        return (self.own(student.logits) - teacher.logits).{power}().sum(1)
def noisy(batch, by=lambda x: x + 0.1):
    return tl.data.Noise(by(0))(batch)
torch.manual_seed(1)
teacher = nn.Linear(6, 3)
torch.seed()
data = torch.utils.data.TensorDataset(torch.ones(20, 6))
tl.distill(teacher, nn.Linear(6, 3), train=data, objective=Mine({{"a", "b", "c"}}), epochs=1,
    transform=noisy, out=sys.argv[1])
"""


def test_another_process_is_the_same_run_unless_the_code_differs(tmp_path):
    """Names of sets are hashed otherwise in each process, and the first weights are others."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    same, other = tmp_path / "same.py", tmp_path / "other.py"
    same.write_text(PROGRAM.format(power="square"))
    other.write_text(PROGRAM.format(power="abs"))
    Child(same, [out], errors).finish()
    command = [sys.executable, "-W", "error", str(same), str(out)]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert Child(other, [out], errors).wait() != 0
    assert "objective_content" in errors.read_text()


def test_a_function_may_refer_to_the_student(tmp_path):
    """Its weights change by the training itself, which makes no other run."""
    student = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, 3))

    def optimizer(_):
        return torch.optim.SGD([{"params": student[0].parameters()}, *head], lr=0.1)

    head = [{"params": student[1].parameters(), "lr": 0.01}]
    first = distill(tmp_path, student=student, optimizer=optimizer)
    assert distill(tmp_path, student=student, optimizer=optimizer).history == first.history


class Caching(Residual):
    """Keeps what it was given last, as attention maps are kept, and counts."""

    last, calls = None, 0

    def forward(self, inputs):
        self.last, self.calls = inputs, self.calls + 1
        return super().forward(inputs)


def test_what_changes_by_being_used_is_known_again(tmp_path):
    """In this process as the run left it, in another one as it was at the beginning."""
    student, seen = Caching(1.0), []

    def noting(batch):
        seen.append(len(batch))
        return batch

    first = distill(tmp_path, student=student, transform=noting)
    assert distill(tmp_path, student=student, transform=noting).history == first.history
    seen.clear()
    assert distill(tmp_path, student=Caching(1.0), transform=noting).history == first.history
    student.scale = 2.0
    with pytest.raises(tl.RunFolderError, match="student_content"):
        distill(tmp_path, student=student, transform=noting)


def test_so_is_what_an_interrupted_run_leaves(tmp_path):
    student, seen = Caching(1.0), []

    def interrupting(batch):
        seen.append(len(batch))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return batch

    settings = {"student": student, "transform": interrupting, "epochs": 2}
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path, **settings)
    assert len(distill(tmp_path, **settings).history) == 2


class Stream(IterableDataset):
    """Other examples each time, whatever is seeded: cannot be told from other data."""

    def __iter__(self):
        for _ in range(4):
            yield torch.tensor(list(os.urandom(6))) / 255


def test_what_cannot_be_read_is_said_when_a_run_is_resumed(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tutelage")
    distill(tmp_path, train=torch.utils.data.DataLoader(Stream(), 2))
    assert "is resumed" not in caplog.text
    distill(tmp_path, train=torch.utils.data.DataLoader(Stream(), 2))
    assert "the content of `train`" in caplog.text


class Numbered(torch.utils.data.Dataset):
    """Examples that no attribute holds, as those of files."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError
        return torch.full((6,), index / self.length)


@pytest.mark.parametrize(("length", "said"), [(66, False), (67, True)])
def test_that_only_some_examples_are_compared_is_said_when_a_run_is_resumed(
    tmp_path, caplog, length, said
):
    caplog.set_level(logging.WARNING, "tutelage")
    data = torch.utils.data.Subset(Numbered(length), range(8))
    distill(tmp_path, train=data)
    assert "is resumed" not in caplog.text
    distill(tmp_path, train=data)
    assert ("every example of `train`" in caplog.text) == said


def test_an_attribute_that_cannot_be_read_is_said(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "tutelage")
    transform = Scale(0.1)
    transform.source = (number for number in range(3))
    for _ in range(2):
        distill(tmp_path, transform=transform)
    assert "generator in `transform`" in caplog.text
