"""Sweeps choose on validation data, the same for all arms, and never on test data."""

from functools import partial

import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.evaluation import accuracy, predict
from tutelage.studies import trials

RATES = [1e-4, 1e-2, 3e-2]
QUIET = tl.Engine(device="cpu", progress=False)


def test_the_best_on_validation_data_is_chosen(setup):
    study = setup.study(
        val=setup.val, sweep={"learning_rate": RATES}, training=tl.Training(keep_best=False)
    )
    labels = setup.val.tensors[1]
    for arm in study.results.arms:
        objective = {
            "labels": tl.HardLabels(), "smoothed labels": tl.HardLabels(0.1),
            "soft": tl.SoftTargets(4),
        }[arm.name]  # fmt: skip
        expected = []
        for rate in RATES:
            torch.manual_seed(0)
            student = setup.make()
            optimizer = partial(torch.optim.AdamW, lr=rate)
            options = {"train": setup.train, "epochs": 2, "optimizer": optimizer, "engine": QUIET}
            if objective.wants.teacher:
                tl.distill(setup.teacher, student, objective=objective, **options)
            else:
                tl.fit(student, objective=objective, **options)
            expected.append(accuracy(predict(student, setup.val), labels))
        assert [each.value for each in arm.tried] == expected
        best = RATES[expected.index(max(expected))]
        assert arm.settings["chosen"] == f"learning rate {best:g}"


def test_test_labels_have_no_say(setup):
    inputs, labels = setup.test.tensors
    wrong = TensorDataset(inputs, labels[torch.randperm(len(labels))])
    options = {
        "val": setup.val, "sweep": {"learning_rate": RATES}, "seeds": 1, "epochs": 1,
        "controls": {"labels": tl.HardLabels()},
    }  # fmt: skip
    honest, absurd = setup.study(**options), setup.study(**options, test=wrong)
    for one, other in zip(honest.results.arms, absurd.results.arms, strict=True):
        assert one.tried == other.tried
        assert one.settings == other.settings
        assert one.trials[0].val == other.trials[0].val
    assert honest.results.primary == absurd.results.primary


def test_tuning_looks_at_no_test_data(setup, tmp_path):
    setup.study(val=setup.val, sweep={"learning_rate": RATES}, seeds=1, out=tmp_path)
    numbers = [len(list(folder.glob("outputs-*.npy"))) for folder in tmp_path.glob("trials/*")]
    # Of 9 trials the 3 that were chosen have answered both sets, the others only one.
    assert sorted(numbers) == [1] * 6 + [2] * 3


def test_an_arm_sweeps_over_objectives_beside_the_common_sweep(setup):
    objectives = [tl.SoftTargets(each) for each in (1, 4)]
    study = setup.study(
        val=setup.val,
        arms={"soft": tl.Arm(objective=objectives[0], sweep={"objective": objectives})},
        sweep={"learning_rate": RATES[1:]},
        seeds=1,
    )
    assert [each.setting for each in study.results.arm("soft").tried] == [
        f"learning rate {rate:g}, objective SoftTargets(temperature={temperature})"
        for rate in RATES[1:]
        for temperature in (1, 4)
    ]
    assert len(study.results.arm("labels").tried) == 2


def test_a_setting_that_diverges_loses(setup):
    sgd = partial(torch.optim.SGD, lr=1.0)
    study = setup.study(
        val=setup.val,
        training=tl.Training(optimizer=sgd),
        sweep={"learning_rate": [1e30, 0.05]},
        seeds=1,
    )
    for arm in study.results.arms:
        assert arm.tried[0].value is None
        assert arm.settings["chosen"] == "learning rate 0.05"


def test_all_settings_may_not_diverge(setup):
    sgd = partial(torch.optim.SGD, lr=1.0)
    with pytest.raises(tl.NonFiniteError, match="lower learning rates"):
        setup.study(
            val=setup.val,
            training=tl.Training(optimizer=sgd),
            sweep={"learning_rate": [1e30]},
            seeds=1,
        )


def test_an_arm_that_diverges_is_named(setup):
    sgd = partial(torch.optim.SGD, lr=1e30)
    wild = tl.Arm(objective=tl.SoftTargets(1), optimizer=sgd)
    with pytest.raises(tl.NonFiniteError, match=r"arm 'wild', seed 0: .*learning rate"):
        setup.study(arms={"wild": wild}, seeds=1)


def test_a_function_sweeps_over_names_of_its_own(setup):
    def own(trial):
        return tl.distill(
            trial.teacher, trial.student, train=trial.train,
            objective=tl.SoftTargets(trial.swept["warmth"]), **trial.settings,
        ).student  # fmt: skip

    arm = tl.Arm(run=own, sweep={"warmth": [1.0, 4.0]})
    study = setup.study(
        val=setup.val, arms={"own": arm}, seeds=1, training=tl.Training(keep_best=False)
    )
    assert [each.setting for each in study.results.arm("own").tried] == ["warmth 1", "warmth 4"]
    values = [each.value for each in study.results.arm("own").tried]
    assert study.results.arm("own").trials[0].val == max(values)


def _schedule(scale):
    return lambda optimizer, _: torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: scale)


def test_settings_that_read_alike_are_told_apart(setup):
    schedules = [_schedule(scale) for scale in (0.0, 10.0, 30.0)]
    study = setup.study(
        val=setup.val,
        sweep={"scheduler": schedules},
        seeds=1,
        training=tl.Training(keep_best=False),
    )
    tried = study.results.arm("soft").tried
    assert len({each.value for each in tried}) == 3
    assert [each.setting[-3:] for each in tried] == ["(1)", "(2)", "(3)"]
    assert study.results.arm("soft").trials[0].val == max(each.value for each in tried)


def test_arms_whose_names_make_one_slug_may_meet_in_one_trial(setup):
    soft = tl.SoftTargets(4)
    arms = {
        "甲": tl.Arm(objective=soft, learning_rate=0.01, sweep={"epochs": [1, 2]}),
        "乙": tl.Arm(objective=soft, epochs=1, sweep={"learning_rate": [0.01]}),
    }
    record = setup.study(val=setup.val, arms=arms, controls={}, seeds=1).results
    assert record.arm("乙").tried[0].value == record.arm("甲").tried[0].value


def test_a_figure_that_is_no_number_loses(setup):
    def shaky(output, _):
        confident = output.softmax(dim=1).amax(dim=1).mean().item()
        return float("nan") if confident < 0.2 else confident

    study = setup.study(
        val=setup.val, sweep={"learning_rate": [1e-6, 3e-2]}, seeds=1, epochs=10,
        metrics={"sure": shaky}, monitor=tl.Monitor("sure", higher_is_better=True),
        training=tl.Training(keep_best=False),
    )  # fmt: skip
    for arm in study.results.arms:
        assert arm.tried[0].value is None
        assert arm.settings["chosen"] == "learning rate 0.03"


def test_what_an_arm_sets_itself_it_does_not_sweep_over(setup):
    arms = {"soft": tl.Arm(objective=tl.SoftTargets(4), learning_rate=0.5)}
    study = setup.study(val=setup.val, arms=arms, sweep={"learning_rate": RATES}, seeds=1)
    assert study.results.arm("soft").tried == ()
    assert study.results.arm("soft").settings["optimizer"] == "AdamW at 0.5"


def test_swept_objectives_tell_the_task():
    inputs = torch.randn(200, 3)
    train, val, test = (
        TensorDataset(part, part[:, :1].clone()) for part in inputs.split([100, 50, 50])
    )
    teacher = torch.nn.Linear(3, 1)
    objectives = [tl.OutputRegression(), 2.0 * tl.OutputRegression()]
    study = tl.study(
        teacher, lambda: torch.nn.Linear(3, 1), train=train, val=val, test=test, seeds=1, epochs=1,
        arms={"taught": tl.Arm(sweep={"objective": objectives})},
        training=tl.Training(engine=QUIET), progress=False,
    )  # fmt: skip
    assert study.results.metric.name == "mse"


def test_a_trial_that_diverged_in_tuning_may_succeed_later(setup, tmp_path, monkeypatch):
    """Of a function that was mended elsewhere, or on a GPU."""
    calls, whole = [], trials.train

    def train(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise tl.NonFiniteError("once")
        assert len(calls) < 5
        return whole(*arguments)

    monkeypatch.setattr(trials, "train", train)
    options = {"val": setup.val, "seeds": 1, "epochs": 1, "controls": {}, "out": tmp_path}
    own = {"objective": tl.SoftTargets(4)}
    with pytest.raises(tl.NonFiniteError, match="must train at one of its settings"):
        setup.study(arms={"soft": tl.Arm(sweep={"learning_rate": [1e-3]}, **own)}, **options)
    done = setup.study(arms={"soft": tl.Arm(learning_rate=1e-3, **own)}, **options)
    assert done.results.arm("soft").trials[0].steps == 5
