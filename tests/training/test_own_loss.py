"""Students that learn by their own loss, through `distill` and `fit`."""

import signal
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

import tutelage as tl
from boxes import Boxes, Finder, overlap, per_example
from children import PROGRAMS, Child, start_two

PROGRAM = PROGRAMS / "own_loss.py"
QUIET = tl.Engine(device="cpu", progress=False)
SGD = partial(torch.optim.SGD, lr=0.01)


def as_torchvision_collates(examples):
    return tuple(zip(*examples, strict=True))


def fit(model, **changes):
    good = {
        "train": Boxes(),
        "objective": tl.OwnLoss(),
        "epochs": 2,
        "batch_size": 4,
        "optimizer": SGD,
        "engine": QUIET,
    }
    return tl.fit(model, **(good | changes))


def by_hand(model, batches):
    """One epoch in plain code."""
    optimizer = SGD(model.parameters())
    model.train()
    for batch in batches:
        images, targets = zip(*batch, strict=True)
        loss = sum(model(list(images), targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def equal(one, other, tolerance=1e-6):
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=0, atol=tolerance)


def test_the_weights_are_those_of_a_plain_loop():
    examples, model = list(Boxes()), Finder()
    loader = DataLoader(Boxes(), 4, collate_fn=as_torchvision_collates)
    fit(model, train=loader, epochs=1)
    equal(by_hand(Finder(), [examples[:4], examples[4:8], examples[8:]]), model)


def test_a_data_set_needs_no_collate_function():
    model, other = Finder(), Finder()
    fit(model, train=Subset(Boxes(), [3]), epochs=3)
    fit(other, train=DataLoader(Boxes(4), 4, collate_fn=lambda each: each[3:] and ([each[3][0]],
        [each[3][1]])), epochs=3)  # fmt: skip
    equal(model, other, 0)


@pytest.mark.parametrize("objective", [tl.OwnLoss(), tl.OwnLoss(per_example)], ids=repr)
def test_accumulated_batches_equal_one_large_batch(objective):
    """This loss is a mean over examples; the batches are of 4, 4 and 2."""
    large, small = Finder(), Finder()
    fit(large, batch_size=10, objective=objective)
    fit(
        small,
        train=DataLoader(Boxes(), 4, collate_fn=as_torchvision_collates),
        objective=objective,
        engine=tl.Engine(device="cpu", progress=False, accumulation=3),
    )
    equal(large, small)


def test_a_scalar_that_is_no_mean_over_examples_is_weighed_by_their_number():
    """A mean over tokens: accumulated, batches count by examples and not by tokens."""
    length = torch.tensor([1.0, 5.0, 3.0])

    def token_mean(student, batch):
        return (student(batch.inputs).squeeze(1) * batch.labels).sum() / batch.labels.sum()

    data = torch.utils.data.TensorDataset(torch.tensor([[1.0], [2.0], [4.0]]), length)
    model = nn.Linear(1, 1, bias=False)
    before = model.weight.item()
    fit(
        model,
        train=DataLoader(data, 2),
        objective=tl.OwnLoss(token_mean),
        epochs=1,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        engine=tl.Engine(device="cpu", progress=False, accumulation=2),
    )
    first, second = (1 * 1 + 5 * 2) / 6, 4.0  # the gradients of both batches
    assert before - model.weight.item() == pytest.approx((2 * first + 1 * second) / 3)


def test_parts_are_weighed_and_logged_under_their_names():
    parts = tl.OwnLoss(part="corner") + 3 * tl.OwnLoss(part="extent")
    model = Finder()
    [record] = fit(model, epochs=1, objective=parts, batch_size=10, val=Boxes()).history
    expected = record["train/corner"] + 3 * record["train/extent"]
    assert record["train/loss"] == pytest.approx(expected)
    assert model.calls[2:] == ["loss", "boxes", "loss"]  # before, one batch is tried


def test_layers_of_a_teacher_that_sees_images_alone():
    """The student runs once for its loss and its layer, and the teacher not to its end."""
    teacher, student = Finder(6, seed=1), Finder(4, seed=2)
    run = tl.distill(
        teacher,
        student,
        train=Boxes(),
        objective=tl.OwnLoss() + tl.FeatureMatch({"neck": "neck"}),
        epochs=1,
        batch_size=10,
        optimizer=SGD,
        engine=QUIET,
    )
    assert run.history[0]["train/feature_match"] > 0
    assert student.calls == ["boxes", "loss", "loss"]  # two in the dry run, in eval mode
    assert set(teacher.calls) == {"boxes"}


def test_validation_gives_the_loss_and_metrics_of_detections():
    model = Finder()
    run = fit(model, epochs=1, val=Boxes(5), metrics={"overlap": overlap}, monitor="loss")
    images, targets = zip(*Boxes(5), strict=True)
    boxes = model(list(images))
    assert run.history[0]["val/overlap"] == pytest.approx(overlap(boxes, list(targets)).item())
    model.train()
    assert run.history[0]["val/loss"] == pytest.approx(
        sum(model(list(images), targets).values()).item()
    )


def test_best_epoch_early_stopping_and_report(tmp_path):
    run = fit(Finder(), val=Boxes(5), epochs=3, monitor=tl.Monitor("loss", patience=1))
    assert run.report(tmp_path / "report.html").exists()


def test_a_report_of_a_run_with_metrics_and_teacher(tmp_path):
    run = tl.distill(
        Finder(seed=1),
        Finder(),
        train=Boxes(),
        val=Boxes(5),
        objective=tl.OwnLoss() + tl.FeatureMatch({"neck": "neck"}),
        epochs=1,
        metrics={"overlap": overlap},
        monitor=tl.Monitor("overlap", higher_is_better=True),
        engine=QUIET,
    )
    assert run.report(tmp_path / "report.html").exists()
    page = (tmp_path / "report.md").read_text()
    assert "ms" in page
    assert "Not measured" not in page


def test_with_bfloat16():
    run = fit(Finder(), engine=tl.Engine(device="cpu", precision="bf16", progress=False))
    assert run.history[-1]["train/loss"] > 0


def test_a_loss_that_is_not_finite_is_named():
    def diverging(student, batch):
        return per_example(student, batch) * torch.inf

    with pytest.raises(tl.NonFiniteError, match="own_loss"):
        fit(Finder(), objective=tl.OwnLoss(diverging))


def test_wrong_boxes_are_named():
    class Wrong(Boxes):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            return image, target | {"boxes": target["boxes"].flip(1)}

    with pytest.raises(tl.ModelError, match=r"the student \(Finder\).*targets.*positive width"):
        fit(Finder(), train=Wrong())


def test_objectives_on_labels_refuse_boxes():
    with pytest.raises(tl.DataError, match=r"tensor of labels to .* as a tensor"):
        fit(Finder(), objective=tl.OwnLoss() + tl.HardLabels())


def test_objectives_on_outputs_refuse_detectors():
    with pytest.raises(tl.ModelError, match=r"compared must return a tensor.*tl.OwnLoss"):
        tl.distill(
            Finder(seed=1),
            Finder(),
            train=Boxes(),
            objective=tl.OwnLoss() + tl.SoftTargets(),
            epochs=1,
            engine=QUIET,
        )


def test_mixed_examples_are_refused():
    inputs, labels = torch.randn(8, 3), torch.arange(8) % 2
    with pytest.raises(tl.DataError, match="got mixed examples with two labels"):
        fit(
            nn.Linear(3, 2),
            train=torch.utils.data.TensorDataset(inputs, labels),
            objective=tl.OwnLoss(
                lambda student, batch: nn.functional.cross_entropy(
                    student(batch.inputs), batch.labels
                )
            ),
            transform=tl.data.Mixup(),
        )


def test_another_function_is_another_run(tmp_path):
    def other(student, batch):
        return 2 * per_example(student, batch)

    first = fit(Finder(), objective=tl.OwnLoss(per_example), out=tmp_path / "run")
    again = fit(Finder(), objective=tl.OwnLoss(per_example), out=tmp_path / "run")
    assert first.history == again.history
    with pytest.raises(tl.RunFolderError):
        fit(Finder(), objective=tl.OwnLoss(other), out=tmp_path / "run")


@pytest.mark.parametrize("stage", [0 * tl.OwnLoss() + tl.FeatureMatch({"neck": "neck"})], ids=repr)
def test_a_stage_on_layers_alone(stage):
    """Detectors do not run in training without targets: a term of weight zero gives them."""
    stages = [tl.Stage(stage, epochs=1, name="layers"), tl.Stage(tl.OwnLoss(), epochs=1)]
    run = tl.distill(
        Finder(6, seed=1),
        Finder(),
        train=Boxes(),
        val=Boxes(4),
        stages=stages,
        engine=QUIET,
        metrics={"overlap": overlap},
        monitor=tl.Monitor("overlap", higher_is_better=True),
    )
    layers, loss = run.history
    assert "val/overlap" not in layers
    assert "val/overlap" in loss


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an uninterrupted run learns, in one process."""
    return carried_out(tmp_path_factory.mktemp("whole"), "run")


def carried_out(folder, out="", *, step=0):
    weights, errors = folder / f"{step}{out}.pt", folder / "errors"
    out = str(folder / out) if out else ""
    child = Child(PROGRAM, (weights, out, step), errors)
    if step:
        assert child.wait() == -signal.SIGKILL
        return None
    child.finish()
    return torch.load(weights, weights_only=True)


def same(found, expected, tolerance):
    for name, tensor in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], tensor, rtol=0, atol=tolerance)
    for first, second in zip(expected["history"], found["history"], strict=True):
        known = {key: value for key, value in first.items() if key != "seconds"}
        assert {key: second[key] for key in known} == pytest.approx(known, abs=tolerance)


@pytest.mark.parametrize("step", [1, 3])
def test_killed_and_resumed_it_is_the_same_run(step, whole, tmp_path):
    """With dropout, accumulation and batches of four and one."""
    carried_out(tmp_path, "run", step=step)
    same(carried_out(tmp_path, "run"), whole, 0)


def test_two_processes_equal_one(tmp_path):
    alone = carried_out(tmp_path)
    weights = tmp_path / "two.pt"
    for child in start_two(PROGRAM, (weights, "", 0), tmp_path / "two.errors"):
        child.finish()
    same(torch.load(weights, weights_only=True), alone, 1e-5)
