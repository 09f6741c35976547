"""The built-in controls have what the arms have besides the teacher: augmentation, data, length."""

import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.studies.controls import built_in_controls
from tutelage.tasks import TASKS

SOFT = tl.SoftTargets(4)
USUAL = ["labels", "smoothed labels"]
INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3
TRAIN = TensorDataset(INPUTS, LABELS)


def shift(batch):
    return batch


def fails(_):
    raise ZeroDivisionError


def no_labels(batch):
    return tl.Batch(batch.inputs, torch.full_like(batch.labels, -100))


def controls(epochs=10, train=TRAIN, kind="classes", **arms):
    found, notes = built_in_controls(arms, TASKS[kind], train, epochs, 0)
    return found, notes


def names(**arms):
    return list(controls(**arms)[0])[2:]


def test_data_that_is_a_tensor_has_no_label():
    found, notes = controls(own=tl.Arm(objective=SOFT, train=INPUTS))
    assert list(found) == USUAL
    assert notes == ("There is no control on the training data of “own”, which have no label.",)


def test_without_anything_of_their_own_there_are_two():
    found, notes = controls(soft=SOFT_ARM, function=tl.Arm(run=lambda trial: trial.student))
    assert list(found) == USUAL
    assert notes == ()


SOFT_ARM = tl.Arm(objective=SOFT)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"transform": tl.data.Mixup()}, "labels, with Mixup"),
        ({"transform": shift}, "labels, with shift"),
        (
            {"transform": tl.data.Chain([tl.data.Noise(0.1), tl.data.Mixup()])},
            "labels, with Noise and Mixup",
        ),
        ({"transform": fails}, "labels, with fails"),  # on a CPU, perhaps
        ({"epochs": 11}, "labels, 11 epochs"),
        ({"batch_size": 8}, "labels, batches of 8"),
        ({"train": TensorDataset(INPUTS, LABELS)}, "labels, same data as arm"),
        ({"transform": tl.data.Mixup(), "epochs": 20}, "labels, with Mixup, 20 epochs"),
        ({"sweep": {"epochs": [5, 20]}}, "labels, epochs as in arm"),
        ({"sweep": {"transform": [shift, tl.data.Mixup()]}}, "labels, transform as in arm"),
    ],
)
def test_what_an_arm_has_of_its_own_a_control_has_too(options, name):
    found, _ = controls(arm=tl.Arm(objective=SOFT, **options))
    assert list(found) == [*USUAL, name]
    control = found[name]
    for option, value in options.items():
        assert getattr(control, option) == value
    assert control.objective.wants.teacher == tl.HardLabels().wants.teacher


def test_a_control_is_as_long_as_the_stages():
    stages = [tl.Stage(tl.LogitRegression(), 4), tl.Stage(SOFT, 8)]
    found, _ = controls(staged=tl.Arm(stages=stages))
    assert found["labels, 12 epochs"].epochs == 12
    both = {"stages": [stages, stages[:1]]}
    assert controls(staged=tl.Arm(sweep=both))[0]["labels, epochs as in staged"].sweep == {
        "epochs": [4, 12]
    }


def test_there_are_no_two_alike():
    arms = {
        "one": tl.Arm(objective=SOFT, transform=tl.data.Mixup()),
        "same": tl.Arm(objective=tl.SoftTargets(1), transform=tl.data.Mixup()),
        "short": tl.Arm(objective=SOFT, epochs=5),
        "other": tl.Arm(objective=SOFT, transform=tl.data.Mixup(0.2)),
    }
    first, second = names(**arms)
    assert first == "labels, with Mixup"
    assert second == "labels, with Mixup, as in other"


def test_an_arm_on_labels_alone_is_no_control_of_itself():
    arms = {"one": tl.Arm(transform=shift), "other": tl.Arm(objective=tl.HardLabels(), epochs=50)}
    assert names(**arms) == []


def test_data_without_labels_have_no_control_and_that_is_said():
    own = tl.data.unlabelled(INPUTS)
    found, notes = controls(pool=tl.Arm(objective=SOFT, train=own, transform=tl.data.Noise(0.1)))
    assert list(found) == [*USUAL, "labels, with Noise"]
    assert found["labels, with Noise"].train is None
    (note,) = notes
    assert "no control on the training data of “pool”" in note
    assert "no label" in note
    found, notes = controls(bare=tl.Arm(objective=SOFT, transform=no_labels))
    assert list(found) == USUAL
    assert "no control with no_labels" in notes[0]


def test_values_have_no_smoothing():
    found, _ = controls(kind="values", arm=tl.Arm(objective=SOFT, epochs=20))
    assert list(found) == ["labels", "labels, 20 epochs"]


def test_with_steps_any_length_of_its_own_has_a_control():
    assert names(epochs=None, arm=tl.Arm(objective=SOFT, epochs=2)) == ["labels, 2 epochs"]


# In studies.


def test_they_are_trained_and_compared(setup):
    arms = {
        "mixed": tl.Arm(objective=SOFT, transform=tl.data.Mixup(), epochs=4),
        "plain": SOFT,
    }
    results = setup.study(arms=arms, seeds=1).results
    name = "labels, with Mixup, 4 epochs"
    assert [arm.name for arm in results.controls] == [*USUAL, name]
    control, mixed = results.arm(name), results.arm("mixed")
    for key in ("transform", "epochs", "batch_size", "optimizer"):
        assert control.settings[key] == mixed.settings[key]
    assert control.trials[0].steps == mixed.trials[0].steps
    pairs = {(each.arm, each.other) for each in results.comparisons}
    assert pairs == {(arm, each) for arm in arms for each in (*USUAL, name)}


def test_what_was_left_out_is_on_the_page(setup):
    own = tl.data.unlabelled(setup.train.tensors[0])
    study = setup.study(arms={"pool": tl.Arm(objective=SOFT, train=own)}, seeds=1)
    assert [arm.name for arm in study.results.controls] == USUAL
    assert "no control on the training data of “pool”" in render(record_page(study.results))
