"""The demo is fair, repeatable, and leaves nothing behind but what it says."""

from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits

import tutelage as tl
from tutelage.demo import DemoSettings, demo_settings, demo_study, run, run_demo
from tutelage.demo.digits import BATCH_SIZE, digits, draw, labelled_set, mixed_set, train_teacher
from tutelage.demo.run import ALL_LABELS, DISTILLED, LABELLED, MORE_IMAGES

CONTROL = "labels"
ARMS = (CONTROL, DISTILLED, MORE_IMAGES)
CONTROLS = (CONTROL, "smoothed labels", "labels, same data as distilled, more images")


@pytest.fixture(scope="module")
def content():
    return digits()


@pytest.fixture(scope="module")
def teacher(content, settings):
    return train_teacher(content, settings.teacher_epochs)


@pytest.fixture(scope="module")
def study(teacher, content, settings):
    return demo_study(teacher, content, settings)


@pytest.fixture(scope="module")
def plan(study):
    return study.finished.plan


def state(module):
    return torch.cat([each.flatten() for each in module.state_dict().values()])


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


def test_another_seed_draws_other_images_and_weights(content, plan):
    first, second = (draw(content.train_labels, 200, seed).labelled for seed in (0, 1))
    assert not torch.equal(first.sort()[0], second.sort()[0])
    arm = plan.arms[CONTROL]
    assert not torch.equal(state(plan.first_student(arm, 0)), state(plan.first_student(arm, 1)))


def test_the_arms_share_labels_and_only_the_last_has_more_images(content, plan):
    few, same, many = (plan.train_data(plan.arms[name], 1).tensors for name in ARMS)
    drawn = draw(content.train_labels, 200, 1).labelled
    for data in (few, same):
        assert torch.equal(data[0], content.train_images[drawn])
        assert torch.equal(data[1], content.train_labels[drawn])
    assert torch.equal(many[0][:200], few[0])
    assert torch.equal(many[1][:200], few[1])
    assert (many[1][200:] == -100).all()
    assert len(many[1]) == 1200


def test_one_arm_learns_from_the_labels_that_the_teacher_saw(content, plan):
    images, labels = plan.train_data(plan.arms[ALL_LABELS], 1).tensors
    assert torch.equal(images, content.train_images)
    assert torch.equal(labels, content.train_labels)


def test_labels_of_the_other_images_never_reach_a_student(content):
    images = draw(content.train_labels, 200, 0)
    rubbish = content.train_labels.clone()
    rubbish[images.unlabelled] = 7
    spoilt = replace(content, train_labels=rubbish)
    for made in (labelled_set, mixed_set):
        pairs = zip(made(content, images).tensors, made(spoilt, images).tensors, strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


def test_the_test_images_decide_nothing(content, teacher, study, settings):
    spoilt = replace(
        content, test_images=content.test_images.flip(0), test_labels=content.test_labels.flip(0)
    )
    other = demo_study(teacher, spoilt, settings)
    for name in ARMS:
        assert torch.equal(state(study.student(name, 1)), state(other.student(name, 1)))


def test_all_arms_begin_alike_and_take_as_many_steps(study, plan):
    found = [
        plan.settings(arm, 1, plan.train_data(arm, 1)) | {"epochs": 0} for arm in plan.arms.values()
    ]
    assert len(found) == 6
    assert all(each == found[0] for each in found)
    starts = [state(plan.first_student(arm, 1)) for arm in plan.arms.values()]
    assert all(torch.equal(starts[0], each) for each in starts)
    assert {trial.steps for arm in study.results.arms for trial in arm.trials} == {24}
    assert len({state(study.student(name, 1)).sum().item() for name in ARMS}) == 3


def test_the_controls_are_those_of_every_study_and_learn_from_labels_alone(plan, settings):
    assert plan.controls == CONTROLS
    for name in (*CONTROLS, ALL_LABELS):
        assert not plan.reading(plan.arms[name]).wants.teacher
    for name in (DISTILLED, MORE_IMAGES):
        assert repr(plan.reading(plan.arms[name])) == repr(settings.objective())


def test_the_same_settings_give_the_same_accuracies(results, study):
    again = study.results
    for ours, theirs in zip(again.arms, results.arms, strict=True):
        assert ours.values("accuracy") == theirs.values("accuracy")
        assert ours.similarity == theirs.similarity
    assert again.teacher.metrics == results.teacher.metrics


def test_the_verdict_speaks_of_the_arm_with_more_images(results):
    assert tuple(arm.name for arm in results.arms) == (
        *CONTROLS, DISTILLED, MORE_IMAGES, ALL_LABELS,
    )  # fmt: skip
    assert tuple(arm.name for arm in results.controls) == CONTROLS
    assert results.primary == MORE_IMAGES
    assert {each.arm for each in results.comparisons} == {DISTILLED, MORE_IMAGES, ALL_LABELS}
    assert results.examples == {"test": 597}


def test_the_demo_uses_one_thread_and_leaves_the_number_as_it_was(results, settings, monkeypatch):
    seen = []

    def watched(*_, **__):
        seen.append(torch.get_num_threads())
        raise RuntimeError("far enough")

    monkeypatch.setattr(run, "train_teacher", watched)
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError, match="far enough"):
            run_demo(settings)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)
    assert results.versions["threads"] == "1"


@pytest.mark.parametrize("quick", [False, True])
def test_steps_are_whole_passes_for_all_arms(content, quick):
    settings = demo_settings(quick=quick)
    for examples in (LABELLED, len(content.train_labels)):
        batches, rest = divmod(examples, BATCH_SIZE)
        assert (rest, settings.steps % batches) == (0, 0)


@pytest.mark.parametrize("seeds", [1, 0, -3])
def test_one_seed_leaves_no_interval(seeds):
    with pytest.raises(tl.ArgumentError, match="`seeds` must be at least 2"):
        demo_settings(seeds=seeds)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_the_temperature_is_checked_by_soft_targets(temperature):
    with pytest.raises(tl.ArgumentError, match="`temperature` must be"):
        demo_settings(temperature=temperature)


def test_the_temperature_reaches_the_objective_and_the_command(settings):
    warm = replace(settings, temperature=2.5)
    assert "temperature=2.5" in repr(warm.objective())
    assert warm.command() == "tutelage demo --seeds 2 --temperature 2.5"
    assert DemoSettings(quick=True).command().endswith(" --temperature 4 --quick")
