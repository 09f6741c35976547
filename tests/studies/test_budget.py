"""What each arm's tuning and training took, and who was tuned with less than others."""

from dataclasses import replace
from functools import partial

import pytest
import torch

import tutelage as tl
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.reports.sections.training import budget_section
from tutelage.results.record import Tried, read_record, write_record

SOFT = tl.SoftTargets(4)


@pytest.fixture(scope="module")
def tuned(setup):
    """300 examples in batches of 64 are 5 steps an epoch."""

    def returns_run(trial):
        return tl.distill(trial.teacher, trial.student, train=trial.train, objective=SOFT,
                          **trial.settings)  # fmt: skip

    def returns_module(trial):
        return returns_run(trial).student

    arms = {
        "soft": tl.Arm(objective=SOFT, sweep={"learning_rate": [1e-3, 3e-3, 1e-2]}),
        "run": returns_run,
        "module": returns_module,
    }
    controls = {
        "labels": tl.Arm(sweep={"epochs": [1, 3]}),
        "fixed": tl.HardLabels(0.1),
    }
    return setup.study(arms=arms, controls=controls, val=setup.val, primary="soft").results


def rows(record):
    table = budget_section(record).table
    return {
        dict(row)["Arm"]: {head.split("\n")[0]: text for head, text in row} for row in table.rows
    }


def test_settings_steps_and_times_of_tuning_and_training_are_in_the_record(tuned):
    soft, labels = tuned.arm("soft"), tuned.arm("labels")
    assert soft.tuning.steps == 3 * 2 * 5
    assert labels.tuning.steps == (1 + 3) * 5
    assert tuned.arm("fixed").tuning is None
    for arm in (soft, labels):
        assert arm.tuning.seconds > 0
    assert [trial.steps for trial in soft.trials] == [10, 10]


def test_a_function_that_returns_its_run_tells_its_steps(tuned):
    assert [trial.steps for trial in tuned.arm("run").trials] == [10, 10]
    assert tuned.arm("run").trials[0].curves["train/loss"].steps == (5, 10)
    assert [trial.steps for trial in tuned.arm("module").trials] == [None, None]
    assert tuned.arm("run").values("accuracy") == tuned.arm("module").values("accuracy")


def test_the_page_has_a_budget_and_marks_those_tuned_with_less(tuned):
    found = rows(tuned)
    assert found["soft"]["Settings tried"] == "3"
    assert found["labels"]["Settings tried"] == "2, fewer"
    assert found["fixed"]["Settings tried"] == "1, fewer"
    assert found["soft"]["Tuning steps"] == "30"
    assert found["fixed"]["Tuning steps"] == "0"
    assert found["soft"]["Training steps"] == "20"
    assert found["module"]["Training steps"] == "–"
    assert ">Budget</h2>" in render(record_page(tuned))


def test_a_primary_arm_tuned_more_than_its_control_is_warned_of(tuned):
    page = record_page(tuned)
    control = max(tuned.controls, key=lambda arm: sum(arm.values("accuracy")))
    tried = max(1, len(control.tried))
    setting = "setting" if tried == 1 else "settings"
    assert (
        f"“soft” was tuned with 3 settings, “{control.name}” with {tried} {setting}" in page.warning
    )
    equal = [
        replace(arm, tried=(Tried("a", 0.5), Tried("b", 0.5), Tried("c", 0.5)))
        for arm in tuned.arms
    ]
    page = record_page(replace(tuned, arms=tuple(equal)))
    assert "was tuned with" not in page.warning
    assert "fewer" not in str(budget_section(replace(tuned, arms=tuple(equal))).table.rows)


def test_steps_of_a_setting_that_diverged_are_not_known(setup):
    study = setup.study(
        val=setup.val, seeds=1, training=tl.Training(optimizer=partial(torch.optim.SGD, lr=1.0)),
        sweep={"learning_rate": [1e30, 0.05]},
    )  # fmt: skip
    assert study.results.arm("soft").tuning.steps is None
    assert rows(study.results)["soft"]["Tuning steps"] == "–"


def test_settings_beyond_the_grid_are_counted_with_what_was_allowed(setup):
    sweep = tl.Sweep({"epochs": [1, 2]}, extend=True)
    results = setup.study(val=setup.val, sweep=sweep, seeds=1).results
    found = rows(results)
    for arm in results.arms:
        further = sum(each.is_beyond for each in arm.tried)
        assert found[arm.name]["Settings tried"] == f"2 and {further} of 4 beyond"


def test_it_survives_writing_and_reading(tuned, tmp_path):
    assert read_record(write_record(tuned, tmp_path / "results.json")) == tuned
