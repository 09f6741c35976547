"""The demo is fair, repeatable, and says what it found."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from sklearn.datasets import load_digits

import tutelage as tl
from tutelage.demo import DemoSettings, demo_settings, experiment, run_demo
from tutelage.demo.data import digits, draw, labelled_set, mixed_set
from tutelage.demo.train import first_student, train_students, train_teacher

SHARED = ("optimizer", "scheduler", "seed")
SHORT = DemoSettings(seeds=2, steps=24, teacher_epochs=1, latency_seconds=0.02)


@pytest.fixture(scope="module")
def content():
    return digits()


@pytest.fixture(scope="module")
def teacher(content):
    return train_teacher(content, SHORT)


@pytest.fixture(scope="module")
def results():
    return run_demo(SHORT)


def state(run):
    return torch.cat([each.flatten() for each in run.student.state_dict().values()])


def test_every_image_is_in_one_part_only(content):
    assert len(content.train_images) == 1200
    assert len(content.test_images) == 597
    whole = torch.cat([content.train_images, content.test_images]).flatten(1)
    assert len(whole.unique(dim=0)) == len(distinct_images())
    again = digits()
    assert torch.equal(again.test_images, content.test_images)


def distinct_images():
    return torch.tensor(load_digits().data).unique(dim=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_draw_divides_the_training_images_by_digit(content, seed):
    images = draw(content.train_labels, 200, seed)
    both = torch.cat([images.labelled, images.unlabelled])
    assert sorted(both.tolist()) == list(range(1200))
    counts = content.train_labels[images.labelled].bincount()
    share = content.train_labels.bincount() / 6
    assert (counts - share).abs().max() < 1


def test_another_seed_draws_other_images_and_weights(content):
    first, second = (draw(content.train_labels, 200, seed).labelled for seed in (0, 1))
    assert not torch.equal(first.sort()[0], second.sort()[0])
    assert not torch.equal(first_student(0)[0].weight, first_student(1)[0].weight)


def test_the_arms_share_labels_and_only_the_last_has_more_images(content):
    images = draw(content.train_labels, 200, 0)
    few, many = labelled_set(content, images), mixed_set(content, images)
    inputs, labels = many.tensors
    assert torch.equal(inputs[:200], few.tensors[0])
    assert torch.equal(labels[:200], few.tensors[1])
    assert (labels[200:] == -100).all()
    assert len(labels) == 1200


def test_labels_of_the_other_images_never_reach_a_student(content, teacher):
    images = draw(content.train_labels, 200, 0)
    rubbish = content.train_labels.clone()
    rubbish[images.unlabelled] = 7
    spoilt = replace(content, train_labels=rubbish, test_labels=content.test_labels * 0)
    for key, run in train_students(teacher, content, images, 0, SHORT).items():
        other = train_students(teacher, spoilt, images, 0, SHORT)[key]
        assert torch.equal(state(run), state(other)), key


def test_all_arms_begin_alike_and_take_as_many_steps(content, teacher, monkeypatch):
    starts = []

    def watched(train):
        def call(*models, **options):
            weights = torch.cat([each.flatten() for each in models[-1].parameters()]).clone()
            starts.append((weights, *(options[name] for name in SHARED)))
            return train(*models, **options)

        return call

    monkeypatch.setattr("tutelage.demo.train.fit", watched(tl.fit))
    monkeypatch.setattr("tutelage.demo.train.distill", watched(tl.distill))
    images = draw(content.train_labels, 200, 3)
    runs = train_students(teacher, content, images, 3, SHORT)
    assert len(starts) == len(runs) == 3
    for weights, optimizer, scheduler, seed in starts:
        assert torch.equal(weights, starts[0][0])
        assert (optimizer.func, optimizer.keywords) == (
            starts[0][1].func,
            starts[0][1].keywords,
        )
        assert (scheduler, seed) == (starts[0][2], starts[0][3])
    assert {run.history[-1]["step"] for run in runs.values()} == {24}
    assert len({state(run).sum().item() for run in runs.values()}) == 3


def test_the_same_settings_give_the_same_accuracies(results):
    again = run_demo(SHORT)
    assert [arm.accuracies for arm in again.arms] == [arm.accuracies for arm in results.arms]
    assert again.teacher.accuracy == results.teacher.accuracy
    assert again.resemblance == results.resemblance


def test_results_are_plain_data_that_agree_with_each_other(results):
    record = json.loads(json.dumps(asdict(results)))
    control, few, more = record["arms"]
    assert [len(arm["accuracies"]) for arm in (control, few, more)] == [2, 2, 2]
    for arm, comparison in zip((few, more), record["comparisons"], strict=True):
        assert comparison["key"] == arm["key"]
        assert comparison["interval"]["mean"] == pytest.approx(
            arm["accuracy"]["mean"] - control["accuracy"]["mean"]
        )
    assert record["images"] == {"train": 1200, "labelled": 200, "unlabelled": 1000, "test": 597}
    assert "hard_labels" in control["histories"][0]["losses"]
    assert "soft_targets" not in control["histories"][0]["losses"]
    for matrix in (results.resemblance.teacher, results.resemblance.student):
        assert torch.tensor(matrix).sum(dim=1).tolist() == pytest.approx([1.0] * 10, abs=1e-5)


def test_the_demo_uses_one_thread_and_leaves_the_number_as_it_was(monkeypatch):
    monkeypatch.setattr(experiment, "_carry_out", lambda *_: torch.get_num_threads())
    torch.set_num_threads(2)
    assert run_demo(SHORT) == 1
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.parametrize("quick", [False, True])
def test_steps_are_whole_passes_for_all_arms(quick):
    settings = demo_settings(quick=quick)
    assert settings.epochs(200) * 4 == settings.epochs(1200) * 24 == settings.steps


@pytest.mark.parametrize("seeds", [1, 0, -3])
def test_one_seed_leaves_no_interval(seeds):
    with pytest.raises(tl.ArgumentError, match="`seeds` must be at least 2"):
        demo_settings(seeds=seeds)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_the_temperature_is_checked_by_soft_targets(temperature):
    with pytest.raises(tl.ArgumentError, match="`temperature` must be"):
        demo_settings(temperature=temperature)


def test_steps_that_are_no_whole_passes_are_refused():
    with pytest.raises(tl.ArgumentError, match="multiple of 24"):
        DemoSettings(steps=25).epochs(1200)
