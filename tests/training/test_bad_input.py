"""Each user error is a TutelageError that says what was expected, what came, and what to do."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import tutelage as tl
from small_runs import INPUTS, LABELS, distill


def test_the_good_arguments_are_good():
    assert distill().history[-1]["epoch"] == 2


class BrokenTeacher(nn.Module):
    """Says NaN (or what is given) from its fourth batch on."""

    def __init__(self, value=float("nan")):
        super().__init__()
        self.value, self.calls = value, 0

    def forward(self, inputs):
        self.calls += 1
        return torch.full((len(inputs), 3), self.value if self.calls >= 4 else 0.0)


class Refusing(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs):
        raise ValueError("these images are too small")


def frozen():
    return nn.Linear(6, 3).requires_grad_(requires_grad=False)


def bad_labels(**where):
    labels = LABELS.clone()
    labels[5] = where["value"]
    return TensorDataset(INPUTS, labels)


CASES = {
    "classes": ({"student": nn.Linear(6, 4)}, tl.ModelError, r"same number of classes.*4.*3"),
    "label too high": ({"train": bad_labels(value=3)}, tl.DataError, r"from 0 to 2.*\[3\]"),
    "label negative": ({"train": bad_labels(value=-1)}, tl.DataError, r"from 0 to 2.*\[-1\]"),
    "float labels": (
        {"train": TensorDataset(INPUTS, LABELS.float())},
        tl.DataError,
        r"integer class ids.*float32 \[8\].*LabelRegression",
    ),
    "no labels": ({"train": TensorDataset(INPUTS)}, tl.DataError, r"has none.*SoftTargets"),
    "empty set": (
        {"train": TensorDataset(INPUTS[:0], LABELS[:0])},
        tl.DataError,
        r"`train` must have at least one example",
    ),
    "empty validation": ({"val": TensorDataset(INPUTS[:0])}, tl.DataError, r"`val` must have"),
    "empty loader": (
        {"train": DataLoader(TensorDataset(INPUTS, LABELS), 64, drop_last=True)},
        tl.DataError,
        r"at least one batch.*drop_last=False",
    ),
    "not data": ({"train": 5}, tl.DataError, r"`train` must be a torch Dataset.*int"),
    "teacher NaN": ({"teacher": BrokenTeacher()}, tl.NonFiniteError, r"teacher's output.*step 4"),
    "teacher infinite": (
        {"teacher": BrokenTeacher(float("inf"))},
        tl.NonFiniteError,
        r"teacher's output.*step 4",
    ),
    "loss NaN": (
        {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=float("inf"))},
        tl.NonFiniteError,
        r"must be finite, got .* at step \d+; .*learning rate",
    ),
    "frozen student": ({"student": frozen()}, tl.ModelError, r"parameters to train.*unfreeze"),
    "student refuses": (
        {"student": Refusing()},
        tl.ModelError,
        r"the student \(Refusing\) refused its inputs float32 \[8, 6\].*too small",
    ),
    "teacher refuses": (
        {"teacher": Refusing()},
        tl.ModelError,
        r"the teacher \(Refusing\) refused",
    ),
    "no teacher": ({"teacher": None}, tl.ArgumentError, r"learns from a teacher, got none"),
    "teacher a function": ({"teacher": len}, tl.ModelError, r"wrap a callable.*Predictor"),
    "student a class": ({"student": nn.Linear}, tl.ModelError, r"`student` must be"),
    "objective a string": ({"objective": "kl"}, tl.ArgumentError, r"`objective` must be"),
    "epochs": ({"epochs": 0}, tl.ArgumentError, r"`epochs` must be at least 1, got 0"),
    "batch size": ({"batch_size": 2.5}, tl.ArgumentError, r"`batch_size` must be an integer"),
    "seed": ({"seed": -1}, tl.ArgumentError, r"`seed` must be at least 0"),
    "optimizer made": (
        {"optimizer": torch.optim.SGD(nn.Linear(1, 1).parameters())},
        tl.ArgumentError,
        r"`optimizer` must be a callable.*partial",
    ),
    "monitor a number": ({"monitor": 3}, tl.ArgumentError, r"`monitor` must be the name.*got 3"),
    "metrics a list": ({"metrics": [len]}, tl.ArgumentError, r"`metrics` must be a dict by name"),
    "folder a number": ({"out": 3}, tl.ArgumentError, r"`out` must be the path.*got 3"),
    "engine a string": ({"engine": "cpu"}, tl.ArgumentError, r"`engine` must be a tl.Engine.*cpu"),
    "monitor unknown": (
        {"val": TensorDataset(INPUTS, LABELS), "monitor": "r2"},
        tl.ArgumentError,
        r"monitored metric 'r2' must be one of \['accuracy', 'agreement', 'loss'\]",
    ),
    "metric not a number": (
        {"val": TensorDataset(INPUTS, LABELS), "metrics": {"mine": lambda *_: "good"}},
        tl.ArgumentError,
        r"metric `mine` failed .*must return one number",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_argument(name):
    changes, kind, message = CASES[name]
    with pytest.raises(kind, match=f"(?s){message}"):
        distill(**changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "half"}, "precision"),
        ({"device": "gpu"}, "device"),
        ({"accumulation": 0}, "accumulation"),
        ({"clip_norm": 0}, "clip_norm"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds"),
    ],
)
def test_bad_engine(arguments, message):
    with pytest.raises(tl.ArgumentError, match=message):
        tl.Engine(**arguments)


@pytest.mark.parametrize("tracker", ["tensorboard", "no such tracker"])
def test_a_tracker_without_a_folder_or_a_package(tracker):
    with pytest.raises(tl.ArgumentError, match="trackers"):
        distill(engine=tl.Engine(trackers=(tracker,)))


def test_a_monitor_of_unknown_direction_is_refused():
    with pytest.raises(tl.ArgumentError, match="higher_is_better"):
        tl.Monitor("my_score")


def test_the_cause_of_a_refusal_is_kept():
    with pytest.raises(tl.ModelError) as caught:
        distill(student=Refusing())
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_checkpoint_before_the_nan_is_kept(tmp_path):
    """All weights in it are finite, and the run goes on from it once the cause is mended."""
    with pytest.raises(tl.NonFiniteError, match="step 4"):
        distill(teacher=BrokenTeacher(), out=tmp_path, engine=tl.Engine(checkpoint_seconds=0))
    kept = torch.load(tmp_path / "last.pt", weights_only=True)
    assert kept["state"]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in kept["distiller"].values())


def test_weights_that_are_no_numbers_never_reach_a_checkpoint(tmp_path):
    """A finite loss may have an infinite gradient, so the weights are looked at as well."""

    def poison(optimizer, *_):
        if len(optimizer.state) and optimizer.param_groups[0]["params"][0].grad is not None:
            poison.steps += 1
            if poison.steps == 4:
                optimizer.param_groups[0]["params"][0].data.fill_(float("nan"))

    poison.steps = 0

    def optimizer(parameters):
        made = torch.optim.AdamW(parameters)
        made.register_step_post_hook(poison)
        return made

    with pytest.raises(tl.NonFiniteError, match=r"student\.weight.*after step 4"):
        distill(optimizer=optimizer, out=tmp_path, engine=tl.Engine(checkpoint_seconds=0))
    assert torch.load(tmp_path / "last.pt", weights_only=True)["state"]["step"] == 3


@pytest.mark.parametrize("train", [tl.fit, partial(tl.fine_tune, frozen=["0"])])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Linear, r"`model` must be a torch\.nn\.Module, got type"),
        (nn.LazyLinear(3), "`model` must have its parameters, got lazy ones in LazyLinear"),
    ],
)
def test_without_a_teacher_the_learner_is_called_a_model(train, model, message):
    with pytest.raises(tl.ModelError, match=message):
        train(model, train=TensorDataset(INPUTS, LABELS), epochs=1)


def test_student_and_teacher_that_share_what_is_trained():
    teacher = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 3))
    student = nn.Sequential(teacher[0], nn.Linear(6, 3))
    with pytest.raises(tl.ModelError, match=r"must not share.*`0\.weight`"):
        distill(teacher=teacher, student=student)
    teacher[0].requires_grad_(requires_grad=False)
    distill(teacher=teacher, student=student)


def test_an_optimiser_of_somebody_elses_parameters():
    with pytest.raises(tl.ArgumentError, match="must hold parameters of the student"):
        distill(optimizer=lambda _: torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1))


@pytest.mark.parametrize("unused", [{"monitor": "loss"}, {"metrics": {"mine": len}}])
def test_a_monitor_without_validation_data(unused):
    with pytest.raises(tl.ArgumentError, match="got no `val`"):
        distill(**unused)


def test_a_metric_with_the_name_of_a_usual_figure():
    with pytest.raises(tl.ArgumentError, match=r"\['accuracy'\]; rename yours"):
        distill(val=TensorDataset(INPUTS, LABELS), metrics={"accuracy": lambda *_: 0})


class Unsized(IterableDataset):
    def __iter__(self):
        return iter([])


def test_a_stream_without_examples():
    with pytest.raises(tl.DataError, match="got none in epoch 1"):
        distill(train=Unsized())


def test_a_scheduler_needs_a_length():
    with pytest.raises(tl.ArgumentError, match="without a length"):
        distill(train=Unsized(), scheduler=torch.optim.lr_scheduler.CosineAnnealingLR)


def test_a_schedule_over_a_single_epoch_needs_a_length():
    """Progress would stay at 0, and so a rising weight."""
    rising = tl.schedules.Linear(0, 1) * tl.SoftTargets(2)
    with pytest.raises(tl.ArgumentError, match=r"length in a single epoch where the schedule Lin"):
        distill(train=Unsized(), objective=rising, epochs=1)


def test_a_stream_of_validation_data_that_ends_for_good():
    """A generator, which the first pass uses up."""

    class Once(IterableDataset):
        def __init__(self):
            self.left = iter([(INPUTS[0], LABELS[0])])

        def __iter__(self):
            return self.left

    with pytest.raises(tl.DataError, match="at least one batch in each pass, got none"):
        distill(val=Once(), epochs=2)


UNLABELLED = {
    "classes": (torch.full((40,), -100), 0.5 * tl.HardLabels() + tl.SoftTargets(2), "HardLabels"),
    "values": (torch.full((40, 3), float("nan")), tl.LabelRegression(), "LabelRegression"),
}


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("kind", UNLABELLED)
def test_labels_that_no_example_has(kind, accumulation):
    """Else the term would be 0, and the student untouched by it, in silence."""
    labels, objective, name = UNLABELLED[kind]
    labels = labels.clone()
    engine = tl.Engine(accumulation=accumulation)
    with pytest.raises(tl.DataError, match=f"{name}.* learns from labels, and no example"):
        distill(train=TensorDataset(INPUTS, labels), objective=objective, engine=engine)
    labels[-1] = 1  # one is enough
    distill(train=TensorDataset(INPUTS, labels), objective=objective, engine=engine)
