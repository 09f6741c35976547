"""`distill` does the arithmetic of a plain loop, and nothing else."""

import copy
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl

EPOCHS = 3


def network(width: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, 4),
    )


@pytest.fixture
def data() -> TensorDataset:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(200, 8, generator=generator)
    return TensorDataset(inputs, torch.randint(0, 4, (200,), generator=generator))


def plain_loop(teacher, student, loader, seed, clip=None):
    """The twenty lines that a user would write."""
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9)
    teacher.eval()
    student.train()
    for _ in range(EPOCHS):
        for inputs, labels in loader:
            with torch.no_grad():
                targets = F.softmax(teacher(inputs) / 4, dim=1)
            logits = student(inputs)
            log_q = F.log_softmax(logits / 4, dim=1)
            soft = F.kl_div(log_q, targets, reduction="batchmean") * 16
            loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * soft
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(student.parameters(), clip)
            optimizer.step()


def furthest(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("own_generator", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_weights_equal_those_of_a_plain_loop(data, own_generator, dropout, clip):
    """Same seed, same loader, same optimiser: batch order and dropout too are the same."""
    teacher, student = network(32), network(8, dropout)
    reference = copy.deepcopy(student)

    def loader():
        generator = torch.Generator().manual_seed(5) if own_generator else None
        return DataLoader(data, batch_size=32, shuffle=True, generator=generator)

    plain_loop(teacher, reference, loader(), seed=3, clip=clip)
    teacher.train()  # whatever the caller left it in
    tl.distill(
        teacher,
        student,
        train=loader(),
        objective=0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4),
        epochs=EPOCHS,
        seed=3,
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        engine=tl.Engine(clip_norm=clip),
    )
    assert furthest(student, reference) < 1e-6


def test_accumulated_batches_equal_one_large_batch(data):
    """Labels are missing unevenly and the last group is smaller: examples count alike."""
    inputs, labels = data.tensors
    labels = labels.where(torch.arange(200) % 7 < 3, -100)
    part = TensorDataset(inputs, labels)
    students = [nn.Linear(8, 4)]
    students.append(copy.deepcopy(students[0]))
    teacher = network(32)
    for student, size, accumulation in zip(students, (64, 16), (1, 4), strict=True):
        run = tl.distill(
            teacher,
            student,
            train=DataLoader(part, size),
            objective=tl.HardLabels() + 0.5 * tl.LogitRegression(),
            epochs=EPOCHS,
            optimizer=partial(torch.optim.SGD, lr=0.1),
            engine=tl.Engine(accumulation=accumulation),
        )
        assert run.history[-1]["step"] == 4 * EPOCHS
    assert furthest(*students) < 1e-6


def test_validation_changes_nothing_of_the_training(data):
    """A run with validation draws the same numbers as one without."""
    teacher, first = network(32), network(8, 0.3)
    second = copy.deepcopy(first)
    shared = {"train": DataLoader(data, 32, shuffle=True), "epochs": 1}
    objective = tl.SoftTargets(2)
    tl.distill(teacher, first, objective=objective, **shared)
    tl.distill(
        teacher, second, objective=objective, val=DataLoader(data, 50, shuffle=True), **shared
    )
    assert furthest(first, second) == 0


def test_the_callers_random_state_is_left_alone(data):
    model = network(8, dropout=0.5)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    tl.fit(model, train=data, epochs=1)
    assert torch.equal(torch.rand(3), expected)
