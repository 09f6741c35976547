"""An arm of a study may be several trainings, one after another."""

import pytest
import torch
from torch import nn
from torch.utils.data import IterableDataset

import tutelage as tl

FIRST, SECOND = tl.LogitRegression(), tl.SoftTargets(4)


def stages(epochs=1):
    return [tl.Stage(FIRST, 1, ["0"], "first"), tl.Stage(SECOND, epochs, name="second")]


def trials(folder):
    return {path.name for path in folder.glob("trials/*staged*")}


@pytest.fixture(scope="module")
def done(setup, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    arms = {"staged": tl.Arm(stages=stages())}
    return setup.study(arms=arms, seeds=1, controls={}, out=out), out


def test_its_student_is_that_of_distill_in_stages(done, setup):
    study, _ = done
    torch.manual_seed(0)
    expected = tl.distill(
        setup.teacher, setup.make(), train=setup.train, stages=stages(), seed=0,
        engine=tl.Engine(device="cpu", progress=False),
    ).student  # fmt: skip
    state = expected.state_dict()
    for name, each in study.student("staged").state_dict().items():
        torch.testing.assert_close(each, state[name])


def test_the_page_says_what_it_learns_from(done):
    html = done[0].report(done[1] / "page.html").read_text()
    assert f"{FIRST}; then {SECOND}".split("(")[0] in html
    assert "; then SoftTargets" in html


def test_its_settings_are_those_that_it_was_trained_with(setup):
    """Epochs are those of the stages, and stages may be swept over."""
    longer = tl.Arm(sweep={"stages": [stages(epochs=2)]})
    done = setup.study(arms={"staged": longer}, val=setup.val, seeds=1, controls={})
    arm = done.results.arm("staged")
    assert arm.settings["epochs"] == "3"
    assert arm.learns_from == f"{FIRST}; then {SECOND}"
    assert arm.trials[0].epochs == 3
    assert arm.trials[0].steps == 3 * 5  # 300 examples in batches of 64


def test_a_common_sweep_over_epochs_is_one_of_the_other_arms(setup):
    arms = {"staged": tl.Arm(stages=stages()), "soft": SECOND}
    sweep = {"epochs": [1, 2], "learning_rate": [0.01]}
    done = setup.study(arms=arms, sweep=sweep, val=setup.val, seeds=1, controls={})
    assert [each.setting for each in done.results.arm("staged").tried] == ["learning rate 0.01"]
    assert len(done.results.arm("soft").tried) == 2


def test_it_may_learn_from_a_stream(setup):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(setup.part(0, 100))

    arms = {"staged": tl.Arm(stages=stages(), train=Stream())}
    done = setup.study(arms=arms, seeds=1, controls={})
    assert done.results.arm("staged").trials[0].steps == 2 * 2  # 100 examples in batches of 64


def test_it_is_taken_up_without_training_again(done, setup):
    study, out = done
    times = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/run/*/last.pt")}
    assert len(times) == 2
    arms = {"staged": tl.Arm(stages=stages())}
    again = setup.study(arms=arms, seeds=1, controls={}, out=out)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    ours, theirs = (each.results.arm("staged").trials[0].metrics for each in (study, again))
    assert ours == theirs


@pytest.mark.parametrize(
    "other",
    [stages(epochs=2), stages()[1:], [stages()[0], tl.Stage(tl.SoftTargets(2), 1, name="second")]],
)
def test_other_stages_are_another_trial(done, setup, other):
    out = done[1]
    before = trials(out)
    setup.study(arms={"staged": tl.Arm(stages=other)}, seeds=1, controls={}, out=out)
    assert before < trials(out)


def test_it_needs_a_teacher_if_one_of_its_stages_does(setup):
    arms = {"staged": tl.Arm(stages=[tl.Stage(SECOND, 1), tl.Stage(tl.HardLabels(), 1)])}
    with pytest.raises(tl.ArgumentError, match="arm 'staged' learns from a teacher, got none"):
        tl.study(
            None, lambda: nn.Linear(64, 10), train=setup.train, test=setup.test, arms=arms,
            epochs=1, seeds=1, progress=False,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": []}, r"`stages` must be a list of tl\.Stage"),
        ({"stages": [SECOND]}, r"`stages` must be a list of tl\.Stage"),
        ({"stages": stages(), "epochs": 3}, "stages have epochs of their own, got `epochs`"),
        ({"stages": stages(), "sweep": {"epochs": [1, 2]}}, "stages have epochs of their own"),
        ({"stages": stages(), "objective": SECOND}, "got objective and stages"),
        ({"stages": stages(), "run": lambda trial: trial.student}, "got stages and run"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(tl.ArgumentError, match=message):
        tl.Arm(**options)
