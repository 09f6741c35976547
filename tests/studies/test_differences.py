"""Differences over seeds and examples, of groups of examples, and part by part."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.evaluation import MeanIoU, mean_iou, paired_interval, predict
from tutelage.reports.page import render
from tutelage.reports.report import record_page
from tutelage.studies.differences import Differences, Scores
from tutelage.studies.score import Scorer

LABELS = {"labels": tl.HardLabels()}
QUIET = tl.Engine(device="cpu", progress=False)


def right(study, setup, arm, seeds):
    labels = setup.test.tensors[1]
    rows = [predict(study.student(arm, seed), setup.test).argmax(1) == labels for seed in seeds]
    return torch.stack(rows).double().numpy()


def test_few_examples_give_no_certainty(setup):
    """24 test examples, however the seeds agree."""
    few = TensorDataset(*(each[:24] for each in setup.test.tensors))
    study = setup.study(test=few, controls=LABELS)
    (found,) = study.results.comparisons
    assert found.resolution == pytest.approx(math.log(40) / 24)
    assert found.interval.half_width >= found.resolution
    assert "24 test examples" in study.verdict
    assert "cannot show a difference below 15.4 points" in study.verdict
    assert "Two seeds say little" in study.verdict


def test_one_seed_has_an_interval_over_examples_and_says_so(setup):
    study = setup.study(seeds=1, controls=LABELS)
    (found,) = study.results.comparisons
    assert (found.over, found.seeds_needed) == ("examples", None)
    table = right(study, setup, "soft", [0]) - right(study, setup, "labels", [0])
    assert found.interval == paired_interval(table, resolution=1)
    assert "one seed only, so the variation between seeds is unknown" in study.verdict


def test_groups_take_the_place_of_examples(setup):
    count = len(setup.test)
    groups = [place // 6 for place in range(count)]
    study = setup.study(controls=LABELS, groups=groups)
    (found,) = study.results.comparisons
    table = right(study, setup, "soft", (0, 1)) - right(study, setup, "labels", (0, 1))
    assert found.interval == paired_interval(table, groups=groups, resolution=1)
    assert study.results.groups == len(set(groups))
    assert (
        f"over 2 paired seeds and the test examples in {len(set(groups))} groups" in study.verdict
    )


def test_groups_of_another_number_are_refused_before_training(setup):
    trained = []
    with pytest.raises(tl.ArgumentError, match="`groups` must give the group of each of"):
        setup.study(arms={"own": trained.append}, groups=[1, 2])
    assert trained == []


def test_a_single_group_is_refused(setup):
    with pytest.raises(tl.ArgumentError, match="at least two groups of test examples"):
        setup.study(groups=["all"] * len(setup.test))


def test_one_test_example_shows_nothing(setup):
    one = TensorDataset(*(each[:1] for each in setup.test.tensors))
    verdict = setup.study(test=one, controls=LABELS).verdict
    assert "So few test examples cannot show any difference." in verdict


def test_equal_arms_are_called_equal(setup):
    study = setup.study(arms={"same": tl.HardLabels()}, controls=LABELS)
    assert "is equal in accuracy to the strongest control" in study.verdict
    assert "it includes zero, so no difference is shown" in study.verdict


def test_a_metric_that_is_no_mean_has_the_jackknifes_interval(setup):
    """For the mean of all examples, pseudo-values are the means of the folds."""

    def accuracy(output, labels):
        return (output.argmax(1) == labels).double().mean()

    monitor = tl.Monitor("own", higher_is_better=True)
    study = setup.study(controls=LABELS, metrics={"own": accuracy}, monitor=monitor)
    (found,) = study.results.comparisons
    table = right(study, setup, "soft", (0, 1)) - right(study, setup, "labels", (0, 1))
    assert found.differences == pytest.approx(table.mean(axis=1))
    order = torch.randperm(table.shape[1], generator=torch.Generator().manual_seed(0))
    fold = np.empty(table.shape[1], dtype=int)
    fold[order] = np.arange(table.shape[1]) % 20
    sums = np.stack([np.bincount(fold, row) for row in table])
    sizes = np.bincount(fold)
    less = (table.sum(axis=1, keepdims=True) - sums) / (table.shape[1] - sizes)
    pseudo = table.mean(axis=1, keepdims=True) + 19 * (less.mean(axis=1, keepdims=True) - less)
    assert found.interval.half_width == pytest.approx(paired_interval(pseudo).half_width)


class OnlyCounts:
    """A user's metric of counts, which has no `by_class`."""

    counts, of_counts = MeanIoU().counts, MeanIoU().of_counts
    by_class_of_counts = MeanIoU().by_class_of_counts

    def __call__(self, output, labels):
        return mean_iou(output, labels)


@pytest.mark.parametrize("grouped", [False, True])
def test_a_metric_of_counts_has_the_jackknifes_interval_over_examples_or_groups(setup, grouped):
    count = 300
    test = TensorDataset(*(each[:count] for each in setup.test.tensors))
    labels = test.tensors[1]
    groups = [place // 6 for place in range(count)] if grouped else list(range(count))
    study = setup.study(
        test=test,
        controls=LABELS,
        metrics={"mean IoU": OnlyCounts() if grouped else MeanIoU()},
        monitor=tl.Monitor("mean IoU", higher_is_better=True),
        groups=groups if grouped else None,
    )

    def pseudo_values(arm, seed):
        """Without each unit in turn."""
        output = predict(study.student(arm, seed), test)
        units = [torch.tensor(groups) != each for each in dict.fromkeys(groups)]
        whole = mean_iou(output, labels)
        less = np.array([mean_iou(output[each], labels[each]) for each in units])
        return whole + (len(less) - 1) * (less.mean() - less)

    (found,) = study.results.comparisons
    soft, hard = (
        np.stack([pseudo_values(arm, seed) for seed in (0, 1)]) for arm in ("soft", "labels")
    )
    expected = paired_interval(soft - hard)
    assert found.interval.mean == pytest.approx(expected.mean)
    assert found.interval.half_width == pytest.approx(expected.half_width)
    assert found.over == "seeds and examples"
    assert {each.name for each in study.results.parts} == set(map(str, range(10)))


@pytest.mark.parametrize("grouped", [False, True])
def test_a_metric_of_counts_is_told_by_domain(setup, grouped):
    inputs, labels = (each[:400] for each in setup.test.tensors)
    half = len(labels) // 2
    test = tl.data.domains({
        "first": TensorDataset(inputs[:half], labels[:half]),
        "second": TensorDataset(inputs[half:], labels[half:]),
    })  # fmt: skip
    groups = [place // 6 for place in range(len(labels))]
    study = setup.study(
        test=test,
        controls=LABELS,
        metrics={"mean IoU": MeanIoU()},
        monitor=tl.Monitor("mean IoU", higher_is_better=True),
        groups=groups if grouped else None,
    )
    parts = {each.name: each for each in study.results.parts if each.kind == "domain"}
    assert list(parts) == ["first", "second"]
    assert [each.examples for each in parts.values()] == [half, len(labels) - half]

    def pseudo_values(arm, seed):
        output = predict(study.student(arm, seed), TensorDataset(inputs, labels))[half:]
        units = groups[half:] if grouped else list(range(len(output)))
        keep = [torch.tensor(units) != each for each in dict.fromkeys(units)]
        whole = mean_iou(output, labels[half:])
        less = np.array([mean_iou(output[each], labels[half:][each]) for each in keep])
        return whole + (len(less) - 1) * (less.mean() - less)

    soft, hard = (
        np.stack([pseudo_values(arm, seed) for seed in (0, 1)]) for arm in ("soft", "labels")
    )
    expected = paired_interval(soft - hard, confidence=0.975)
    assert parts["second"].difference == pytest.approx(expected.mean)
    assert parts["second"].interval.half_width == pytest.approx(expected.half_width)
    assert "By domain the difference is lowest in" in study.verdict


def test_any_other_metric_is_told_by_domain_where_the_domain_allows_it(setup):
    inputs, labels = setup.test.tensors
    domains = tl.data.domains({
        "first": TensorDataset(inputs[:100], labels[:100]),
        "all of a class": TensorDataset(inputs[100:][labels[100:] == 4],
                                        labels[100:][labels[100:] == 4]),
        "rest": TensorDataset(inputs[100:], labels[100:]),
    })  # fmt: skip

    def two_classes(output, labels):
        if len(labels.unique()) == 1:
            return torch.tensor(math.nan)
        return (output.argmax(1) == labels).double().mean()

    study = setup.study(
        test=domains,
        controls=LABELS,
        metrics={"own": two_classes},
        monitor=tl.Monitor("own", higher_is_better=True),
        allow_overlap=True,
    )
    parts = {each.name: each for each in study.results.parts}
    assert list(parts) == ["first", "rest"]
    (hard, soft) = (
        np.mean([study.results.arm(arm).trials[seed].domains["first"]["own"] for seed in (0, 1)])
        for arm in ("labels", "soft")
    )
    assert parts["first"].difference == pytest.approx(soft - hard)


def test_a_metric_that_no_part_of_the_data_allows_has_an_interval_over_seeds(setup):
    def needs_all(output, labels):
        if len(labels) < len(setup.test):
            raise tl.DataError("all or nothing")
        return (output.argmax(1) == labels).double().mean() + output.mean()

    monitor = tl.Monitor("own", higher_is_better=True)
    study = setup.study(controls=LABELS, metrics={"own": needs_all}, monitor=monitor)
    (found,) = study.results.comparisons
    assert found.over == "seeds"
    assert found.interval == paired_interval(found.differences)


def test_by_class_and_by_domain_with_corrected_intervals(setup):
    inputs, labels = setup.test.tensors
    half = len(labels) // 2
    test = tl.data.domains({
        "first": TensorDataset(inputs[:half], labels[:half]),
        "second": TensorDataset(inputs[half:], labels[half:]),
    })  # fmt: skip
    study = setup.study(test=test, controls=LABELS)
    table = right(study, setup, "soft", (0, 1)) - right(study, setup, "labels", (0, 1))
    parts = {(each.kind, each.name): each for each in study.results.parts}
    first = parts["domain", "first"]
    assert (first.examples, first.difference) == (half, pytest.approx(table[:, :half].mean()))
    assert first.interval == paired_interval(table[:, :half], resolution=1, confidence=0.975)
    fours = (labels == 4).numpy()
    four = parts["class", "4"]
    assert four.examples == fours.sum()
    expected = paired_interval(table[:, fours], resolution=1, confidence=0.995)
    assert four.interval.low == pytest.approx(expected.low)
    worst = min((each for each in parts.values() if each.kind == "domain"),
                key=lambda each: each.difference)  # fmt: skip
    assert f"By domain the difference is lowest in “{worst.name}”" in study.verdict
    page = render(record_page(study.results))
    assert "Differences by domain" in page
    assert "Differences by class" in page


def test_scores_of_different_units_are_compared_by_their_means():
    """20 examples of one arm are not the 20 folds of another."""
    table = np.random.default_rng(0).random((2, 20))
    of_examples, of_folds = Scores(table, tuple(range(20)), 1.0), Scores(table, (), 0.0)
    found = of_examples - of_folds
    assert (found.table.shape, found.rows, found.resolution) == ((2, 1), (), 0.0)
    assert (of_examples - of_examples).rows == of_examples.rows
    assert (of_folds - of_folds).table.shape == (2, 20)


def test_no_number_of_seeds_shows_a_difference_that_rare_classes_may_hide():
    scorer = SimpleNamespace(monitor=SimpleNamespace(higher=True))
    differences = Differences(scorer, None)  # pyright: ignore[reportArgumentType]
    table = np.array([[0.05], [0.054], [0.058]])
    assert differences.comparison("a", "b", Scores(table, (), 0.0)).seeds_needed == 2
    hidden = differences.comparison("a", "b", Scores(table, (), 0.0, ((0.25, 1),)))
    assert (hidden.resolution, hidden.seeds_needed) == (0.25, None)


def test_users_metrics_are_computed_without_the_teachers_outputs(setup, monkeypatch):
    """In each fold of the jackknife only what the metric reads is indexed."""
    given, one = [], Scorer.value

    def mine(output, labels):
        return (output.argmax(1) == labels).float().mean()

    monkeypatch.setattr(Scorer, "value", lambda *args: given.append(args[1]) or one(*args))
    monitor = tl.Monitor("mine", higher_is_better=True)
    setup.study(monitor=monitor, metrics={"mine": mine}, controls=LABELS, seeds=1)
    assert given
    assert all(each.teacher is None for each in given)


def test_validation_computes_the_deciding_metric_once_whatever_the_domains(setup):
    calls = []

    def mine(output, labels):
        calls.append(len(labels))
        return (output.argmax(1) == labels).float().mean()

    study = setup.study(
        monitor=tl.Monitor("mine", higher_is_better=True), metrics={"mine": mine}, controls=LABELS,
        val=tl.data.domains({"a": setup.part(300, 400), "b": setup.part(400, 600)}), seeds=1,
    )  # fmt: skip
    calls.clear()
    finished = study.finished
    assert finished.scorer.value_on_val(finished.done["soft"][0]) > 0
    assert calls == [300]


def test_classes_whose_metric_is_not_a_number_are_left_out(setup):
    class OwnByClass:
        """Accuracy, and by class the share that is predicted as it."""

        def __call__(self, output, labels):
            return (output.argmax(1) == labels).double().mean()

        def by_class(self, output, labels, rows):
            shares = (output.argmax(1)[:, None] == torch.arange(10)).double().mean(0)
            return {name: math.nan if name == 3 else float(shares[name]) for name in range(10)}

    monitor = tl.Monitor("own", higher_is_better=True)
    study = setup.study(controls=LABELS, metrics={"own": OwnByClass()}, monitor=monitor)
    parts = [each for each in study.results.parts if each.kind == "class"]
    assert [each.name for each in parts] == [name for name in "0123456789" if name != "3"]
    assert all(math.isfinite(each.difference) for each in parts)


def test_examples_without_a_label_are_left_out(setup):
    inputs, labels = setup.test.tensors
    unknown = labels.clone()
    unknown[::3] = -100
    study = setup.study(test=TensorDataset(inputs, unknown), controls=LABELS)
    (found,) = study.results.comparisons
    table = right(study, setup, "soft", (0, 1)) - right(study, setup, "labels", (0, 1))
    known = (unknown != -100).numpy()
    assert found.interval == paired_interval(table[:, known], resolution=1)


def test_more_of_r2_is_better_and_its_interval_is_its_own():
    """It had the squared errors of `mse`, of which less is better."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(900, 4, generator=generator)
    values = 0.3 * inputs[:, :1] + 0.1 * torch.randn(900, 1, generator=generator)
    train, test = TensorDataset(inputs[:100], values[:100]), TensorDataset(
        inputs[100:], values[100:]
    )  # fmt: skip
    study = tl.study(
        None, lambda: torch.nn.Linear(4, 1), train=train, test=test, monitor="r2", seeds=2,
        arms={"long": tl.Arm(objective=tl.LabelRegression(), epochs=30)}, epochs=3,
        controls={"short": tl.LabelRegression()}, training=tl.Training(engine=QUIET),
        progress=False,
    )  # fmt: skip
    (found,) = study.results.comparisons
    ours, theirs = (study.results.arm(name).values("r2") for name in ("long", "short"))
    assert np.mean(ours) > np.mean(theirs)
    assert found.differences == pytest.approx(np.subtract(ours, theirs), abs=1e-6)
    assert found.interval.mean == pytest.approx(np.mean(found.differences), abs=1e-6)
    assert "better in R²" in study.verdict
    # The difference is (E' − E)/V with errors e and the spread v of labels: linearised, an example
    # adds (e' − e)/V − (E' − E) v/V².
    labels = test.tensors[1].double()
    spread = (labels - labels.mean()).square()[:, 0]
    rows = []
    for seed in (0, 1):
        less, more = (
            (predict(study.student(name, seed), test).double() - labels).square()[:, 0]
            for name in ("long", "short")
        )
        gain = more - less
        rows.append((gain - gain.mean() * (spread / spread.mean() - 1)) / spread.mean())
    expected = paired_interval(torch.stack(rows))
    assert found.interval.half_width == pytest.approx(expected.half_width, rel=0.3)


def test_examples_without_a_label_are_no_class(setup):
    """Though their agreement with the teacher is known."""
    inputs, labels = setup.test.tensors
    unknown = labels.clone()
    unknown[::3] = -100
    test = TensorDataset(inputs, unknown)
    study = setup.study(test=test, controls=LABELS, monitor="agreement", seeds=1)
    assert {each.name for each in study.results.parts} == set(map(str, range(10)))


def test_arms_beside_the_primary_one_are_corrected_for_their_number(setup):
    arms = {f"T = {each}": tl.SoftTargets(each) for each in (1, 2, 4)}
    study = setup.study(arms=arms, controls=LABELS, primary="T = 1", epochs=1)
    hard = right(study, setup, "labels", (0, 1))
    for each in study.results.comparisons:
        table = right(study, setup, each.arm, (0, 1)) - hard
        level = 0.95 if each.arm == "T = 1" else 1 - 0.05 / 2
        assert each.interval == paired_interval(table, resolution=1)
        assert each.corrected == paired_interval(table, resolution=1, confidence=level)
    assert "those of the 2 arms that are not marked for their number" in render(
        record_page(study.results)
    )
