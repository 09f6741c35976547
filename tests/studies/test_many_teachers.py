"""Studies with several teachers: by domain, and of some of the classes."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.teachers import Ensemble, Specialist

QUIET = tl.Engine(device="cpu", progress=False)
CLASSES = {"low": [0, 1], "high": [3, 2]}


def data(seed, rows=40):
    generator = torch.Generator().manual_seed(seed)
    sets = {}
    for name, part in CLASSES.items():
        labels = torch.tensor(part * (rows // 2))
        inputs = torch.randn(rows, 5, generator=generator)
        inputs[torch.arange(rows), labels] += 3
        sets[name] = TensorDataset(inputs, labels)
    return tl.data.domains(sets)


def net(columns):
    with torch.random.fork_rng():
        torch.manual_seed(columns)
        return nn.Linear(5, columns)


def study(teacher, out, **changes):
    options = {
        "train": data(0),
        "val": data(1),
        "test": data(2),
        "arms": {"soft": tl.SoftTargets(2)},
        "controls": {"labels": tl.HardLabels()},
        "seeds": 2,
        "epochs": 2,
        "training": tl.Training(engine=QUIET),
        "progress": False,
        "out": out,
    }
    return tl.study(teacher, lambda: nn.Linear(5, 4), **(options | changes))


def test_teachers_of_some_classes_have_only_a_cost_and_their_students_have_metrics(tmp_path):
    teacher = {name: Specialist(net(3), part) for name, part in CLASSES.items()}
    done = study(teacher, tmp_path)
    assert done.results.teacher is None
    assert done.results.arm("soft").values("accuracy")
    assert set(done.results.arm("soft").trials[0].domains) == set(CLASSES)
    model = done.results.models["teacher"]
    assert model.cost.parameters == 2 * 18
    assert [each.batch_size for each in model.latencies] == [1, 80]
    assert done.report(tmp_path / "page.html").exists()


def test_teachers_by_domain_have_figures_and_a_time(tmp_path):
    done = study({name: net(4) for name in CLASSES}, tmp_path)
    assert set(done.results.teacher.trials[0].domains) == set(CLASSES)
    model = done.results.models["teacher"]
    assert [each.batch_size for each in model.latencies] == [1, 80]
    assert model.cost.parameters == 2 * 24
    assert model.cost.flops == 2 * 5 * 4  # an input runs through one of them
    assert model.untimed == model.uncounted == ""
    assert done.results.models["teacher"].name == "2 teachers together"
    assert 0 <= done.results.arm("soft").values("agreement")[0] <= 1
    assert done.report(tmp_path / "page.html").exists()


def test_the_same_examples_of_other_domains_are_asked_of_other_teachers(tmp_path):
    teacher = {"low": net(4), "high": nn.Linear(5, 4)}
    test = tl.data.domains(dict(zip(("high", "low"), data(2).sets.values(), strict=True)))
    first = study(teacher, tmp_path / "kept", seeds=1)
    again = study(teacher, tmp_path / "kept", seeds=1, test=test)
    fresh = study(teacher, tmp_path / "fresh", seeds=1, test=test)
    assert again.results.teacher.metrics == fresh.results.teacher.metrics
    assert again.results.arm("soft").values("kl") == fresh.results.arm("soft").values("kl")
    assert again.results.arm("soft").values("kl") != first.results.arm("soft").values("kl")


@pytest.mark.parametrize("several", [list, Ensemble])
def test_an_ensemble_is_timed_as_one_teacher(tmp_path, several):
    done = study(several([net(4), nn.Linear(5, 4)]), tmp_path, seeds=1)
    assert done.results.models["teacher"].latencies
    assert done.results.teacher.metrics["accuracy"] > 0


def test_an_arm_may_have_teachers_of_its_own(tmp_path):
    arms = {
        "one": tl.SoftTargets(2),
        "routed": tl.Arm(objective=tl.SoftTargets(2), teacher={name: net(4) for name in CLASSES}),
    }
    done = study(net(4), tmp_path, arms=arms, seeds=1)
    # Both domains have the very teacher that the study has; its sums depend on the rows of a call.
    for figure in ("accuracy", "kl"):
        one, routed = (done.results.arm(name).values(figure) for name in arms)
        assert one == pytest.approx(routed, rel=1e-5)


def test_a_store_is_compared_on_a_sample_of_the_training_data(tmp_path, monkeypatch):
    monkeypatch.setattr("tutelage.tasks.Classes.fidelity_sample", 7)
    sets, model = [data(seed) for seed in range(3)], net(4)
    stores = [
        tl.label(model, each, out=tmp_path / f"store{k}", dtype="float32")
        for k, each in enumerate(sets)
    ]
    found = [
        study(teacher, tmp_path / str(k), seeds=1).results.arm("soft").trials[0].train
        for k, teacher in enumerate((model, tl.teachers.Stored(*stores)))
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert found[0]["kl"] > 0
