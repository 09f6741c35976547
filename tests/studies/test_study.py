import gc
import math
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)
from torchmetrics.classification import MulticlassF1Score

import tutelage as tl
from tutelage.evaluation import accuracy, paired_interval, predict

QUIET = tl.Engine(device="cpu", progress=False)


def weights(model):
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def first_weights(setup, seed):
    torch.manual_seed(seed)
    return setup.make()


def test_an_arm_is_what_distill_gives_with_that_seed(setup):
    study = setup.study(seeds=[3, 5])
    student = first_weights(setup, 5)
    alone = tl.distill(
        setup.teacher, student, train=setup.train, objective=tl.SoftTargets(4), epochs=2, seed=5,
        engine=QUIET,
    )  # fmt: skip
    assert torch.equal(weights(study.student("soft", 5)), weights(alone.student))
    figures = study.results.arm("soft").trials[1].metrics
    labels = setup.test.tensors[1]
    assert figures["accuracy"] == accuracy(predict(alone.student, setup.test), labels)


def test_a_control_is_what_fit_gives_with_that_seed(setup):
    study = setup.study()
    for name, objective in (
        ("labels", tl.HardLabels()),
        ("smoothed labels", tl.HardLabels(smoothing=0.1)),
    ):
        alone = tl.fit(
            first_weights(setup, 1), train=setup.train, objective=objective, epochs=2, seed=1,
            engine=QUIET,
        )  # fmt: skip
        assert torch.equal(weights(study.student(name, 1)), weights(alone.student))


def test_arms_of_a_seed_are_paired(setup):
    study = setup.study(arms={"one": tl.SoftTargets(4), "other": tl.SoftTargets(4)}, controls={})
    assert study.results.arm("one").values("kl") == study.results.arm("other").values("kl")
    assert torch.equal(weights(study.student("one", 0)), weights(study.student("other", 0)))
    assert not torch.equal(weights(study.student("one", 0)), weights(study.student("one", 1)))


def test_a_loader_with_a_generator_pairs_the_arms_too(setup):
    loader = DataLoader(setup.train, 64, shuffle=True, generator=torch.Generator())
    study = setup.study(
        train=loader, arms={"one": tl.SoftTargets(4), "other": tl.SoftTargets(4)}, controls={}
    )
    for seed in (0, 1):
        one, other = (study.student(name, seed) for name in ("one", "other"))
        assert torch.equal(weights(one), weights(other))


def test_the_global_random_state_is_left_as_it_was(setup):
    torch.manual_seed(7)
    np.random.seed(7)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(7)
    np.random.seed(7)
    setup.study(arms={"own": lambda trial: trial.student}, seeds=1)
    assert (torch.rand(1), np.random.rand()) == expected


def test_a_function_is_an_arm(setup):
    seen = []

    def own(trial):
        seen.append(trial)
        return tl.distill(
            trial.teacher, trial.student, train=trial.train, objective=tl.SoftTargets(4),
            **trial.settings,
        ).student  # fmt: skip

    study = setup.study(arms={"own": own, "soft": tl.SoftTargets(4)})
    assert [trial.seed for trial in seen[:2]] == [0, 1]
    assert seen[0].out != seen[1].out
    ours, theirs = (study.results.arm(name).values("kl") for name in ("own", "soft"))
    assert ours == theirs


def test_a_function_must_return_a_module(setup):
    with pytest.raises(tl.ModelError, match=r"arm 'own' must return a trained torch\.nn\.Module"):
        setup.study(arms={"own": lambda _: None})


def test_the_differences_are_those_of_the_seeds(setup):
    study = setup.study(seeds=4, controls={"labels": tl.HardLabels()})
    results = study.results
    (found,) = results.comparisons
    soft, labels = (results.arm(name).values("accuracy") for name in ("soft", "labels"))
    assert found.differences == pytest.approx(np.subtract(soft, labels))
    right = {
        name: np.stack(
            [
                (predict(study.student(name, seed), setup.test).argmax(1) == setup.test.tensors[1])
                for seed in range(4)
            ]
        ).astype(float)
        for name in ("soft", "labels")
    }
    table = right["soft"] - right["labels"]
    assert found.interval == paired_interval(table, resolution=1)
    assert found.over == "seeds and examples"
    assert results.arm("soft").intervals["accuracy"] == paired_interval(right["soft"], resolution=1)


def test_not_inferior_only_within_the_margin(setup):
    for margin, shown in ((np.float32(1.0), True), (0.0, False)):
        results = setup.study(
            seeds=3, epochs=1, controls={"labels": tl.HardLabels()}, margin=margin
        ).results
        found = next(each for each in results.against_teacher if each.arm == "soft")
        assert found.non_inferiority.shown is shown
        teacher = results.teacher.metrics["accuracy"]
        ours = results.arm("soft").values("accuracy")
        assert found.differences == pytest.approx(np.subtract(ours, teacher))


def test_steps_are_equal_where_arms_have_other_data(setup):
    half = setup.part(0, 150)
    study = setup.study(
        arms={"half": tl.Arm(objective=tl.SoftTargets(4), train=half), "soft": tl.SoftTargets(4)},
        epochs=6, training=tl.Training(batch_size=50), seeds=1,
    )  # fmt: skip
    assert {arm.trials[0].steps for arm in study.results.arms} == {36}


def test_steps_are_equal_where_an_arm_accumulates(setup):
    twice = tl.Engine(device="cpu", progress=False, accumulation=2)
    arms = {"twice": tl.Arm(objective=tl.SoftTargets(4), engine=twice)}
    study = setup.study(arms=arms, epochs=2, training=tl.Training(batch_size=50), seeds=1)
    assert {arm.trials[0].steps for arm in study.results.arms} == {12}


def test_steps_in_place_of_epochs(setup):
    study = setup.study(epochs=None, training=tl.Training(steps=12, batch_size=50), seeds=1)
    assert {arm.trials[0].steps for arm in study.results.arms} == {12}


def test_data_may_depend_on_the_seed(setup):
    def draw(_seed):
        rows = torch.randperm(300)[:100]
        return TensorDataset(*(each[rows] for each in setup.part(0, 300).tensors))

    study = setup.study(train=draw, training=tl.Training(steps=10, batch_size=20), epochs=None)
    torch.manual_seed(1)
    alone = tl.distill(
        setup.teacher, first_weights(setup, 1), train=_seeded(draw, 1), epochs=2, batch_size=20,
        objective=tl.SoftTargets(4), seed=1, engine=QUIET,
    )  # fmt: skip
    assert torch.equal(weights(study.student("soft", 1)), weights(alone.student))


def _seeded(draw, seed):
    torch.manual_seed(seed)
    return draw(seed)


def test_a_module_as_student_begins_each_trial(setup):
    start = setup.make()
    before = weights(start).clone()
    study = tl.study(
        setup.teacher, start, train=setup.train, test=setup.test, arms={"own": _untouched},
        controls={}, seeds=2, epochs=1,
        training=tl.Training(engine=QUIET), progress=False,
    )  # fmt: skip
    assert torch.equal(weights(study.student("own", 0)), before)
    assert torch.equal(weights(study.student("own", 1)), before)
    assert study.student("own", 0) is not start


def _untouched(trial):
    return trial.student


class Tagged(Dataset):
    """Examples with the domain that they belong to."""

    def __init__(self, tensors):
        self.inputs, self.labels = tensors

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, place):
        domain = "even" if self.labels[place] % 2 == 0 else "odd"
        return {"input": self.inputs[place], "labels": self.labels[place], "domain": domain}


def test_figures_for_each_domain(setup):
    study = setup.study(test=Tagged(setup.test.tensors), seeds=1)
    for arm in study.results.arms:
        output = predict(study.student(arm.name), setup.test)
        labels = setup.test.tensors[1]
        even = labels % 2 == 0
        found = {name: each["accuracy"] for name, each in arm.trials[0].domains.items()}
        assert found == pytest.approx(
            {"even": accuracy(output[even], labels[even]),
             "odd": accuracy(output[~even], labels[~even])}
        )  # fmt: skip


def test_metrics_of_ones_own_decide(setup):
    def recall(output, labels):
        right = output.argmax(dim=1) == labels
        return sum(right[labels == each].double().mean().item() for each in range(10)) / 10

    study = setup.study(
        metrics={"recall": recall, "f1": MulticlassF1Score(10)},
        monitor=tl.Monitor("recall", higher_is_better=True),
    )
    figures = study.results.arm("soft").trials[0].metrics
    labels = setup.test.tensors[1]
    output = predict(study.student("soft", 0), setup.test)
    assert figures["recall"] == recall(output, labels)
    assert 0 < figures["f1"] < 1
    assert not study.results.is_fraction("f1")  # it does not say so, and may have another range
    assert study.results.metric.name == "recall"
    for found in study.results.comparisons:
        arms = [study.results.arm(name).values("recall") for name in (found.arm, found.other)]
        assert found.differences == pytest.approx(np.subtract(*arms))
        assert found.interval.low < np.mean(found.differences) < found.interval.high


def test_regression_is_judged_by_its_error():
    torch.manual_seed(0)
    inputs = torch.randn(400, 5)
    values = inputs[:, :1].sin() + 0.1 * torch.randn(400, 1)
    teacher = nn.Sequential(nn.Linear(5, 64), nn.Tanh(), nn.Linear(64, 1))
    train, test = TensorDataset(inputs[:300], values[:300]), TensorDataset(
        inputs[300:], values[300:]
    )  # fmt: skip
    tl.fit(teacher, train=train, epochs=30, objective=tl.LabelRegression(), engine=QUIET)
    study = tl.study(
        teacher, lambda: nn.Linear(5, 1), train=train, test=test,
        arms={"taught": tl.OutputRegression()}, seeds=2, epochs=3,
        training=tl.Training(engine=QUIET), progress=False,
    )  # fmt: skip
    results = study.results
    assert results.metric.name == "mse"
    assert [arm.name for arm in results.arms] == ["labels", "taught"]
    (found,) = results.comparisons
    ours, control = (results.arm(name).values("mse") for name in ("taught", "labels"))
    assert found.differences == pytest.approx(np.subtract(control, ours))  # less error is a gain
    assert found.interval.mean == pytest.approx(np.mean(found.differences))
    outputs = {name: [predict(study.student(name, seed), test) for seed in (0, 1)]
               for name in ("taught", "labels")}  # fmt: skip
    errors = {name: torch.stack([(each - values[300:]).square()[:, 0] for each in found])
              for name, found in outputs.items()}  # fmt: skip
    expected = paired_interval((errors["labels"] - errors["taught"]).double())
    assert found.interval.half_width == pytest.approx(expected.half_width, rel=1e-4)
    assert results.arm("taught").residuals


def test_without_a_teacher(setup):
    study = tl.study(
        None, setup.make, train=setup.train, test=setup.test, arms={"smooth": tl.HardLabels(0.2)},
        controls={"labels": tl.HardLabels()}, seeds=2, epochs=1,
        training=tl.Training(engine=QUIET), progress=False,
    )  # fmt: skip
    assert study.results.teacher is None
    assert study.results.against_teacher == ()
    assert "strongest control" in study.verdict


def test_a_teacher_that_is_no_module(setup):
    teacher = tl.teachers.Predictor(
        lambda inputs: setup.teacher(torch.as_tensor(inputs)).detach().numpy()
    )
    study = tl.study(
        teacher, setup.make, train=setup.train, test=setup.test, arms={"soft": tl.SoftTargets(4)},
        seeds=1, epochs=1,
        training=tl.Training(engine=QUIET), progress=False,
    )  # fmt: skip
    teacher = study.results.models["teacher"]
    assert teacher.cost is None
    assert [each.batch_size for each in teacher.latencies] == [1, 256]
    assert "as long for one input" in study.verdict
    assert "parameters" not in study.verdict
    assert study.results.teacher.metrics["accuracy"] > 0.8


def test_without_labels_the_likeness_to_the_teacher_decides(setup):
    unlabelled = TensorDataset(setup.test.tensors[0])
    study = setup.study(test=unlabelled, seeds=1)
    assert study.results.metric.name == "agreement"


def test_figures_of_fidelity_and_calibration(setup):
    study = setup.study(val=setup.val, seeds=1)
    trial = study.results.arm("soft").trials[0]
    theirs, ours = (predict(each, setup.test) for each in (setup.teacher, study.student("soft")))
    p, q = theirs.double().log_softmax(1), ours.double().log_softmax(1)
    assert trial.metrics["kl"] == pytest.approx((p.exp() * (p - q)).sum(1).mean().item(), rel=1e-5)
    labels = setup.test.tensors[1]
    assert trial.calibration.nll == pytest.approx(
        nn.functional.cross_entropy(ours.double(), labels).item(), rel=1e-5
    )
    assert trial.calibration.temperature > 0
    assert set(trial.train) == {"agreement", "kl"}


def test_fidelity_on_training_data_is_that_of_the_examples_of_a_loader(setup):
    some, whole = setup.part(600, 700), setup.part(600)
    loader = DataLoader(whole, 64, sampler=SubsetRandomSampler(range(100)))
    study = setup.study(train=loader, test=setup.val, seeds=1, controls={})
    ours, theirs = (predict(each, some).argmax(1) for each in (study.student(), setup.teacher))
    found = study.results.arm("soft").trials[0].train["agreement"]
    assert found == pytest.approx((ours == theirs).double().mean().item())


def test_data_made_for_each_seed_are_not_kept(setup):
    made = weakref.WeakSet()

    def train(seed):
        data = setup.part(100 * seed, 100 * seed + 100)
        made.add(data)
        return data

    study = setup.study(train=train, epochs=1)
    gc.collect()
    assert study.results.arm("soft").trials[0].steps == 2
    assert not made


class Stream(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(self.data)


def test_a_stream_made_for_each_seed_has_the_epochs_of_the_study(setup):
    stream = Stream(setup.part(0, 100))
    one = setup.study(train=stream, epochs=1, seeds=1, controls={})
    other = setup.study(train=lambda _: Stream(stream.data), epochs=1, seeds=1, controls={})
    assert torch.equal(*(weights(each.student("soft", 0)) for each in (one, other)))


def test_the_verdict_is_honest(setup):
    study = setup.study(
        arms={"bad": lambda trial: trial.student}, controls={"labels": tl.HardLabels()}, seeds=4,
        epochs=6, training=tl.Training(optimizer=partial(torch.optim.Adam, lr=0.02)),
    )  # fmt: skip
    assert "worse in accuracy than the strongest control, “labels”" in study.verdict
    assert "distillation made it worse" in study.verdict
    mean = np.mean(study.results.comparisons[0].differences)
    assert f"{abs(100 * mean):.1f} points worse" in study.verdict
    assert not math.isnan(mean)


@pytest.mark.usefixtures("no_compiler")
def test_cheaper_forms_of_the_student_are_measured_too(setup):
    study = setup.study(seeds=1, report=tl.ReportOptions(variants=True))
    results = study.results
    forms = {each.name: each for each in results.models[results.arm("soft").model].variants}
    plain = results.arm("soft").trials[0].metrics["accuracy"]
    assert forms["plain"].metric == pytest.approx(plain)
    for name in ("bf16", "int8", "onnx"):
        assert forms[name].reason == ""
        assert forms[name].metric == pytest.approx(plain, abs=0.02)
        assert [each.batch_size for each in forms[name].latencies] == [1, 256]
