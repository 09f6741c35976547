"""What holds for every objective: the same checks for each of them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from compiling import compilers_warnings
from tutelage import losses, objectives
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import (
    DIST,
    DKD,
    NKD,
    OFA,
    WTTM,
    BoundedRegression,
    Compiled,
    GaussianRegression,
    HardLabels,
    LabelRegression,
    LogitRegression,
    LogitStandardization,
    OutputRegression,
    Selective,
    SoftTargets,
)
from tutelage.objectives._around import Around
from tutelage.objectives._layers import LayerObjective
from tutelage.schedules import Linear
from tutelage.signals import OUTPUT, Batch, Signals, Wants

CLASSES = torch.tensor([0, 3, -100, 1, 2, -100])
VALUES = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
VALUES[1, 2], VALUES[4] = torch.nan, torch.nan

# Each objective with the labels that it reads, and the loss that it should be.
EACH = {
    "hard labels": (HardLabels(0.1), CLASSES, lambda z, _, y: losses.hard_labels(z, y, 0.1)),
    "soft targets": (SoftTargets(3), None, lambda z, v, _: losses.soft_targets(z, v, 3.0)),
    "logits": (LogitRegression(), None, lambda z, v, _: losses.logit_regression(z, v)),
    "plain logits": (
        LogitRegression(center=False),
        None,
        lambda z, v, _: losses.logit_regression(z, v, center=False),
    ),
    "decoupled targets": (
        DKD(0.5, 2, 3),
        CLASSES,
        lambda z, v, y: losses.dkd(z, v, y, 0.5, 2.0, 3.0),
    ),
    "correlation": (
        DIST(0.5, 2, 3),
        None,
        lambda z, v, _: losses.dist(z, v, 0.5, 2.0, 3.0),
    ),
    "standardized targets": (
        LogitStandardization(3),
        None,
        lambda z, v, _: losses.logit_standardization(z, v, 3.0),
    ),
    "selective": (Selective(SoftTargets(3)), None, lambda z, v, _: losses.soft_targets(z, v, 3.0)),
    "transformed targets": (
        WTTM(0.2),
        None,
        lambda z, v, _: losses.wttm(z, v, 0.2),
    ),
    "normalized targets": (
        NKD(2, 3),
        CLASSES,
        lambda z, v, y: losses.nkd(z, v, y, 2.0, 3.0),
    ),
    "heterogeneous targets": (
        OFA(2),
        CLASSES,
        lambda z, v, y: losses.ofa(z, v, y, 2.0),
    ),
    "outputs": (OutputRegression(), None, lambda z, v, _: (z - v).square().mean(dim=1)),
    "outputs, Huber": (
        OutputRegression(huber_delta=0.5),
        None,
        lambda z, v, _: losses.regression(z, v, 0.5),
    ),
    "labels": (
        LabelRegression(),
        VALUES,
        lambda z, _, y: (z - y).square().nanmean(dim=1).nan_to_num(),
    ),
    "labels, Huber": (
        LabelRegression(huber_delta=0.5),
        VALUES,
        lambda z, _, y: losses.regression(z, y, 0.5, ~y.isnan()),
    ),
    "bounded": (
        BoundedRegression(0.1),
        VALUES,
        lambda z, v, y: losses.bounded_regression(z, v, y, 0.1),
    ),
    "gaussian": (GaussianRegression(), None, lambda z, v, _: losses.gaussian_regression(z, v)),
}
EVERY = pytest.mark.parametrize(
    ("objective", "labels"), [each[:2] for each in EACH.values()], ids=EACH
)
EVERY_LOSS = pytest.mark.parametrize(("objective", "labels", "loss"), EACH.values(), ids=EACH)
LEARNS_FROM_TEACHER = [each[0] for each in EACH.values() if each[0].wants.teacher]
# What these ask for is not the teacher's own output; their tests in tests/losses say what it is.
ASKS_FOR_MORE = (WTTM, NKD, OFA)
COPIES_TEACHER = [each for each in LEARNS_FROM_TEACHER if not isinstance(each, ASKS_FOR_MORE)]


def outputs():
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return student, teacher


def value(objective, student, teacher, labels):
    return objective(
        Signals(student), Signals(teacher), Batch(torch.zeros(len(student), 1), labels)
    )


def test_every_objective_is_checked_here():
    """But those on layers: test_each_layer_objective.py says of itself that it has all of them."""
    checked = {type(objective) for objective, _, _ in EACH.values()}
    named = {getattr(objectives, name) for name in objectives.__all__}
    exported = {each for each in named if isinstance(each, type)}
    exported -= {objectives.Objective, objectives.Term, objectives.WeightedSum}
    exported -= {Compiled}  # of which test_compiled.py says more
    assert checked == {each for each in exported if not issubclass(each, LayerObjective)}


@EVERY_LOSS
def test_value_is_the_loss_of_outputs_and_labels(objective, labels, loss):
    student, teacher = outputs()
    ours = value(objective, student, teacher, labels)
    assert ours.shape == (6,)
    torch.testing.assert_close(ours, loss(student, teacher, labels))


@EVERY
def test_gradcheck(objective, labels):
    student, teacher = outputs()
    assert torch.autograd.gradcheck(
        lambda z: value(objective, z, teacher, labels), student.requires_grad_()
    )


@EVERY
def test_follows_a_permutation_of_the_batch(objective, labels):
    student, teacher = outputs()
    rows = torch.tensor([5, 2, 0, 4, 1, 3])
    shuffled = value(
        objective, student[rows], teacher[rows], None if labels is None else labels[rows]
    )
    torch.testing.assert_close(shuffled, value(objective, student, teacher, labels)[rows])


@EVERY
def test_uncounted_examples_cost_nothing(objective, labels):
    student, teacher = outputs()
    counted = objective.counted(Batch(student, labels))
    if counted is None:
        assert not objective.wants.labels
    else:
        assert 0 < counted.sum() < 6
        assert value(objective, student, teacher, labels)[~counted].tolist() == [0.0] * int(
            (~counted).sum()
        )


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(objective, labels, loss, dtype):
    student, teacher = (each.to(dtype) for each in outputs())
    ours = value(objective, student, teacher, labels)
    assert ours.dtype == torch.float32
    expected = loss(student.double(), teacher.double(), labels)
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5)


@EVERY
def test_autocast_changes_nothing(objective, labels):
    student, teacher = (each.float() for each in outputs())
    plain = value(objective, student, teacher, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(value(objective, student, teacher, labels), plain)


@EVERY
def test_the_teacher_gets_no_gradient_and_the_student_does(objective, labels):
    torch.manual_seed(3)
    student, teacher = nn.Linear(5, 4).double(), nn.Linear(5, 4).double()
    batch = Batch(torch.randn(6, 5, dtype=torch.float64), labels)
    Distiller(student, teacher, objective)(batch).total.backward()
    assert all(each.grad is None for each in teacher.parameters())
    assert all(each.grad.abs().sum() > 0 for each in student.parameters())


@compilers_warnings
@pytest.mark.parametrize(
    ("objective", "labels"),
    [each[:2] for each in EACH.values() if not isinstance(each[0], Around)],
    ids=[name for name, each in EACH.items() if not isinstance(each[0], Around)],
)
def test_compiled_it_is_the_same_in_one_graph(objective, labels, monkeypatch):
    torch._dynamo.reset()
    counters.clear()
    # As far as the backend, which turns the graph into a program.
    plainly = partial(torch.compile, backend="aot_eager", fullgraph=True)
    monkeypatch.setattr(torch, "compile", plainly)
    student, teacher = outputs()
    found = []
    for each in (objective, Compiled(objective)):
        values = value(each, student.requires_grad_(), teacher, labels)
        found.append((values, *torch.autograd.grad(values.sum(), student)))
    torch.testing.assert_close(found[1], found[0])
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("objective", COPIES_TEACHER, ids=repr)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(objective):
    _, teacher = outputs()
    labels = CLASSES if isinstance(objective, DKD) else torch.zeros(6, 4).double()
    values = value(objective, teacher, teacher, labels)
    if isinstance(objective, BoundedRegression):
        # Its margin asks for more than equality.
        assert values.min() > 0
        values = value(BoundedRegression(), teacher, teacher, torch.zeros(6, 4).double())
    assert values.abs().max() < 1e-14


@pytest.mark.parametrize("objective", LEARNS_FROM_TEACHER, ids=repr)
def test_other_numbers_of_outputs_are_refused(objective):
    with pytest.raises(
        ModelError, match=r"same number of \w+, got 4 \(student\) and 6 \(teacher\)"
    ):
        value(objective, torch.zeros(6, 4), torch.zeros(6, 6), torch.zeros(6, 4))


@pytest.mark.parametrize(
    "kind",
    [SoftTargets, DKD, DIST, LogitStandardization, NKD],
)
def test_temperature_changes_over_training(kind):
    student, teacher = map(Signals, outputs())
    for progress, temperature in ((0.0, 8.0), (0.5, 5.0), (1.0, 2.0)):
        batch = Batch(torch.zeros(6, 1), CLASSES, progress=progress)
        torch.testing.assert_close(
            kind(temperature=Linear(8, 2))(student, teacher, batch),
            kind(temperature=temperature)(student, teacher, batch),
        )


def test_objectives_that_need_no_teacher_do_not_ask_for_one():
    for objective in (HardLabels(), LabelRegression()):
        assert objective.wants == Wants(student=OUTPUT, labels=True)


@pytest.mark.parametrize(
    "temperature", [0, -1.0, float("nan"), float("inf"), Linear(4, 0), "4", True]
)
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ArgumentError, match=r"`temperature` must be .*, got .*; 1 takes the teach"):
        SoftTargets(temperature)


@pytest.mark.parametrize("temperature", [0, -1.0, Linear(4, 0)])
@pytest.mark.parametrize("kind", [DKD, DIST, LogitStandardization, NKD])
def test_so_it_is_by_the_other_objectives_with_a_temperature(kind, temperature):
    with pytest.raises(ArgumentError, match=r"`temperature` must be positive, got .*; "):
        kind(temperature=temperature)


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (DKD, "alpha"),
        (DKD, "beta"),
        (DIST, "beta"),
        (DIST, "gamma"),
        (NKD, "gamma"),
    ],
)
def test_a_part_with_a_negative_weight_is_refused(kind, name, weight):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be .*, got .*; it weighs the "):
        kind(**{name: weight})


@pytest.mark.parametrize("gamma", [0, -0.5, 1.5, float("nan")])
def test_a_power_outside_0_to_1_is_refused(gamma):
    with pytest.raises(ArgumentError, match=r"`gamma` must .*0.1 to 0.2 is usual"):
        WTTM(gamma)


@pytest.mark.parametrize("epsilon", [0.9, -1, float("inf")])
def test_an_exponent_below_1_is_refused(epsilon):
    with pytest.raises(ArgumentError, match=r"`epsilon` must be .*1 is the plain cross-entropy"):
        OFA(epsilon)


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_a_smoothing_that_is_no_share_is_refused(smoothing):
    with pytest.raises(ArgumentError, match=r"`smoothing` must .*0 leaves the labels"):
        HardLabels(smoothing)


@pytest.mark.parametrize("delta", [0, -1, float("inf")])
@pytest.mark.parametrize("objective", [LabelRegression, OutputRegression])
def test_a_huber_threshold_that_is_not_positive_is_refused(objective, delta):
    with pytest.raises(ArgumentError, match=r"`huber_delta` must be .*None for squares"):
        objective(delta)


@pytest.mark.parametrize("margin", [-1, float("nan")])
def test_a_negative_margin_is_refused(margin):
    with pytest.raises(ArgumentError, match=r"`margin` must be .*0 stops where"):
        BoundedRegression(margin)


def test_reprs_show_what_differs_from_the_defaults():
    assert [repr(objective) for objective, _, _ in EACH.values()] == [
        "HardLabels(smoothing=0.1)",
        "SoftTargets(temperature=3)",
        "LogitRegression()",
        "LogitRegression(center=False)",
        "DKD(alpha=0.5, beta=2, temperature=3)",
        "DIST(beta=0.5, gamma=2, temperature=3)",
        "LogitStandardization(temperature=3)",
        "Selective(SoftTargets(temperature=3), by=by_domain)",
        "WTTM(gamma=0.2)",
        "NKD(gamma=2, temperature=3)",
        "OFA(epsilon=2)",
        "OutputRegression()",
        "OutputRegression(huber_delta=0.5)",
        "LabelRegression()",
        "LabelRegression(huber_delta=0.5)",
        "BoundedRegression(margin=0.1)",
        "GaussianRegression()",
    ]
