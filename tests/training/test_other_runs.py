"""A folder's run is resumed or returned by the call that began it, and by no other."""

import logging
import os
import re
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ExponentialLR,
    LambdaLR,
    MultiStepLR,
    SequentialLR,
)
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


def lowered(by):
    return lambda parameters: torch.optim.SGD(parameters, lr=by)


def falling(gamma):
    return lambda optimizer, steps: torch.optim.lr_scheduler.StepLR(optimizer, steps, gamma)


def two_phases(steps):
    def make(optimizer):
        phases = warmed(steps)(optimizer), ExponentialLR(optimizer, 0.9)
        return SequentialLR(optimizer, [*phases], milestones=[1])

    return make


def warmed(steps):
    """As the schedules of transformers are made."""
    return lambda optimizer: LambdaLR(optimizer, partial(rising, warmup=steps))


def rising(step, warmup):
    return min(1.0, (step + 1) / warmup)


def keyed(batch, own):
    return tl.data.Noise(own)(batch)


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
    "objective.margin: 0.1 → 5.0": [{"objective": Margin(margin)} for margin in (0.1, 5.0)],
    "margin: 0.1 → 5": [{"objective": tl.HardLabels() + Margin(margin)} for margin in (0.1, 5)],
    "objective.weights: ": [{"objective": Weighted([float(first), 2, 3])} for first in (1, 3)],
    "transform._by: 0.1 → 0.5": [{"transform": Scale(by)} for by in (0.1, 0.5)],
    "transform.own: 1 → 2": [{"transform": partial(keyed, own=own)} for own in (1, 2)],
    "transform.self._by: 0.1 → 1.0": [{"transform": Scale(by).__call__} for by in (0.1, 1.0)],
    "metrics.own.at: 0.0 → 1.0": [metric(0.0), metric(1.0)],
    "optimizer.groups.0.lr: 0.1 → 0.2": [{"optimizer": lowered(by)} for by in (0.1, 0.2)],
    "scheduler.gamma: 0.1 → 0.2": [{"scheduler": falling(by)} for by in (0.1, 0.2)],
    "scheduler.milestones.1: 1 → None": [
        {"scheduler": partial(MultiStepLR, milestones=[each])} for each in (1, 2)
    ],
    "scheduler._schedulers.0.lr_lambdas.0.warmup: 2 → 3": [
        {"scheduler": two_phases(by)} for by in (2, 3)
    ],
    "scheduler.lr_lambdas.0.warmup: 1 → 2": [{"scheduler": warmed(by)} for by in (1, 2)],
    "student: ": [{"student": Residual(1.0)}, {"student": Residual(2.0)}],
    "student: 'Sequential": [
        {"student": nn.Sequential(nn.Linear(6, 3), act)} for act in (nn.ReLU(), nn.GELU())
    ],
    "batch_size: 20 → 10": [{"batch_size": size} for size in (20, 10)],
    "train.content: ": [{"train": TensorDataset(X + by, DATA.tensors[1])} for by in (0, 1)],
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_in_one_thing_is_another_run_and_what_does_not_is_this_one(name, tmp_path):
    one, other = PAIRS[name]
    first = distill(tmp_path, **one)
    with pytest.raises(tl.RunFolderError, match=rf"(?s)differs in.*{re.escape(name)}.*fresh=True"):
        distill(tmp_path, **other)
    again = distill(tmp_path, **one)
    assert again.history == first.history


def test_a_finished_run_is_returned_with_one_line_and_made_anew_if_asked(tmp_path, caplog):
    caplog.set_level(logging.INFO, "tutelage")
    first = distill(tmp_path)
    caplog.clear()  # of a run with few steps
    again = distill(tmp_path)
    assert again.history == first.history
    (line,) = caplog.messages
    assert re.fullmatch(r"The run in .* was finished on 20..-.*fresh=True trains anew\.", line)
    anew = distill(tmp_path, fresh=True, epochs=2, seed=3)
    assert len(anew.history) == 2
    assert distill(tmp_path, epochs=2, seed=3).history == anew.history


def test_stages_are_made_anew_together(tmp_path, caplog):
    def train(*epochs, **changes):
        stages = [tl.Stage(tl.SoftTargets(2), each) for each in epochs]
        return distill(tmp_path, objective=None, epochs=None, stages=stages, **changes)

    train(1, 2)
    caplog.clear()
    assert len(train(1, 2).history) == 3
    assert len(caplog.records) == 1
    assert len(train(1, fresh=True).history) == 1
    assert not (tmp_path / "2-stage").exists()


def test_a_run_that_failed_at_its_first_batch_does_not_keep_its_folder(tmp_path):
    def failing(batch):
        raise ValueError(len(batch))

    with pytest.raises(ValueError, match="20"):
        distill(tmp_path, transform=failing)
    fine_tuned = tmp_path / "teacher" / "metrics.jsonl"  # by the recipe, before the run
    fine_tuned.parent.mkdir()
    fine_tuned.write_text("{}\n")
    assert distill(tmp_path, epochs=2).history[-1]["epoch"] == 2


PROGRAM = """
import sys, time, torch, tutelage as tl
from torch import nn
START = time.time()
class Mine(tl.Objective):
    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))
    def __init__(self, names):
        super().__init__()
        self.names, self.own = names, nn.Linear(3, 3)  # not seeded, as the student is not
    def forward(self, student, teacher, batch):
        return (self.own(student.logits) - teacher.logits).square().sum(1)
def noisy(batch, by=lambda x: x + {by}):
    since = time.time() - START
    return tl.data.Noise(by(0))(batch)
torch.manual_seed(1)
teacher = nn.Linear(6, 3)
torch.seed()
data = torch.utils.data.TensorDataset(torch.ones(20, 6))
tl.distill(teacher, nn.Linear(6, 3), train=data, objective=Mine({{"a", "b", {name}}}), epochs=1,
    transform=noisy, out=sys.argv[1])
"""


def test_another_process_is_the_same_run_whatever_its_code_reads(tmp_path):
    """Names of sets are hashed otherwise in each process, and the first weights are others."""
    out, errors = tmp_path / "run", tmp_path / "errors"
    for number, (by, name) in enumerate([("0.1", "'c'"), ("0.2", "'c'")]):
        script = tmp_path / f"{number}.py"
        script.write_text(PROGRAM.format(by=by, name=name))
        command = [sys.executable, "-W", "error", str(script), str(out)]
        hashing = os.environ | {"PYTHONHASHSEED": str(number)}  # other orders of the set
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=hashing)
        assert done.returncode == 0, done.stderr
        assert ("is returned" in done.stderr) == (number > 0)
    script.write_text(PROGRAM.format(by="0.1", name="'d'"))
    assert Child(script, [out], errors).wait() != 0
    assert "objective.names.2: 'c' → 'd'" in errors.read_text()


class Experiment:
    """Keeps the model whose scheduler it makes."""

    def __init__(self):
        self.model = nn.Linear(6, 3)

    def scheduler(self, optimizer):
        return LambdaLR(optimizer, self.factor)

    def factor(self, step):
        return 0.5**step


def test_a_scheduler_may_be_made_by_what_keeps_the_student(tmp_path):
    found = []
    for _ in range(2):
        experiment = Experiment()
        settings = {"student": experiment.model, "scheduler": experiment.scheduler}
        found.append(distill(tmp_path, **settings).history)
    assert found[0] == found[1]


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


class Counted(Scale):
    """A transform that counts."""

    calls = 0

    def __call__(self, batch):
        self.calls += 1
        return super().__call__(batch)


def test_what_changes_by_being_used_is_known_again(tmp_path):
    """In this process as the run left it, in another one as it was at the beginning."""
    student, transform = Caching(1.0), Counted(0.1)
    first = distill(tmp_path, student=student, transform=transform)
    assert distill(tmp_path, student=student, transform=transform).history == first.history
    assert distill(tmp_path, student=Caching(1.0), transform=Counted(0.1)).history == first.history
    student.scale = 2.0
    with pytest.raises(tl.RunFolderError, match="student: "):
        distill(tmp_path, student=student, transform=transform)


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
    """Other examples each time: known by its class and its plain attributes."""

    def __init__(self, files):
        self.files, self.opened = files, iter(files)

    def __iter__(self):
        for _ in range(4):
            yield torch.tensor(list(os.urandom(6))) / 255


def test_a_stream_is_known_by_its_attributes(tmp_path):
    first = distill(tmp_path, train=torch.utils.data.DataLoader(Stream(["/here/a"]), 2))
    again = distill(tmp_path, train=torch.utils.data.DataLoader(Stream(["/there/a"]), 2))
    assert again.history == first.history
    with pytest.raises(tl.RunFolderError, match=r"train.content.data.files.0: 'a' → 'b'"):
        distill(tmp_path, train=torch.utils.data.DataLoader(Stream(["/here/b"]), 2))
