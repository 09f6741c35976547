"""Validation figures of each domain alone, in the log, for the monitor and on the page."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.errors import ArgumentError
from tutelage.training.monitor import Monitor

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3
SETS = {"photo": TensorDataset(X[:20], Y[:20]), "sketch": TensorDataset(X[20:], Y[20:])}
BOTH = tl.data.domains(SETS)
FIXED = {"epochs": 2, "batch_size": 8, "optimizer": lambda each: torch.optim.SGD(each, lr=0.1)}


def model():
    torch.manual_seed(0)
    return nn.Linear(4, 3)


def accuracy(student, held):
    x, y = held.tensors
    return (student(x).argmax(1) == y).float().mean().item()


def test_each_domain_has_the_figures_of_its_examples():
    """Against the student asked on each set alone; the shares of the two make up the whole."""
    teacher = model()
    run = tl.distill(
        teacher, nn.Linear(4, 3), train=BOTH, val=BOTH, objective=tl.SoftTargets(2), **FIXED
    )
    best = run.history[run.best_epoch - 1]
    for name, held in SETS.items():
        assert best[f"val/accuracy/{name}"] == pytest.approx(accuracy(run.student, held))
        x, _ = held.tensors
        same = (run.student(x).argmax(1) == teacher(x).argmax(1)).float().mean().item()
        assert best[f"val/agreement/{name}"] == pytest.approx(same)
    whole = (2 * best["val/accuracy/photo"] + best["val/accuracy/sketch"]) / 3
    assert best["val/accuracy"] == pytest.approx(whole)


def test_numbers_for_domains_will_do():
    held = [{"input": x, "labels": y, "domain": torch.tensor(7)} for x, y in SETS["photo"]]
    run = tl.fit(model(), train=SETS["photo"], val=held, **FIXED)
    assert run.history[0]["val/accuracy/7"] == run.history[0]["val/accuracy"]


def test_values_and_metrics_of_ones_own():
    values = {
        name: TensorDataset(held.tensors[0], held.tensors[0][:, :2]) for name, held in SETS.items()
    }
    run = tl.fit(
        nn.Linear(4, 2),
        train=tl.data.domains(values),
        val=tl.data.domains(values),
        objective=tl.LabelRegression(),
        metrics={"largest": lambda output, labels: (output - labels).abs().amax()},
        **FIXED,
    )
    record = run.history[-1]
    parts = [record[f"val/largest/{name}"] for name in SETS]
    assert max(parts) == record["val/largest"]
    assert min(parts) < record["val/largest"]
    assert {"val/mse/photo", "val/r2/photo", "val/mse/sketch"} <= set(record)


def test_what_cannot_be_told_of_a_domain_is_left_out():
    """One without labels, and a metric that needs two classes where there is one."""

    def contrast(output, labels):
        if len(labels.unique()) == 1:
            raise ValueError("Only one class is present")
        return output[labels == 1, 1].mean() - output[labels == 0, 1].mean()

    two = TensorDataset(X[:10], Y[:10] % 2)
    sets = {"both": two, "one": TensorDataset(X[:4], torch.ones(4, dtype=torch.int64))}
    val = tl.data.domains(sets | {"none": tl.data.unlabelled(X[:6])})
    run = tl.fit(model(), train=two, val=val, metrics={"contrast": contrast}, **FIXED)
    record = run.history[0]
    assert {"val/contrast", "val/contrast/both", "val/accuracy/both", "val/accuracy/one"} <= set(
        record
    )
    assert not {"val/contrast/one", "val/accuracy/none"} & set(record)


def test_without_domains_there_are_none():
    run = tl.fit(model(), train=BOTH, val=SETS["photo"], **FIXED)
    assert not [key for key in run.history[0] if key.count("/") > 1]


def test_the_monitor_may_go_by_one_domain():
    run = tl.fit(model(), train=BOTH, val=BOTH, monitor="accuracy/sketch", **FIXED)
    values = [record["val/accuracy/sketch"] for record in run.history]
    assert values[run.best_epoch - 1] == max(values)
    assert Monitor("accuracy/photo").higher
    assert not Monitor("mse/photo").higher
    with pytest.raises(ArgumentError, match="does not know whether higher"):
        Monitor("gain/photo")
    with pytest.raises(ArgumentError, match=r"'accuracy/drawing' must be one of .*accuracy/photo"):
        tl.fit(model(), train=BOTH, val=BOTH, monitor="accuracy/drawing", **FIXED)


def test_the_page_has_a_table_and_curves_of_them(tmp_path):
    run = tl.fit(model(), train=BOTH, val=BOTH, out=tmp_path, **FIXED)
    text = run.report().with_suffix(".md").read_text(encoding="utf-8")
    best = run.history[run.best_epoch - 1]
    table = text.split("## Domain by domain")[1].split("\n\n")
    rows = next(part for part in table if "| photo" in part)
    for name, key in (("photo", "/photo"), ("sketch", "/sketch"), ("All", "")):
        row = next(line for line in rows.splitlines() if name in line)
        assert f"{100 * best[f'val/accuracy{key}']:.2f}" in row
    assert "Accuracy by domain" in run.report().read_text(encoding="utf-8")


def test_without_domains_the_page_has_no_such_table(tmp_path):
    run = tl.fit(model(), train=BOTH, val=SETS["photo"], out=tmp_path, **FIXED)
    assert "by domain" not in run.report().read_text(encoding="utf-8")
