"""Random search, edges of a grid, and going on beyond them."""

import math

import numpy as np
import pytest

import tutelage as tl
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.results.record import read_record
from tutelage.studies.sweep import at_edge, beyond

GRID = {"learning_rate": [0.1, 0.03, 0.01], "epochs": [1, 2, 4, 8]}


def settings(sweep):
    return list(sweep.settings())


class TestRandomSearch:
    def test_draws_as_many_different_settings_of_the_grid(self):
        whole = settings(tl.Sweep(GRID))
        assert len(whole) == 12
        drawn = settings(tl.Sweep(GRID, trials=5))
        assert len(drawn) == 5
        assert all(each in whole for each in drawn)
        assert len({tuple(each.items()) for each in drawn}) == 5

    def test_is_decided_by_the_seed_and_not_by_the_order_of_names(self):
        one = settings(tl.Sweep(GRID, trials=5, seed=1))
        assert one == settings(tl.Sweep(GRID, trials=5, seed=1))
        assert one != settings(tl.Sweep(GRID, trials=5, seed=2))
        other = settings(tl.Sweep(dict(reversed(GRID.items())), trials=5, seed=1))
        assert sorted(map(sorted, map(dict.items, other))) == sorted(
            map(sorted, map(dict.items, one))
        )

    def test_of_more_trials_than_combinations_is_the_grid(self):
        assert settings(tl.Sweep(GRID, trials=100)) == settings(tl.Sweep(GRID))

    def test_of_a_huge_grid_takes_no_time(self):
        huge = {name: range(1000) for name in "abcdefgh"}
        assert len(settings(tl.Sweep(huge, trials=3))) == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"trials": 0}, "`trials` must be at least 1"),
            ({"extend": 3}, "`extend` must be True or False, got 3"),
            ({"seed": -1}, "`seed` must be at least 0"),
            ({"grid": ["epochs"]}, "`sweep` must be a dict by name"),
        ],
    )
    def test_bad_arguments(self, options, message):
        with pytest.raises(tl.ArgumentError, match=message):
            tl.Sweep(**({"grid": GRID} | options))

    def test_gives_every_arm_the_same_number_of_trials(self, setup):
        study = setup.study(
            val=setup.val,
            sweep=tl.Sweep({"learning_rate": [1e-4, 1e-3, 1e-2], "batch_size": [32, 64]}, trials=2),
            arms={
                "soft": tl.SoftTargets(4),
                "more": tl.Arm(
                    objective=tl.SoftTargets(4),
                    sweep={"objective": [tl.SoftTargets(each) for each in (1, 4)]},
                ),
            },
            seeds=1,
            epochs=1,
        )
        tried = {arm.name: [each.setting for each in arm.tried] for arm in study.results.arms}
        assert {len(each) for each in tried.values()} == {2}
        assert tried["labels"] == tried["soft"]
        assert all("objective" in each for each in tried["more"])


@pytest.mark.parametrize(
    ("name", "values", "chosen", "further"),
    [
        ("epochs", [50, 150], 150, 450),
        ("epochs", [50, 150], 50, 17),
        ("epochs", [1, 3, 9], 1, None),
        ("epochs", [50, 150, 450], 150, None),
        ("epochs", [150], 150, None),
        ("epochs", [np.int64(50), np.int64(150)], 150, 450),
        ("learning_rate", [0.3, 1.0], 1.0, 3.33),
        ("learning_rate", [1e-2, 1e-3], 1e-3, 1e-4),
        ("weight", [-2.0, 0.0, 2.0], 2.0, 4.0),
        ("weight", [-2.0, 0.0, 2.0], -2.0, -4.0),
        ("decay", [0.0, 0.1, 0.3], 0.0, None),
        ("decay", [0, 2], 0, None),
        ("smoothing", [0.0, 0.1], 0.1, 0.2),
        ("probability", [0.5, 1.0], 1.0, None),
        ("flag", [False, True], True, None),
        ("name", ["a", "b"], "b", None),
    ],
)
def test_the_next_value_beyond_an_edge(name, values, chosen, further):
    assert beyond(name, values, chosen) == further
    assert at_edge(name, values, chosen) is (further is not None)


def test_a_fraction_is_not_taken_beyond_1_and_its_edge_is_one():
    assert beyond("probability", [0.2, 0.8], 0.8) is None
    assert at_edge("probability", [0.2, 0.8], 0.8)


def arm(peak, **sweep):
    """An arm whose students are the better, the nearer their width is to a number."""

    def own(trial):
        trial.student.width = trial.swept["width"]
        trial.student[0].bias.data += abs(math.log(trial.swept["width"] / peak))
        return trial.student

    return tl.Arm(run=own, sweep=tl.Sweep(**sweep) if sweep else {"width": [2, 4]})


def nearness(student_bias):
    return student_bias


@pytest.fixture(scope="module")
def extended(setup, tmp_path_factory):
    """Four arms: the best lies within, just beyond, far beyond, and below."""
    swept = {"grid": {"width": [4, 8, 16]}, "extend": True}
    peaks = {"within": 8, "above": 32, "far": 4096, "below": 1}
    arms = {name: arm(peak, **swept) for name, peak in peaks.items()}
    out = tmp_path_factory.mktemp("extended")
    options = {
        "arms": arms,
        "controls": {"fixed": lambda trial: trial.student},
        "val": setup.val,
        "seeds": 1,
        "metrics": {"shift": lambda output, _: output.abs().mean().item()},
        "monitor": tl.Monitor("shift", higher_is_better=False),
        "out": out,
    }
    return setup.study(**options), options, out


def widths(study, name):
    return [int(each.setting.split()[-1]) for each in study.results.arm(name).tried]


def test_a_sweep_goes_on_beyond_its_edge_until_it_is_no_better(extended):
    study, _, _ = extended
    assert widths(study, "within") == [4, 8, 16]
    assert widths(study, "above") == [4, 8, 16, 32, 64]
    assert widths(study, "far") == [4, 8, 16, 32, 64, 128, 256]
    assert widths(study, "below") == [4, 8, 16, 2, 1]
    assert study.results.arm("above").settings["chosen"] == "width 32"
    for each in study.results.arms:
        assert [one.is_beyond for one in each.tried] == [n >= 3 for n in range(len(each.tried))]
        values = [one.value for one in each.tried]
        if values:
            assert each.trials[0].val == min(values)


def test_an_edge_that_stays_is_said(extended):
    study, _, out = extended
    edges = {each.name: each.edges for each in study.results.arms}
    assert [name for name, each in edges.items() if each] == ["far"]
    (edge,) = edges["far"]
    assert (edge.name, edge.chosen, edge.values) == ("width", 256, (4, 8, 16, 32, 64, 128, 256))
    text = render(record_page(study.results))
    assert "“far” chose width 256 of 4, 8, 16, 32, 64, 128, 256: the best may lie beyond." in text
    assert read_record(out / "results.json") == study.results


def test_it_resumes_without_training_again(extended, setup):
    study, options, out = extended
    times = {path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")}
    again = setup.study(**options)
    assert {path: path.stat().st_mtime_ns for path in out.glob("trials/*/trial.json")} == times
    assert [each.tried for each in again.results.arms] == [
        each.tried for each in study.results.arms
    ]


def test_all_arms_may_try_as_many_settings_beyond(setup):
    """Also an arm whose own sweep does not ask for it."""
    arms = {
        "asks": arm(16, grid={"width": [4, 8]}, extend=True),
        "does not": arm(16, grid={"width": [4, 8]}),
    }
    study = setup.study(
        arms=arms, controls={}, val=setup.val, seeds=1,
        metrics={"shift": lambda output, _: output.abs().mean().item()},
        monitor=tl.Monitor("shift", higher_is_better=False),
    )  # fmt: skip
    assert widths(study, "asks") == widths(study, "does not") == [4, 8, 16, 32]


def test_without_extend_an_edge_is_said_and_not_passed(setup):
    study = setup.study(
        val=setup.val, sweep={"epochs": [1, 8]}, seeds=1, controls={"labels": tl.HardLabels()}
    )
    for each in study.results.arms:
        assert len(each.tried) == 2
        (edge,) = each.edges
        assert (edge.chosen, edge.values) == (8, (1, 8))
    assert "chose epochs 8 of 1, 8: the best may lie beyond" in render(record_page(study.results))


def test_numbers_of_numpy_are_plain_ones(setup, tmp_path):
    """A checkpoint that holds others cannot be read."""
    sweep = tl.Sweep({"learning_rate": list(np.logspace(-3, -1, 3))}, trials=2, extend=True)
    study = setup.study(val=setup.val, sweep=sweep, seeds=1, controls={}, out=tmp_path)
    assert read_record(tmp_path / "results.json") == study.results
    assert type(tl.Arm(epochs=np.int64(3)).epochs) is int
