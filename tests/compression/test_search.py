"""Which candidates are trained for longer, which is chosen, and when the search ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.compression.candidates import Measured
from tutelage.compression.search import LONGER, Search, Train
from tutelage.errors import ModelError
from tutelage.evaluation import Interval, Latency
from tutelage.results.record import ArmRecord, Comparison, DecidingMetric, Record, TrialRecord

GAINS = {"large": -0.001, "middle": -0.004, "small": -0.02, "tiny": -0.2}
"""At the end of a long training; the slowest first."""


def costs(names: Sequence[str]) -> dict[str, Measured]:
    times = [1.0 / 2**at for at in range(len(names))]
    return {
        name: Measured(100, 100, (Latency(1, time, time, 1),))
        for name, time in zip(names, times, strict=True)
    }


def record(gains: Mapping[str, float], seconds: float, half: float = 0.002) -> Record:
    """Return the record of a round with these differences from a teacher of 0.9."""
    arms = tuple(
        ArmRecord(name, (TrialRecord(0, {"accuracy": 0.9 + gain}, seconds=seconds),))
        for name, gain in gains.items()
    )
    against = tuple(
        Comparison(name, "teacher", (gain,), Interval(gain, gain - half, gain + half))
        for name, gain in gains.items()
    )
    teacher = ArmRecord("teacher", (TrialRecord(metrics={"accuracy": 0.9}),))
    return Record(
        "Study", DecidingMetric("accuracy", True, True), arms, arms[0].name, {}, {}, {},
        teacher=teacher, against_teacher=against,
    )  # fmt: skip


def learning(
    gains: Mapping[str, float], slow: float = 0.1
) -> tuple[Train, list[tuple[tuple[str, ...], int]]]:
    """Return training by which candidates come near to their gain, and the list of its calls."""
    calls: list[tuple[tuple[str, ...], int]] = []

    def train(names: Sequence[str], steps: int, _: int) -> Record:
        calls.append((tuple(names), steps))
        found = {name: gains[name] - slow * 100 / steps for name in names}
        return record(found, seconds=steps / 100)

    return train, calls


def search(folder: Path, gains: Mapping[str, float], **options) -> tuple[Search, list]:
    train, calls = learning(gains)
    usual = {"margin": 0.01, "budget": 1e9, "confirmations": 3}
    students = {name: name.split(",")[0] for name in gains}
    made = Search(
        costs([*gains]), students, usual["margin"], train, usual["budget"], usual["confirmations"],
        folder / "search.json",
    )  # fmt: skip
    return replace(made, **options), calls


def test_the_fastest_within_the_margin_is_chosen(tmp_path):
    found, calls = search(tmp_path, GAINS)
    assert found.run(100) == "middle"
    assert found.passes("middle")
    assert not found.passes("small")
    # All of them; the better half; its better half, which is within the margin; then those faster
    # than it, of which two had been left behind.
    assert calls[:3] == [(tuple(GAINS), 100), (("large", "middle"), 400), (("large",), 1600)]
    assert {names for names, _ in calls[3:]} == {("middle",), ("small",), ("tiny",)}
    # What they lack is in the end more than what they gain.
    assert found.scores["small"][-1].gain > -0.03
    assert found.scores["tiny"][-1].steps < found.scores["small"][-1].steps
    assert found.teacher == 0.9
    assert found.seconds >= 0


def test_files_of_one_student_are_judged_by_one_training(tmp_path):
    gains = {"large": -0.001, "large, int8": -0.03, "middle": -0.003, "middle, int8": -0.004,
             "small": -0.03, "small, int8": -0.03}  # fmt: skip
    calls = []

    def train(names: Sequence[str], steps: int, _: int) -> Record:
        calls.append((tuple(names), steps))
        students = {name.split(",")[0] for name in names}  # these are trained, in any case
        every = [name for name in gains if name in students or name in names]
        found = {name: gains[name] - 0.1 * 100 / steps for name in every}
        return record(found, seconds=steps / 100)

    found, _ = search(tmp_path, gains, train=train)
    assert found.run(100) == "middle, int8"
    # Half of the students, not of the files; then those faster than a file within the margin.
    assert [len({name.split(",")[0] for name in names}) for names, _ in calls[:3]] == [3, 2, 1]
    assert found.scores["large, int8"][-1].steps == found.scores["large"][-1].steps
    assert found.seconds >= 0


def test_an_interruption_takes_the_best_so_far_and_the_same_call_goes_on(tmp_path, caplog):
    train, _ = learning(GAINS)

    def stopped(names: Sequence[str], steps: int, number: int) -> Record:
        if number == 2:
            raise KeyboardInterrupt
        return train(names, steps, number)

    first, _ = search(tmp_path, GAINS, train=stopped)
    assert first.run(100) == "large"  # of two rounds
    assert "search was interrupted" in caplog.text
    assert first.rounds == 2
    again, _ = search(tmp_path, GAINS, train=train)
    assert again.run(100) == "middle"

    def at_once(*_) -> Record:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):  # there is none to choose
        search(tmp_path / "other", GAINS, train=at_once)[0].run(100)


def test_a_student_whose_file_fails_is_given_up(tmp_path, caplog):
    train, _ = learning(GAINS)

    def failing(names: Sequence[str], steps: int, number: int) -> Record:
        if "large" in names and steps > 100:
            raise ModelError("it cannot be exported")
        return train(names, steps, number)

    found, _ = search(tmp_path, GAINS, train=failing)
    assert found.run(100) == "middle"
    assert "Student 'large' is given up: it cannot be exported" in caplog.text

    def always(*_) -> Record:
        raise ModelError("it cannot be exported")

    (tmp_path / "other").mkdir()
    with pytest.raises(ModelError, match="it cannot be exported"):
        search(tmp_path / "other", GAINS, train=always)[0].run(100)


def test_the_budget_counts_a_student_once(tmp_path):
    gains = {"large": -0.02, "large, int8": -0.02}
    train, calls = learning(gains)  # 1 second for 100 steps, 4 for the next round
    found, _ = search(tmp_path, gains, train=train, budget=4 + 3 * 4 + 2)
    found.run(100)
    assert [steps for _, steps in calls] == [100, 400]


def test_once_one_is_within_the_margin_only_faster_ones_are_trained(tmp_path):
    gains = {"large": -0.001, "middle": -0.001, "small": -0.011, "tiny": -0.011}
    train, calls = learning(gains, slow=0.001)
    found, _ = search(tmp_path, gains, train=train)
    assert found.run(100) == "middle"
    assert calls[:2] == [(tuple(gains), 100), (("small", "tiny"), 400)]
    assert len(calls) == 2  # both are given up


def test_without_a_margin_the_best_is_chosen_and_halving_ends_with_one(tmp_path):
    found, calls = search(tmp_path, GAINS, margin=None)
    assert found.run(100) == "large"
    assert [(len(names), steps) for names, steps in calls] == [(4, 100), (2, 400), (1, 1600)]
    assert not found.passes("large")


def test_of_equals_the_faster_one_is_chosen(tmp_path):
    found, _ = search(tmp_path, {"large": -0.02, "small": -0.02}, margin=None)
    assert found.run(100) == "small"


def test_of_those_that_are_as_fast_the_smallest_is_chosen(tmp_path):
    found, _ = search(tmp_path, {"large": 0.0, "small": 0.0, "slow": 0.0})
    times = {"large": 1.0, "small": 1.08, "slow": 1.2}
    sizes = {"large": 300, "small": 200, "slow": 100}
    found.costs = {
        name: Measured(sizes[name], 100, (Latency(1, time, time, 1),))
        for name, time in times.items()
    }
    assert found.run(10**6) == "small"


def test_where_none_is_within_the_margin_the_budget_ends_it_with_the_best(tmp_path):
    gains = {"large": -0.012, "small": -0.2}
    found, calls = search(tmp_path, gains, budget=100.0)
    assert found.run(100) == "large"
    # A round of 1,600 steps takes 16 s and its proof 48; the next one would take four times that.
    assert [steps for _, steps in calls] == [100, 400, 1600]


def test_where_none_is_within_the_margin_it_goes_on_while_the_best_gains(tmp_path):
    # Both lack more than they gained, but there is nothing better to do with the budget.
    found, calls = search(tmp_path, {"large": -0.03, "small": -0.2})
    assert found.run(100) == "large"
    # From 1,600 steps to 6,400 it gains 0.0047, then 0.0012, then less than a tenth of the margin.
    assert [steps for _, steps in calls] == [100, 400, 1600, 6400, 25600, 102400]


def test_a_budget_that_is_too_short_still_gives_a_student(tmp_path):
    found, calls = search(tmp_path, GAINS, budget=0.001)
    assert found.run(100) == "large"
    assert len(calls) == 1


def test_the_same_call_makes_the_same_decisions(tmp_path):
    found, calls = search(tmp_path, GAINS)
    found.run(100)
    # Had this machine been slower, the second round would not have been begun.
    again, repeated = search(tmp_path, GAINS)
    again.run(100)
    assert repeated == calls
    assert again.seconds == found.seconds
    other, _ = search(tmp_path, dict(list(GAINS.items())[:2]))
    other.run(100)  # of other rounds the times are other ones
    assert other.seconds != found.seconds


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-0.3, 0.05), min_size=1, max_size=7),
    st.one_of(st.none(), st.floats(0, 0.1)),
    st.floats(0.1, 1e4),
)
def test_any_search_ends_and_chooses_well(tmp_path_factory, values, margin, budget):
    gains = {str(at): value for at, value in enumerate(values)}
    found, calls = search(tmp_path_factory.mktemp("search"), gains, margin=margin, budget=budget)
    chosen = found.run(100)
    assert set(found.scores) == set(gains)
    passing = [name for name in gains if found.passes(name)]
    if passing:
        assert chosen == max(passing, key=int)  # the fastest is the last
    else:
        assert found.scores[chosen][-1].gain == max(each[-1].gain for each in found.scores.values())
    for each in found.scores.values():
        assert [one.steps for one in each] == [100 * LONGER**at for at in range(len(each))]
    spent = [len(names) * steps / 100 for names, steps in calls]
    assert len(calls) == 1 or sum(spent[1:]) <= budget
