"""Arms that are functions of the user's own, which may train in ways that nothing can resume."""

from functools import partial

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.evaluation import predict


def by_hand(trial, calls, change=lambda student: student):
    """Train otherwise at each call; the seeds of all calls are noted in a file."""
    with calls.open("a") as file:
        file.write(f"{trial.seed} ")
    randomly = torch.Generator().manual_seed(len(seeds_of(calls)))
    for parameter in trial.student.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=randomly)
    return change(trial.student)


def seeds_of(calls):
    return [int(each) for each in calls.read_text().split()]


@pytest.fixture
def calls(tmp_path):
    return tmp_path / "calls.txt"


def test_a_function_is_called_once_a_seed(setup, tmp_path, calls):
    own = partial(by_hand, calls=calls)
    arguments = {"arms": {"own": own}, "controls": {}, "out": tmp_path / "study"}
    setup.study(**arguments)
    again = setup.study(**arguments)
    other = setup.study(**arguments, test=setup.val)
    assert seeds_of(calls) == [0, 1]
    for study, data in ((again, setup.test), (other, setup.val)):
        for seed, accuracy in zip((0, 1), study.results.arm("own").values("accuracy"), strict=True):
            right = predict(study.student("own", seed), data).argmax(1) == data.tensors[1]
            assert accuracy == right.double().mean().item()


def test_and_once_for_a_setting_that_was_tuned(setup, calls):
    arm = tl.Arm(run=partial(by_hand, calls=calls), sweep={"warmth": [1.0, 4.0]})
    setup.study(arms={"own": arm}, controls={}, val=setup.val)
    both_with_the_first_seed, chosen_with_the_second = [0, 0], [1]
    assert seeds_of(calls) == both_with_the_first_seed + chosen_with_the_second


def test_what_a_function_tells_of_its_run_is_kept_with_it(setup, tmp_path):
    def own(trial):
        return tl.fit(trial.student, train=trial.train, **trial.settings)

    arguments = {"arms": {"own": own}, "controls": {}, "out": tmp_path, "seeds": 1}
    first = setup.study(**arguments).results.arm("own").trials
    assert first[0].steps == 10
    assert setup.study(**arguments, test=setup.val).results.arm("own").trials[0].steps == 10


class Scaled(nn.Module):
    """With tensors that are not in its state."""

    def __init__(self, body):
        super().__init__()
        self.body, self.scale = body, torch.tensor(2.0)
        self.register_buffer("shift", torch.tensor(0.0), persistent=False)

    def forward(self, inputs):
        return self.scale * self.body(inputs) + self.shift


def as_it_is(student):
    return student


def gelu(student):
    student.body[1] = nn.GELU()
    return student


def scaled(student):
    student.scale = torch.tensor(3.0)
    return student


def shifted(student):
    student.shift += 1
    return student


@pytest.mark.parametrize("change", [as_it_is, gelu, scaled, shifted])
def test_a_model_that_its_weights_do_not_make_again_is_not_kept(setup, calls, change):
    arm = tl.Arm(
        run=partial(by_hand, calls=calls, change=change), student=lambda: Scaled(setup.make())
    )
    study = setup.study(arms={"own": arm}, controls={}, seeds=1)
    assert seeds_of(calls) == ([0] if change is as_it_is else [0, 0])  # to train; to be timed
    student, expected = study.student("own"), change(Scaled(setup.make()))
    assert type(student.body[1]) is type(expected.body[1])
    assert (student.scale, student.shift) == (expected.scale, expected.shift)


def test_models_that_differ_in_a_plain_attribute_are_timed_each_by_itself(setup):
    class Repeated(nn.Module):
        def __init__(self, times):
            super().__init__()
            self.times, self.body = times, setup.make()

        def forward(self, inputs):
            return sum(self.body(inputs) for _ in range(self.times))

    kinds = {"once": 1, "once, distilled": 1, "twice": 2}
    arms = {
        name: tl.Arm(objective=tl.HardLabels(), student=lambda times=times: Repeated(times))
        for name, times in kinds.items()
    }
    record = setup.study(arms=arms, controls={}, seeds=1, epochs=1).results
    once, again, twice = (record.arm(name).model for name in kinds)
    assert once == again != twice
    assert {once, twice} < record.models.keys()
