"""What a study refuses, and that it does so before it works."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
)

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)


def _untouched(trial):
    return trial.student


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"arms": {}}, tl.ArgumentError, "at least one arm"),
        ({"arms": {"labels": tl.SoftTargets(2)}}, tl.ArgumentError, "different names"),
        ({"arms": {"teacher": tl.SoftTargets(2)}}, tl.ArgumentError, "must not be named 'teacher'"),
        ({"arms": {"x": 3}}, tl.ArgumentError, "arm 'x' must be an objective, an Arm"),
        ({"arms": {"x": nn.Linear(2, 2)}}, tl.ArgumentError, "got Linear"),
        ({"arms": [tl.SoftTargets(2)]}, tl.ArgumentError, "`arms` must be a dict by name, got"),
        ({"controls": [tl.HardLabels()]}, tl.ArgumentError, "`controls` must be a dict by name"),
        ({"sweep": ["epochs"]}, tl.ArgumentError, "`sweep` must be a dict by name"),
        ({"training": tl.Training(steps=3)}, tl.ArgumentError, "got both"),
        ({"epochs": None}, tl.ArgumentError, "got neither"),
        (
            {"training": {"epochs": 3}},
            tl.ArgumentError,
            r"a Training, got dict; pass tl.Training\(",
        ),
        ({"report": "title"}, tl.ArgumentError, "`report` must be a ReportOptions, got str"),
        ({"allow_overlap": "no"}, tl.ArgumentError, "`allow_overlap` must be a bool, got str"),
        ({"seeds": 0}, tl.ArgumentError, "`seeds` must be at least 1"),
        ({"seeds": [1, 1]}, tl.ArgumentError, "different numbers"),
        ({"margin": -1}, tl.ArgumentError, "`margin` must be zero or more"),
        ({"sweep": {"learning_rate": [0.1]}}, tl.ArgumentError, "no `val`"),
        ({"metrics": {"kl": lambda *_: 0.0}}, tl.ArgumentError, r"as the standard .* got \['kl'\]"),
        ({"monitor": "r2"}, tl.ArgumentError, r"metric .* must be one of \["),
    ],
)
def test_bad_arguments(setup, changes, error, message):
    with pytest.raises(error, match=message):
        setup.study(**changes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective": tl.HardLabels(), "run": _untouched}, "or a function, got objective and run"),
        (
            {"stages": [tl.Stage(tl.HardLabels(), 1)], "objective": tl.HardLabels()},
            "an objective, stages or a function, got objective and stages",
        ),
        ({"sweep": {"colour": [1]}}, "`sweep` must name arguments of Arm, got 'colour'"),
        ({"sweep": ["epochs"]}, "`sweep` must be a dict by name, got"),
        ({"sweep": {"epochs": 3}}, "a list of values for 'epochs'"),
        ({"learning_rate": 0.0}, "`learning_rate` must be positive"),
        ({"epochs": 0}, "`epochs` must be at least 1"),
        ({"series": "small"}, "over `at` on the line of its `series`, got series='small' and at=N"),
        ({"at": 3}, "got series='' and at=3; give both or neither"),
        ({"series": "small", "at": "three"}, "`at` must be a number, got 'three'"),
    ],
)
def test_bad_arms(options, message):
    with pytest.raises(tl.ArgumentError, match=message):
        tl.Arm(**options)


def test_a_folder_that_is_a_file(setup, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(tl.RunFolderError, match="a folder that can be written"):
        setup.study(out=tmp_path / "file" / "study")


def test_an_arm_may_have_a_control_of_its_own(setup):
    arms = {
        "one": tl.Arm(objective=tl.SoftTargets(1), against="labels"),
        "other": tl.Arm(objective=tl.SoftTargets(2), against="smoothed labels"),
    }
    study = setup.study(arms=arms, seeds=2)
    assert [(each.arm, each.other) for each in study.results.comparisons] == [
        ("one", "labels"),
        ("other", "smoothed labels"),
    ]
    assert "than its control, “labels”" in study.verdict
    with pytest.raises(tl.ArgumentError, match="`against` one of the controls"):
        setup.study(arms={"one": tl.Arm(objective=tl.SoftTargets(1), against="one")})


def test_the_subject_is_one_of_the_arms(setup):
    with pytest.raises(tl.ArgumentError, match=r"`primary` must be one of the arms \['soft'\]"):
        setup.study(primary="labels")
    arms = {"first": tl.SoftTargets(1), "second": tl.SoftTargets(2)}
    assert setup.study(arms=arms, primary="second", seeds=1).results.primary == "second"
    assert setup.study(arms=arms, seeds=1).results.primary == "first"


def test_not_under_torchrun(setup, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(tl.ArgumentError, match="each be started alone"):
        setup.study()


def test_a_test_set_that_shuffles_is_refused(setup):
    with pytest.raises(tl.DataError, match="same order for every model"):
        setup.study(test=DataLoader(setup.test, 32, shuffle=True))


def test_a_sampler_that_draws_is_refused(setup):
    loader = DataLoader(setup.test, 32, sampler=SubsetRandomSampler(range(100)))
    with pytest.raises(tl.DataError, match="SubsetRandomSampler"):
        setup.study(test=loader)


class OwnOrder(BatchSampler):
    """Batches of a sequential sampler, whose order is drawn by a generator of its own."""

    def __init__(self, examples, seed):
        super().__init__(SequentialSampler(examples), 32, drop_last=False)
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def __iter__(self):
        batches = list(super().__iter__())
        for place in torch.randperm(len(batches), generator=self.generator).tolist():
            yield batches[place]


class Again(OwnOrder):
    """The same order in each pass."""

    def __iter__(self):
        self.generator.manual_seed(0)
        return super().__iter__()


@pytest.mark.parametrize("seed", [3, None])
def test_a_batch_sampler_that_draws_is_refused(setup, seed):
    loader = DataLoader(setup.test, batch_sampler=OwnOrder(setup.test, seed))
    with pytest.raises(tl.DataError, match=r"same order for every model, .* with OwnOrder"):
        setup.study(test=loader)


def test_a_batch_sampler_of_a_fixed_order_is_taken(setup):
    loader = DataLoader(setup.test, batch_sampler=Again(setup.test, 0))
    found = setup.study(test=loader, seeds=1, controls={})
    whole = setup.study(seeds=1, controls={})
    one, other = (each.results.arm("soft").metrics["accuracy"] for each in (found, whole))
    assert one == pytest.approx(other, abs=2e-3)


class Stream(IterableDataset):
    """The examples, from the one numbered `first` on in another order each time."""

    def __init__(self, examples, first):
        self.examples, self.first = examples, first
        self.generator = torch.Generator().manual_seed(3)

    def __iter__(self):
        order = torch.randperm(len(self.examples) - self.first, generator=self.generator)
        places = [*range(self.first), *(order + self.first).tolist()]
        return (self.examples[place] for place in places)


@pytest.mark.parametrize("first", [0, 16, 600])
def test_a_stream_that_shuffles_is_refused(setup, first):
    with pytest.raises(tl.DataError, match="in the same order for every model, got Stream"):
        setup.study(test=Stream(setup.test, first))


def test_what_would_fail_late_fails_early(setup):
    def never(_):
        raise AssertionError("an arm was begun")

    late = {
        "monitor": ({"monitor": "loss"}, "metric .* must be one of"),
        "names": (
            {"report": tl.ReportOptions(class_names=["a", "b"])},
            "`class_names` must name the 10 logits",
        ),
    }
    for changes, message in late.values():
        with pytest.raises(tl.ArgumentError, match=message):
            setup.study(controls={"never": never}, **changes)
    options = {
        "train": setup.train,
        "test": setup.test,
        "epochs": 1,
        "training": tl.Training(engine=QUIET),
    }
    with pytest.raises(tl.ArgumentError, match="arm 'soft' learns from a teacher, got none"):
        tl.study(None, setup.make, arms={"soft": tl.SoftTargets(1)}, **options)
    with pytest.raises(tl.ArgumentError, match="`margin` is what may be lost against the teacher"):
        tl.study(None, setup.make, arms={"a": tl.HardLabels(0.5)}, margin=0.1, **options)


def test_a_student_that_does_not_exist(setup):
    study = setup.study(seeds=1)
    with pytest.raises(tl.ArgumentError, match="got arm 'soft' and seed 9"):
        study.student("soft", 9)


@pytest.mark.parametrize("place", ["study", "arm", "part"])
def test_a_student_that_is_the_same_module_each_time_is_refused(setup, place):
    """Else every trial would go on from the last one, the controls first."""
    model, head = setup.make(), nn.Linear(64, 10)
    same = (lambda: nn.Sequential(head)) if place == "part" else lambda: model
    arm = tl.Arm(objective=tl.SoftTargets(4), student=same if place == "arm" else None)
    with pytest.raises(tl.ArgumentError, match="must make a new module each time"):
        tl.study(
            setup.teacher, setup.make if place == "arm" else same, train=setup.train,
            test=setup.test, epochs=1, seeds=2, arms={"soft": arm}, progress=False,
        )  # fmt: skip
    assert not any(each.grad is not None for each in (*model.parameters(), *head.parameters()))
