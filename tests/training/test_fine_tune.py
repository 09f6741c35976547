"""Fine-tuning: which parts learn, how fast, and that a kill changes nothing."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import tutelage as tl
from children import PROGRAMS, Child
from fine_tuned import DATA, SGD, moved, net, tuned
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.training.parts import by_part


def test_frozen_parts_stay_buffers_too():
    _, changed = tuned(frozen=["shift", "embed", "body.0"])
    assert changed
    kept = ("shift", "embed.", "body.0.")
    assert not any(name.startswith(kept) for name in changed)
    # A bias before batch norm has no gradient.
    others = {
        name
        for name in net().state_dict()
        if not name.startswith((*kept, "body.1.0.b", "body.2.0.b"))
    }
    assert others <= set(changed)


def test_a_single_path_is_no_list_of_its_letters():
    with pytest.raises(tl.ArgumentError, match=r"write \['10'\]"):
        tl.fine_tune(nn.Linear(4, 3), train=None, epochs=1, frozen="10")


def test_frozen_parts_are_in_eval_mode_and_the_others_are_not():
    model, seen = net(), []
    model.body[0].register_forward_hook(
        lambda module, *_: seen.append(
            (module.training, module[1].training, model.body[1].training)
        )
    )
    tuned(model, frozen=["embed", "body.0"])
    assert set(seen) == {(False, False, True)}


def test_afterwards_each_parameter_is_as_it_was():
    model = net()
    model.embed.bias.requires_grad_(False)
    tuned(model, frozen=["embed", "body.0"])
    assert [name for name, each in model.named_parameters() if not each.requires_grad] == [
        "embed.bias"
    ]
    with pytest.raises(ArgumentError):
        tuned(model, frozen=["embed", "nowhere"])
    assert model.embed.weight.requires_grad


def test_rates_against_groups_written_out():
    ours, theirs = net(), net()
    tl.fine_tune(
        ours,
        train=DATA,
        epochs=3,
        batch_size=40,
        optimizer=SGD,
        lr_factors={"embed": 0.1, "body.2": 0.5},
    )
    embed, last = list(theirs.embed.parameters()), list(theirs.body[2].parameters())
    slow = {id(each) for each in embed + last}
    optimizer = SGD(
        [
            {"params": [each for each in theirs.parameters() if id(each) not in slow]},
            {"params": embed, "lr": 0.01},
            {"params": last, "lr": 0.05},
        ]
    )
    order = tl.data.as_source("train", DATA, 40, seed=0)
    torch.manual_seed(0)
    for epoch in range(3):
        batch = next(order.epoch(epoch))
        optimizer.zero_grad()
        nn.functional.cross_entropy(theirs(batch.inputs), batch.labels).backward()
        optimizer.step()
    for name, each in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], each, msg=name)


def test_layer_decay_falls_from_the_head_to_what_lies_before_the_blocks():
    model = net()
    made = by_part(SGD, model, {}, 0.5, ())
    groups = {group["part"]: group["factor"] for group in made.groups(model.parameters())}
    assert groups == {
        "rest": 1.0, "body.2": 0.5, "body.1": 0.25, "body.0": 0.125, "before body.0": 0.0625,
    }  # fmt: skip
    assert made.groups(model.parameters())[0]["part"] == "rest"
    held = [each for group in made.groups(model.parameters()) for each in group["params"]]
    assert {id(each) for each in held} == {id(each) for each in model.parameters()}
    assert len(held) == len(list(model.parameters()))
    before = next(g for g in made.groups(model.parameters()) if g["part"] == "before body.0")
    assert [id(each) for each in before["params"]] == [
        id(each) for each in [model.shift, *model.embed.parameters()]
    ]


def test_rates_go_before_the_decay():
    model = net()
    made = by_part(SGD, model, {"body.1": 2.0, "shift": 1.0}, 0.5, ["embed"])
    held = [each for each in model.parameters() if not _among(each, model.embed)]
    groups = {group["part"]: group["factor"] for group in made.groups(held)}
    assert groups == {"rest": 1.0, "body.2": 0.5, "body.1": 2.0, "body.0": 0.125, "shift": 1.0}


def _among(parameter, module):
    return any(parameter is each for each in module.parameters())


def test_a_scheduler_moves_all_rates_and_the_log_has_the_full_one():
    seen = []

    def scheduler(optimizer, steps):
        made = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, steps)
        step = made.step

        def watched():
            step()
            seen.append([group["lr"] for group in optimizer.param_groups])

        made.step = watched
        return made

    run, _ = tuned(lr_factors={"embed": 0.1}, scheduler=scheduler, epochs=2)
    assert run.history[-1]["lr"] == pytest.approx(0.05)
    assert all(slow == full for full, slow in seen[-3:])


SCHEDULERS = {
    "OneCycleLR": lambda optimizer, steps: lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.2, total_steps=steps
    ),
    "CosineAnnealingLR": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(
        optimizer, steps, eta_min=0.01
    ),
    "LambdaLR": lambda optimizer, steps: lr_scheduler.LambdaLR(
        optimizer, lambda step: 1 - step / steps
    ),
    "CyclicLR": lambda optimizer, steps: lr_scheduler.CyclicLR(optimizer, 0.01, 0.3, steps // 2),
    "SequentialLR": lambda optimizer, steps: lr_scheduler.SequentialLR(
        optimizer,
        [
            lr_scheduler.ConstantLR(optimizer, 0.5, 2),
            lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=0.02),
        ],
        milestones=[2],
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_moves_all_groups_alike(name):
    """At each step a part's learning rate is its factor times the full one, as the log has it."""
    used, alone = [], []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            used.append({each["part"]: each["lr"] for each in self.param_groups})
            return super().step(closure)

    optimizer = partial(Watched, lr=0.1, momentum=0.9)
    settings = {"scheduler": SCHEDULERS[name], "epochs": 4}
    run, _ = tuned(optimizer=optimizer, lr_factors={"embed": 0.1, "head": 2.0}, **settings)

    def plain(parameters):
        made = SGD(parameters)
        made.register_step_pre_hook(lambda it, *_: alone.append(it.param_groups[0]["lr"]))
        return made

    fitted = tl.fit(net(), train=DATA, batch_size=20, optimizer=plain, **settings)
    assert [each["rest"] for each in used] == alone
    assert len(set(alone)) > 1
    for each in used:
        assert each == {
            "rest": each["rest"], "embed": each["rest"] * 0.1, "head": each["rest"] * 2.0
        }  # fmt: skip
    assert [each["lr"] for each in run.history] == [each["lr"] for each in fitted.history]


def test_by_default_it_is_slower_than_fit():
    run, _ = tuned(optimizer=None)
    assert run.history[0]["lr"] == 1e-4


def test_without_parts_it_is_fit():
    tuned_model, fitted = net(), net()
    settings = {"train": DATA, "epochs": 2, "optimizer": SGD}
    tl.fine_tune(tuned_model, **settings)
    tl.fit(fitted, **settings)
    assert not moved(tuned_model.state_dict(), fitted.state_dict())


def test_transforms_objectives_and_validation_as_in_fit(tmp_path):
    run, _ = tuned(
        val=DATA,
        objective=tl.HardLabels(smoothing=0.1),
        transform=tl.data.Mixup(),
        lr_factors={"body": 0.5},
        frozen=["embed"],
        out=tmp_path,
    )
    assert 0 <= run.history[0]["val/accuracy"] <= 1
    assert "Mixup" in run.settings["transform"]


class TestTheFolderOfARun:
    @pytest.mark.parametrize(
        "other",
        [
            {"lr_factors": {"body.0": 0.5}},
            {"lr_factors": {"body.1": 0.25}},
            {"frozen": ["body.1"]},
            {"frozen": ["body.0"]},
            {"layer_decay": 0.9},
            {},
        ],
        ids=str,
    )
    def test_other_parts_make_another_run(self, other, tmp_path):
        """`body.0` and `body.1` are of one size, and still not the same."""
        for first in ({"lr_factors": {"body.1": 0.5}}, {"frozen": ["body.2"]}):
            out = tmp_path / next(iter(first))
            tuned(out=out, **first)
            with pytest.raises(RunFolderError, match="differs in"):
                tuned(out=out, **other)

    def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(self, tmp_path):
        """Killed in the write of a checkpoint, after some steps; then the same call again."""
        for name, death in (("whole", 0), ("killed", 6), ("killed", 0)):
            program, errors = PROGRAMS / "killed_fine_tuning.py", tmp_path / "errors"
            code = Child(program, (tmp_path / name, death), errors).wait()
            assert code == (-9 if death else 0), errors.read_text()
        whole, killed = (
            torch.load(tmp_path / name / "last.pt", weights_only=True)
            for name in ("whole", "killed")
        )
        assert not moved(whole["distiller"], killed["distiller"])
        for place, state in whole["optimizer"]["state"].items():
            found = killed["optimizer"]["state"][place]["momentum_buffer"]
            assert torch.equal(found, state["momentum_buffer"])
        assert whole["optimizer"]["param_groups"] == killed["optimizer"]["param_groups"]
