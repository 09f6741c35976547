"""What is claimed of an arm by chance alone: no more often than an interval of 95 % allows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.reports.verdict import outcome, verdict
from tutelage.results.record import ArmRecord, DecidingMetric, Record, TrialRecord
from tutelage.studies.differences import Differences, Scores
from tutelage.tasks import TASKS, Outputs

SEEDS, EXAMPLES, STUDIES = 5, 200, 600
ACCURACY = DecidingMetric("accuracy", True, True)


def scores(draw, arms):
    """Return right answers `[arms, seeds, examples]` of arms that are equal in truth."""
    easy = draw.normal(1.0, 1.0, EXAMPLES)
    trained = draw.normal(0, 0.3, (arms, SEEDS, EXAMPLES)) + draw.normal(0, 0.15, (arms, SEEDS, 1))
    return (easy + trained > draw.normal(0, 0.7, (arms, SEEDS, EXAMPLES))).astype(float)


def record_of(right):
    """Return the record of a study whose first arm is the primary one, the others controls."""
    scorer = SimpleNamespace(monitor=SimpleNamespace(higher=True))
    differences = Differences(scorer, None)  # pyright: ignore[reportArgumentType]
    tables = [Scores(each, tuple(range(EXAMPLES)), 1.0) for each in right]
    names = ["arm", *(f"control {number}" for number in range(1, len(right)))]
    arms = tuple(
        ArmRecord(
            name,
            tuple(TrialRecord(metrics={"accuracy": each.mean()}) for each in own),
            is_control=name != "arm",
        )
        for name, own in zip(names, right, strict=True)
    )
    comparisons = tuple(
        differences.comparison("arm", name, tables[0] - each, controls=len(right) - 1)
        for name, each in zip(names[1:], tables[1:], strict=True)
    )
    return Record(
        "t", ACCURACY, arms, "arm", {}, {"test": EXAMPLES}, {}, seeds=tuple(range(SEEDS)),
        comparisons=comparisons,
    )  # fmt: skip


def test_equal_arms_are_called_worse_in_no_more_than_a_fortieth_of_studies(monkeypatch):
    """The strongest control is selected by the same examples; uncorrected it is 11 % of studies."""
    monkeypatch.setattr("tutelage.studies.differences.seeds_needed", lambda *_, **__: None)  # slow
    controls = 8
    draw = np.random.default_rng(controls)
    found = [record_of(scores(draw, 1 + controls)) for _ in range(STUDIES)]
    worse = sum("distillation made it worse" in verdict(each) for each in found)
    gains = sum(outcome(each) == "gain" for each in found)
    noise = 3 * np.sqrt(0.025 * 0.975 / STUDIES)
    assert worse / STUDIES <= 0.025 + noise
    assert gains / STUDIES <= 0.025 + noise
    assert worse == sum(outcome(each) == "loss" for each in found)


def test_an_arm_that_is_worse_is_still_called_so():
    right = scores(np.random.default_rng(0), 4)
    right[0] *= np.random.default_rng(1).random(right[0].shape) > 0.2
    found = record_of(right)
    assert outcome(found) == "loss"
    assert "the upper end corrected for 3 controls: distillation made it worse" in verdict(found)


# Macro F1, no mean over examples: of classes of 85, 10, 3 and 2 % the arms may tie on the rarest.

SHARES = (0.85, 0.1, 0.03, 0.02)


def macro_f1(output, labels):
    found = torch.bincount(labels * 4 + output.argmax(1), minlength=16).reshape(4, 4).double()
    sizes = found.sum(0) + found.sum(1)
    return (2 * found.diagonal() / sizes)[sizes > 0].mean()


def judge():
    """Return what computes macro F1 in a study."""
    return SimpleNamespace(
        monitor=SimpleNamespace(name="own", higher=True),
        plan=SimpleNamespace(metrics={"own": macro_f1}, task=TASKS["classes"]),
        counted={},
        value=lambda outputs: macro_f1(outputs.student, outputs.labels).item(),
    )


def compared(labels, first, second):
    """Return the comparison of the second of two arms with the first."""
    differences = Differences(judge(), None)  # pyright: ignore[reportArgumentType]
    one, other = (
        differences.scores([Outputs(each, None, labels) for each in logits])
        for logits in (first, second)
    )
    return differences.comparison("second", "first", other - one)


def two_arms(draw, examples, seeds):
    """Return labels and logits `[arms, seeds, …]`; the second arm knows the rarest class better."""
    labels = draw.choice(4, examples, p=SHARES)
    skill = np.array([[2.0, 1.0, 0.0, -0.3], [2.0, 1.0, 0.0, 1.0]])[:, labels][:, None]
    noise = draw.normal(0, 0.15, (2, seeds, examples)) + draw.normal(0, 0.05, (2, seeds, 1))
    right = draw.normal(0, 1, examples) + noise + skill > 0
    other = np.where(labels == 0, 1 + draw.integers(0, 3, examples), 0)
    logits = torch.eye(4)[torch.tensor(np.where(right, labels, other))]
    return torch.tensor(labels), logits


@pytest.mark.parametrize("examples", [20, 60])
def test_macro_f1_on_few_examples_claims_nothing_that_rare_classes_may_hide(examples, monkeypatch):
    """Without a floor its intervals covered the truth in 77 to 86 % of studies."""
    monkeypatch.setattr("tutelage.studies.differences.seeds_needed", lambda *_, **__: None)  # slow
    draw = np.random.default_rng(examples)
    labels, (ours, theirs) = two_arms(draw, 200_000, 1)
    truth = (macro_f1(theirs[0], labels) - macro_f1(ours[0], labels)).item()
    studies, covered, gains = 150, 0, 0
    for _ in range(studies):
        labels, (first, second) = two_arms(draw, examples, 2)
        found = compared(labels, first, second).corrected
        assert found is not None  # also where the arms tie
        covered += found.low <= truth <= found.high
        gains += found.low > truth
    assert covered / studies >= 0.93
    assert gains / studies <= 0.05


def test_of_a_frequent_class_nothing_more_is_hidden():
    """There the jackknife tells the spread: the floor is a fraction of a point."""
    labels, (first, second) = two_arms(np.random.default_rng(0), 5000, 1)
    labels[labels > 1] = 1
    found = compared(labels, first, second)
    assert found.resolution < 0.5 * found.interval.half_width < 0.005


@pytest.mark.parametrize("monitor", ["f1_macro", "average_precision"])
def test_a_verdict_says_what_so_few_true_labels_cannot_show(monitor):
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(340, 6, generator=draw)
    labels = (inputs[:, :3] > torch.tensor([0.0, 1.0, 1.6])).long()
    study = tl.study(
        None, lambda: torch.nn.Linear(6, 3), train=TensorDataset(inputs[:300], labels[:300]),
        test=TensorDataset(inputs[300:], labels[300:]), epochs=2, seeds=2, monitor=monitor,
        arms={"long": tl.Arm(objective=tl.BinaryLabels(), epochs=20)},
        controls={"short": tl.BinaryLabels()}, progress=False,
        training=tl.Training(engine=tl.Engine(device="cpu", progress=False)),
    )  # fmt: skip
    (found,) = study.results.comparisons
    assert 0 < int(labels[300:].sum(dim=0).min()) < 5
    assert found.resolution > 0.05
    assert found.interval.half_width >= found.resolution
    assert "So few test examples cannot show a difference below" in study.verdict
