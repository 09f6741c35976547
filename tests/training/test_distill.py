"""What a run does besides the arithmetic: modes, records, the best epoch, early stopping."""

import copy
import json
from itertools import chain

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl

GENERATOR = torch.Generator().manual_seed(0)
INPUTS = torch.randn(96, 6, generator=GENERATOR)
LABELS = (INPUTS[:, 0] > 0).long() + (INPUTS[:, 1] > 0).long()
DATA = TensorDataset(INPUTS, LABELS)
QUIET = tl.Engine(progress=False)


def network(width=16):
    return nn.Sequential(
        nn.Linear(6, width), nn.BatchNorm1d(width), nn.Dropout(0.2), nn.ReLU(), nn.Linear(width, 3)
    )


def modes(module):
    return [part.training for part in module.modules()]


def test_student_comes_back_in_eval_mode_and_teacher_as_it_was():
    teacher, student = network(), network()
    teacher[1].eval()
    teacher[4].weight.requires_grad_(requires_grad=False)
    before = (
        copy.deepcopy(teacher.state_dict()),
        modes(teacher),
        [parameter.requires_grad for parameter in teacher.parameters()],
    )
    run = tl.distill(teacher, student, train=DATA, objective=tl.SoftTargets(2), epochs=1)
    assert run.student is student
    assert not any(modes(student))
    assert modes(teacher) == before[1]
    assert [parameter.requires_grad for parameter in teacher.parameters()] == before[2]
    assert all(torch.equal(teacher.state_dict()[name], kept) for name, kept in before[0].items())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_teacher_is_restored_after_an_error():
    teacher = network().train()
    with pytest.raises(tl.ModelError):
        tl.distill(teacher, nn.Linear(5, 3), train=DATA, objective=tl.SoftTargets(2), epochs=1)
    assert all(modes(teacher))


def test_student_trains_in_train_mode_after_each_validation():
    """A student left in eval mode after the first validation is a known mistake."""
    seen = []

    class Watched(nn.Linear):
        def forward(self, inputs):
            seen.append(self.training)
            return super().forward(inputs)

    tl.fit(Watched(6, 3), train=DATA, val=DATA, epochs=2, batch_size=48)
    assert seen == [False] + [True, True, False, False] * 2  # first it is tried on one batch


def test_teacher_runs_once_for_each_batch_and_not_at_all_when_not_wanted():
    calls = []

    class Counted(nn.Linear):
        def forward(self, inputs):
            calls.append(not torch.is_grad_enabled() and not self.training)
            return super().forward(inputs)

    tl.distill(
        Counted(6, 3), network(), train=DATA, objective=tl.SoftTargets(), epochs=2, batch_size=32
    )
    assert calls == [True] * 6
    tl.distill(Counted(6, 3), network(), train=DATA, objective=tl.HardLabels(), epochs=1)
    assert len(calls) == 6


def test_the_best_epoch_is_kept_and_not_the_last():
    """A student that unlearns in the second half comes back with the best epoch's weights."""

    def scheduler(optimizer, steps):
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 10.0 if step < steps / 2 else -100.0
        )

    run = tl.fit(
        nn.Linear(6, 3), train=DATA, val=DATA, epochs=8, scheduler=scheduler, monitor="accuracy"
    )
    accuracies = [record["val/accuracy"] for record in run.history]
    best = max(accuracies)
    assert accuracies[-1] < best - 0.1
    assert run.best_epoch == 1 + accuracies.index(best)
    outputs = tl.evaluation.predict(run.student, DATA)
    assert tl.evaluation.accuracy(outputs, LABELS) == pytest.approx(best)


def test_training_stops_when_patience_runs_out():
    frozen_rate = lambda parameters: torch.optim.SGD(parameters, lr=0.0)  # noqa: E731
    run = tl.fit(
        nn.Linear(6, 3),
        train=DATA,
        val=DATA,
        epochs=50,
        optimizer=frozen_rate,
        monitor=tl.Monitor("loss", patience=3),
    )
    assert len(run.history) == 4
    assert run.best_epoch == 4  # of equal ones the last


def test_each_part_is_logged_by_name_and_the_total_is_their_weighted_sum(tmp_path):
    objective = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4) + 0.5 * tl.SoftTargets(1)
    run = tl.distill(network(), network(), train=DATA, objective=objective, epochs=2, out=tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line for line in lines if line["kind"] == "epoch"] == [
        {"kind": "epoch"} | record for record in run.history
    ]
    for record in run.history:
        parts = [record[f"train/{n}"] for n in ("hard_labels", "soft_targets", "soft_targets_2")]
        weighted = sum(w * part for w, part in zip((0.1, 0.9, 0.5), parts, strict=True))
        assert record["train/loss"] == pytest.approx(weighted, rel=1e-6)


def test_temperature_follows_its_schedule():
    """The temperature of each step is that of its place in training."""
    temperatures = []

    class Recorded(tl.schedules.Linear):
        def __call__(self, progress):
            temperatures.append(super().__call__(progress))
            return temperatures[-1]

    objective = tl.SoftTargets(Recorded(8, 2))
    temperatures.clear()  # of the check of its values
    tl.distill(network(), network(), train=DATA, objective=objective, epochs=3, batch_size=48)
    assert temperatures == pytest.approx([8, 8, 7, 6, 5, 4, 3])


def test_scheduler_is_stepped_after_each_optimiser_step():
    run = tl.fit(
        network(),
        train=DATA,
        epochs=4,
        batch_size=24,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        scheduler=lambda optimizer, steps: torch.optim.lr_scheduler.LinearLR(
            optimizer, 1.0, 0.0, total_iters=steps
        ),
    )
    assert [record["lr"] for record in run.history] == pytest.approx([0.75, 0.5, 0.25, 0.0])


def test_a_finished_run_is_returned_without_training_again(tmp_path):
    first = tl.fit(network(), train=DATA, val=DATA, epochs=2, out=tmp_path)
    other = network()
    steps = []
    other.register_forward_hook(lambda *_: steps.append(1))
    second = tl.fit(other, train=DATA, val=DATA, epochs=2, out=tmp_path)
    assert not steps
    assert second.history == first.history
    kept, found = first.student.state_dict(), second.student.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in kept.items())


class AsDicts(Dataset):
    """Examples as Hugging Face's data sets give them."""

    def __len__(self):
        return len(INPUTS)

    def __getitem__(self, place):
        return {"inputs": INPUTS[place], "labels": LABELS[place]}


class Named(nn.Module):
    """A model called by name, that returns a dict."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, inputs):
        return {"logits": self.layer(inputs)}


def test_dicts_in_and_out_train_as_tuples_and_tensors_do():
    torch.manual_seed(0)
    teacher, named = network(), Named()
    plain = copy.deepcopy(named.layer)
    shared = {"objective": tl.HardLabels() + tl.SoftTargets(2), "epochs": 2}

    class NamedTeacher(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = teacher

        def forward(self, inputs):
            return self.inner(inputs)

    tl.distill(NamedTeacher(), named, train=AsDicts(), **shared)
    tl.distill(teacher, plain, train=DATA, **shared)
    assert torch.equal(named.layer.weight, plain.weight)


def test_unlabelled_inputs_are_enough_where_nobody_reads_labels():
    run = tl.distill(
        network(),
        network(),
        train=TensorDataset(INPUTS),
        val=TensorDataset(INPUTS),
        objective=tl.SoftTargets(),
        epochs=30,
    )
    assert run.history[-1]["val/agreement"] > run.history[0]["val/agreement"]
    assert "val/accuracy" not in run.history[-1]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_precisions_follow_each_other_in_one_process(precision):
    """Accelerate keeps its settings for a whole process; each run has its own all the same."""
    seen = []

    class Seen(nn.Linear):
        def forward(self, inputs):
            result = super().forward(inputs)
            seen.append(result.dtype)
            return result

    tl.distill(
        network(),
        Seen(6, 3),
        train=DATA,
        objective=tl.SoftTargets(),
        epochs=1,
        engine=tl.Engine(precision=precision, device="cpu"),
    )
    assert set(seen) == {torch.bfloat16 if precision == "bf16" else torch.float32}


def test_an_accelerator_of_the_users_own_stays_as_it_was():
    AcceleratorState._reset_state(reset_partial_state=True)  # others' tests may have left one
    mine = Accelerator(mixed_precision="bf16", cpu=True)
    tl.fit(network(), train=DATA, epochs=1)
    assert mine.mixed_precision == "bf16"
    assert mine.state.device.type == "cpu"


def test_tensorboard_gets_the_figures(tmp_path):
    tl.fit(
        network(),
        train=DATA,
        val=DATA,
        epochs=2,
        out=tmp_path,
        engine=tl.Engine(trackers=("tensorboard",)),
    )
    (folder,) = {path.parent for path in tmp_path.rglob("events.out.tfevents*")}
    events = EventAccumulator(str(folder)).Reload()
    assert len(events.Scalars("val/accuracy")) == 2


def test_the_weights_on_disk_are_the_students(tmp_path):
    run = tl.fit(network(), train=DATA, val=DATA, epochs=3, out=tmp_path)
    kept = load_file(tmp_path / "student.safetensors")
    assert all(torch.equal(kept[n], tensor) for n, tensor in run.student.state_dict().items())
    assert [path.name for path in tmp_path.glob("best-*")] == [f"best-{run.best_epoch}.safetensors"]
    assert not list(tmp_path.glob(".*.draft"))


def test_loader_order_is_kept_and_batch_size_is_its_own():
    shapes = []

    class Shapes(nn.Linear):
        def forward(self, inputs):
            shapes.append(inputs[:, 0].tolist())
            return super().forward(inputs)

    tl.fit(Shapes(6, 3), train=DataLoader(DATA, 40), epochs=1, batch_size=7)
    assert [len(batch) for batch in shapes] == [40, 40, 16]
    assert list(chain(*shapes)) == INPUTS[:, 0].tolist()


def test_a_run_stopped_before_its_first_checkpoint_begins_anew(tmp_path):
    """Its student has been trained a little: the first weights come from the folder."""
    shared = {"train": DATA, "epochs": 2, "batch_size": 8}
    first = nn.Linear(6, 3)
    whole = copy.deepcopy(first)
    tl.fit(whole, **shared)
    calls = []

    def stop(*_):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt

    handle = first.register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        tl.fit(first, out=tmp_path, **shared)
    handle.remove()
    tl.fit(first, out=tmp_path, **shared)
    assert torch.equal(first.weight, whole.weight)


def test_what_an_objective_learns_stays_in_its_run():
    class Scaled(tl.Objective):
        wants = tl.Wants(student=tl.Fields(output=True))

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, student, teacher, batch):
            return (student.logits.square() * self.scale.square()).mean(1)

    objective = Scaled()
    run = tl.fit(nn.Linear(6, 3), train=DATA, objective=objective, epochs=1)
    assert objective.scale == 1
    assert run.objective.scale != 1


def test_the_report_goes_where_it_is_told_or_into_the_runs_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = tl.fit(network(), train=DATA, val=DATA, epochs=1, out="run")
    assert run.report().resolve() == tmp_path / "run" / "report.html"
    assert run.report("mine.html").resolve() == tmp_path / "mine.html"
