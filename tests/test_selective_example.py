"""An objective that adapts to validation results, as `examples/selective.py` writes it."""

import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

import tutelage as tl

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "selective.py"))
Selective = EXAMPLE["Selective"]


def settings():
    torch.manual_seed(0)
    rule = torch.randn(3, 4)
    data = {name: EXAMPLE["two_domains"](rule) for name in ("train", "val")}
    student = nn.Linear(5, 3)
    return {
        "teacher": EXAMPLE["HalfKnowing"](rule), "student": student, **data, "epochs": 4,
        "batch_size": 16, "objective": tl.HardLabels() + 2 * Selective(1),
        "optimizer": partial(torch.optim.SGD, lr=0.2, momentum=0.9),
    }  # fmt: skip


def test_it_helps_where_the_teacher_does_not_know():
    result = EXAMPLE["main"]()
    assert result["selective"] > result["always"] + 0.1


def test_the_lead_closes_domains_and_opens_them_again():
    soft, x = Selective(2), torch.zeros(4, 2)
    batch = tl.Batch(x, torch.tensor([0, 1, 0, 1]), domain=["a", "b", "a", "b"])
    student, teacher = (tl.Signals(5 * torch.eye(2)[each]) for each in ([0, 0, 0, 0], [0, 1, 1, 1]))
    leads = soft.validation_metrics(student, teacher, batch)
    assert leads == {"lead/a": 0.5, "lead/b": -1.0}
    plain = tl.SoftTargets(2)(student, teacher, batch)
    assert torch.equal(soft(student, teacher, batch), plain)
    soft.update(leads)
    assert torch.equal(soft(student, teacher, batch), plain * torch.tensor([0.0, 1, 0, 1]))
    soft.update({"lead/a": -0.1, "accuracy": 1.0})
    assert soft.closed == frozenset()


def test_a_resumed_run_keeps_the_closed_domains(tmp_path):
    whole = tl.distill(**settings())
    assert whole.objective.terms()[1].objective.closed == {"strange"}
    broken, steps = settings(), iter(range(20))  # it fails in the third epoch

    def fail(module, _):
        if module.training and next(steps, None) is None:
            raise OSError("the machine is on fire")

    handle = broken["student"].register_forward_pre_hook(fail)
    engine = tl.Engine(checkpoint_seconds=0)
    with pytest.raises(tl.ModelError, match="the machine is on fire"):
        tl.distill(**broken, out=tmp_path, engine=engine)
    handle.remove()
    again = tl.distill(**settings(), out=tmp_path, engine=engine)
    for name, tensor in whole.student.state_dict().items():
        assert torch.equal(again.student.state_dict()[name], tensor)
    assert "lead/strange" in again.history[-1] or "val/lead/strange" in again.history[-1]


def test_without_validation_data_it_is_refused():
    with pytest.raises(tl.ArgumentError, match="on validation data, got no `val`; give `val`"):
        tl.distill(**settings() | {"val": None})
