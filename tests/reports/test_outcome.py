"""The section of results: means over seeds and their intervals."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from tutelage.evaluation import Interval, mean_interval
from tutelage.reports.report import record_page
from tutelage.reports.sections.outcome import (
    arms_drawn,
    heading,
    left_out,
    mean_text,
    outcome_sections,
    parts_sections,
    spread,
)
from tutelage.reports.verdict import better, ends, verdict
from tutelage.results.record import (
    ArmRecord,
    Comparison,
    DecidingMetric,
    PartDifference,
    Record,
    TrialRecord,
)

ACCURACY, ERROR = DecidingMetric("accuracy", True, True), DecidingMetric("mse", False)


def arm(*values: float) -> ArmRecord:
    return cast("ArmRecord", SimpleNamespace(intervals={}, values=lambda _name: list(values)))


def test_the_interval_of_a_metric_without_one_over_examples_is_over_seeds() -> None:
    assert spread(arm(0.5, 0.7, 0.6), "f1") == mean_interval([0.5, 0.7, 0.6])


@pytest.mark.parametrize(
    "values", [(0.5, 0.5), (0.5, math.nan), (math.nan, math.nan), (0.5, math.inf)]
)
def test_values_that_are_equal_or_not_finite_have_no_interval(values: tuple[float, ...]) -> None:
    assert spread(arm(*values), "f1") is None


def study(metric: DecidingMetric, *values: tuple[float, ...]) -> Record:
    """A study of a teacher, a control and an arm with these values, and another metric."""
    names = ("teacher", "labels", "soft")
    teacher, control, soft = (
        ArmRecord(name, tuple(TrialRecord(metrics={metric.name: each, "r2": 0.5}) for each in some))
        for name, some in zip(names, values, strict=True)
    )
    sign = 1 if metric.higher else -1
    pairs = zip(soft.values(metric.name), control.values(metric.name), strict=True)
    differences = tuple(sign * (ours - theirs) for ours, theirs in pairs)
    interval = mean_interval(differences)
    control = ArmRecord("labels", control.trials, is_control=True)
    [theirs] = teacher.values(metric.name)
    to_teacher = tuple(sign * (each - theirs) for each in soft.values(metric.name))
    return Record(
        "Study", metric, (control, soft), "soft", {}, {"test": 100}, {"tutelage": "0"},
        teacher=teacher, seeds=tuple(range(len(differences))), chosen_by="was named beforehand",
        comparisons=(Comparison("soft", "labels", differences, interval, interval, "seeds"),),
        against_teacher=(Comparison("soft", "teacher", to_teacher),),
    )  # fmt: skip


def test_differences_are_better_or_worse_whatever_the_metrics_direction() -> None:
    lower = study(ERROR, (0.1,), (0.5, 0.6, 0.7), (0.3, 0.5, 0.4))
    assert "is 0.200 better in mean squared error than the strongest control" in verdict(lower)
    assert "It is 0.300 worse than its teacher's 0.100." in verdict(lower)
    higher = study(ACCURACY, (0.9,), (0.5, 0.6, 0.7), (0.5, 0.4, 0.6))
    assert "is 10.0 points worse in accuracy than the strongest control" in verdict(higher)
    assert better(0.0, ACCURACY) == "equal"


def test_a_number_in_large_type_stands_beside_its_interval() -> None:
    page = record_page(study(ACCURACY, (0.9,), (0.5, 0.6, 0.7), (0.5, 0.7, 0.6)))
    ours, theirs, *_ = page.highlights
    assert ours.value == "equal"
    assert ours.label.startswith("in accuracy, against “labels” (95 % interval −")
    assert (theirs.value, theirs.label) == ("30.0 points worse", "in accuracy, against the teacher")


def test_an_interval_that_holds_everything_is_left_out_and_none_exceeds_what_is_possible() -> None:
    wide = study(ACCURACY, (0.9,), (0.1, 0.9), (0.2, 0.9))
    assert mean_text(wide, wide.arm("soft"), "accuracy") == "55.00"
    sections = outcome_sections(wide)
    sentence = left_out(wide, "accuracy")
    assert sentence == " An interval that is too wide to tell anything is left out."
    assert sentence in getattr(sections[0], "table").note  # noqa: B009
    narrow = study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.51))
    assert left_out(narrow, "r2") == ""
    assert mean_text(narrow, narrow.arm("soft"), "accuracy") == "50.50 ± 6.35"
    assert ends(Interval(0.2, -2.5, 3.0), ACCURACY) == "−100.0 to +100.0"
    assert ends(Interval(0.2, -2.5, 3.0), ERROR) == "−2.50 to +3.00"


def test_other_metrics_stand_in_a_table_of_their_own() -> None:
    results, others, *_ = outcome_sections(study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.7)))
    assert results is not None
    assert results.table is not None
    assert others is not None
    assert others.table is not None
    assert [each[:2] for each in results.table.columns[1:]] == [
        ("Accuracy", "% ± 95 %"),
        ("Difference", "against “labels”"),
        ("95 % interval", "of the difference"),
    ]
    assert others.table.cells == [[name, "0.500"] for name in ("teacher", "labels", "soft")]


def test_intervals_of_classes_that_tell_nothing_are_left_out() -> None:
    record = study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.7))
    parts = (
        PartDifference("class", "0", 9, -0.1, Interval(-0.1, -1.0, 1.0)),
        PartDifference("class", "1", 9, 0.1, Interval(0.1, -0.1, 0.3)),
    )
    [section] = filter(None, parts_sections(Record(**{**vars(record), "parts": parts})))
    assert section.table is not None
    assert [row[-1] for row in section.table.cells] == ["–", "−10.0 to +30.0"]
    assert "“–” marks one that is too wide" in section.table.note


COST = DecidingMetric("cost", False)


@pytest.mark.parametrize(
    ("metric", "resolution", "expected"),
    [
        (ACCURACY, 1.2, "So few test examples cannot show any difference."),
        (ACCURACY, 0.02, "So few test examples cannot show a difference below 2.0 points."),
        (ACCURACY, 0.001, ""),
        (COST, 15.0, ""),  # in its own unit, beside a difference of 100
        (COST, 120.0, "So few test examples cannot show a difference below 120."),
        (COST, 0.0, ""),
    ],
)
def test_what_few_examples_cannot_show_is_in_the_metrics_own_unit(
    metric: DecidingMetric, resolution: float, expected: str
) -> None:
    scale = 1 if metric.is_fraction else 1000
    values = (
        [scale * each for each in some] for some in ((0.9,), (0.5, 0.6, 0.7), (0.4, 0.5, 0.6))
    )
    record = study(metric, *map(tuple, values))
    comparisons = (replace(record.comparisons[0], resolution=resolution),)
    words = verdict(replace(record, comparisons=comparisons))
    assert expected in words
    assert ("So few test examples" in words) == bool(expected)


def test_each_note_says_where_intervals_are_left_out() -> None:
    """Of other metrics, and of the lines over a number."""
    record = study(ACCURACY, (0.9,), (0.1, 0.9), (0.2, 0.9))
    arms = tuple(
        replace(arm, series="line", at=float(place), trials=tuple(
            replace(each, metrics=each.metrics | {"f1_macro": each.metrics["accuracy"]})
            for each in arm.trials
        ))
        for place, arm in enumerate(record.arms)
    )  # fmt: skip
    _, others, _, lines = outcome_sections(replace(record, arms=arms))
    assert others is not None
    assert others.table is not None
    assert others.table.note.endswith("is left out.")
    assert lines is not None
    assert lines.figures[0].caption.endswith("is left out.")


def test_a_metric_of_the_user_has_no_unit_of_a_standard_one_with_its_name() -> None:
    record = replace(study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.7)), fractions=("accuracy",))
    assert heading(record, "accuracy") == "Accuracy\n%"
    assert heading(record, "f1") == "F1"  # whose values are no per cents here
    assert heading(replace(record, fractions=("f1",)), "f1") == "F1\n%"
    assert heading(record, "mse") == "Mean squared error"


def test_figures_of_many_arms_show_the_primary_one_and_its_control() -> None:
    record = study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.7))
    labels, soft = record.arms
    others = [replace(soft, name=f"arm {number}") for number in range(12)]
    record = replace(record, arms=(*others[:6], labels, *others[6:], soft), comparisons=())
    found, caption = arms_drawn(record)
    assert found == [*others[:6], labels, *others[6:8], soft]
    assert caption == " Not drawn: 4 further arms."
    uncertainty = next(
        each for each in outcome_sections(record) if each and each.heading == "Uncertainty"
    )
    assert uncertainty.figures[0].caption.endswith(caption)
    assert arms_drawn(replace(record, arms=(labels, soft))) == ([labels, soft], "")


def test_names_of_users_are_columns_of_their_own() -> None:
    """Also where one is the name of a column of ours, or two are equal but for a line."""
    own = {"model": 0.1, "steps": 0.2, "top 5": 0.3, "top_5": 0.4}
    record = study(DecidingMetric("seeds", False), (0.9,), (0.5, 0.6), (0.5, 0.7))
    arms = tuple(
        replace(arm, trials=tuple(
            replace(each, steps=7, metrics=each.metrics | own) for each in arm.trials
        ))
        for arm in record.arms
    )  # fmt: skip
    _, others, *_ = outcome_sections(replace(record, arms=arms))
    assert others is not None
    assert others.table is not None
    heads = [each.name for each in others.table.columns]
    assert heads[-4:] == ["Model", "Steps", "Top 5", "Top 5"]
    assert [row[0] for row in others.table.cells] == ["teacher", "labels", "soft"]
    assert others.table.cells[-1][-4:] == ["0.100", "0.200", "0.300", "0.400"]


def test_an_arm_named_domain_has_a_column_beside_that_of_domains() -> None:
    record = study(ACCURACY, (0.9,), (0.5, 0.6), (0.5, 0.7))
    arms = tuple(
        replace(arm, name={"labels": "Domain"}.get(arm.name, arm.name), trials=tuple(
            replace(each, domains={"news": {"accuracy": 0.5}}) for each in arm.trials
        ))
        for arm in record.arms
    )  # fmt: skip
    record = replace(record, arms=arms, comparisons=())
    found = next(each for each in parts_sections(record) if each is not None)
    assert found.table is not None
    heads = [each.name for each in found.table.columns]
    assert heads == ["Domain", "teacher", "Domain", "soft"]
    assert [row[0] for row in found.table.cells] == ["news", "All"]
