"""Checks that every objective on outputs must pass."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from torch._dynamo.utils import counters

from compiling import compilers_warnings
from objective_samples import CLASSES, Sample, found, gradient
from tutelage import objectives
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import (
    ALM,
    AlignedKL,
    HardLabels,
    LabelRegression,
    LayerObjective,
    Objective,
    OutputObjective,
    OwnLoss,
    RowMean,
)
from tutelage.schedules import Linear
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

EACH = found(Sample)
# On a grid, so that rows and columns either vary plainly or not at all.
SIDES = arrays(np.float64, (6, 4), elements=st.integers(-8, 8).map(lambda k: k / 2))
EVERY = pytest.mark.parametrize(
    ("objective", "labels"), [(each.objective, each.labels) for each in EACH.values()], ids=EACH
)
EVERY_LOSS = pytest.mark.parametrize(
    ("objective", "labels", "loss"),
    [(each.objective, each.labels, each.loss) for each in EACH.values()],
    ids=EACH,
)
OF_CLASSES = {name: each for name, each in EACH.items() if each.objective.output_kind == "classes"}
LEARNS_FROM_TEACHER = [each for each in EACH.values() if each.objective.wants.teacher]
WITH_TEMPERATURE = {
    type(each.objective): None for each in EACH.values() if hasattr(each.objective, "temperature")
}


def outputs():
    generator = torch.Generator().manual_seed(2)
    student, teacher = torch.randn(2, 6, 4, generator=generator, dtype=torch.float64)
    return student, teacher


def value(objective, student, teacher, labels):
    return objective(
        Signals(student), Signals(teacher), Batch(torch.zeros(len(student), 1), labels)
    )


def exported():
    named = {getattr(objectives, name) for name in objectives.__all__}
    classes = {each for each in named if isinstance(each, type) and issubclass(each, Objective)}
    return classes - {Objective, OutputObjective, LayerObjective, objectives.WeightedSum}


def test_every_objective_has_a_sample():
    """Except those on layers, losses, rows and spans, which have test files of their own."""
    checked = {type(each.objective) for each in EACH.values()}
    others = (LayerObjective, OwnLoss, RowMean, ALM, AlignedKL)
    assert checked == {each for each in exported() if not issubclass(each, others)}


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
@given(SIDES, SIDES, st.permutations(range(6)))
def test_follows_a_permutation_of_the_batch(objective, labels, student, teacher, rows):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    moved = None if labels is None else labels[rows]
    torch.testing.assert_close(
        value(objective, student[rows], teacher[rows], moved),
        value(objective, student, teacher, labels)[rows],
    )


@pytest.mark.parametrize("sample", OF_CLASSES.values(), ids=OF_CLASSES)
@given(SIDES, SIDES, st.permutations(range(4)))
def test_ignores_a_permutation_of_the_classes(sample, student, teacher, columns):
    student, teacher, labels = torch.from_numpy(student), torch.from_numpy(teacher), sample.labels
    number = {-100: -100} | {label: column for column, label in enumerate(columns)}
    renamed = None if labels is None else torch.tensor([number[each] for each in labels.tolist()])
    torch.testing.assert_close(
        value(sample.objective, student[:, columns], teacher[:, columns], renamed),
        value(sample.objective, student, teacher, labels),
    )


@pytest.mark.parametrize("sample", OF_CLASSES.values(), ids=OF_CLASSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_give_finite_values_and_gradients(sample, dtype):
    other = [-1e4, 1e4, 1e4, 0.0]
    student = torch.tensor([[1e4, -1e4, 0.0, -1e4], other] * 3, dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4, 0.0, 1e4], other] * 3, dtype=dtype)
    for shift in range(4) if sample.labels is not None else (0,):
        labels = None if sample.labels is None else (torch.arange(6) // 2 + shift) % 4
        values = value(sample.objective, student, teacher, labels)
        assert values.isfinite().all()
        assert gradient(values, student).isfinite().all()


@EVERY
def test_unlabelled_examples_have_no_loss(objective, labels):
    student, teacher = outputs()
    assert objective.wants.labels == (labels is not None)
    if labels is not None:
        labelled = Batch(student, labels).labelled()
        assert 0 < labelled.sum() < 6
        assert (value(objective, student, teacher, labels)[~labelled] == 0).all()


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
@EVERY
def test_compiled_it_is_the_same_in_one_graph(objective, labels):
    torch._dynamo.reset()
    counters.clear()
    # As far as the backend, which turns the graph into a program.
    compiled = torch.compile(objective, backend="aot_eager", fullgraph=True)
    student, teacher = outputs()
    found = []
    for each in (objective, compiled):
        values = value(each, student.requires_grad_(), teacher, labels)
        found.append((values, *torch.autograd.grad(values.sum(), student)))
    torch.testing.assert_close(found[1], found[0])
    assert counters["stats"]["unique_graphs"] == 1


@pytest.mark.parametrize("sample", LEARNS_FROM_TEACHER, ids=lambda each: each.shown)
def test_a_student_that_equals_its_teacher_has_no_gradient(sample):
    _, teacher = outputs()
    if sample.zero_at_equality:
        values = value(sample.objective, teacher, teacher, sample.labels)
        assert values.abs().max() < 1e-14


@pytest.mark.parametrize("sample", LEARNS_FROM_TEACHER, ids=lambda each: each.shown)
def test_other_numbers_of_outputs_are_refused(sample):
    with pytest.raises(
        ModelError, match=r"same number of \w+, got 4 \(student\) and 6 \(teacher\)"
    ):
        value(sample.objective, torch.zeros(6, 4), torch.zeros(6, 6), torch.zeros(6, 4))


@pytest.mark.parametrize("sample", OF_CLASSES.values(), ids=OF_CLASSES)
def test_a_single_logit_is_refused_as_class_logits(sample):
    """Its softmax is 1, so that nothing would be learned."""
    single, labels = torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64)
    with pytest.raises(ModelError, match=r"at least two classes, got 1; .* use BinaryLabels"):
        value(sample.objective, single, single, labels)


@pytest.mark.parametrize("sample", LEARNS_FROM_TEACHER, ids=lambda each: each.shown)
@pytest.mark.parametrize("shape", [(6,), (6, 3, 4), (5, 4)])
def test_outputs_that_are_no_comparable_tables_are_refused(sample, shape):
    with pytest.raises(ModelError, match=r"must both be \[batch, \w+\].*let the models return"):
        value(sample.objective, torch.zeros(shape), torch.zeros(6, 4), sample.labels)


@pytest.mark.parametrize("kind", WITH_TEMPERATURE)
def test_temperature_changes_over_training(kind):
    student, teacher = map(Signals, outputs())
    for progress, temperature in ((0.0, 8.0), (0.5, 5.0), (1.0, 2.0)):
        batch = Batch(torch.zeros(6, 1), CLASSES, progress=progress)
        torch.testing.assert_close(
            kind(temperature=Linear(8, 2))(student, teacher, batch),
            kind(temperature=temperature)(student, teacher, batch),
        )


@pytest.mark.parametrize(
    "temperature", [0, -1.0, float("nan"), float("inf"), Linear(4, 0), "4", True]
)
@pytest.mark.parametrize("kind", WITH_TEMPERATURE)
def test_a_temperature_that_is_not_positive_is_refused(kind, temperature):
    with pytest.raises(ArgumentError, match=r"`temperature` must be .*, got .*; "):
        kind(temperature=temperature)


def test_objectives_that_need_no_teacher_do_not_ask_for_one():
    for objective in (HardLabels(), LabelRegression()):
        assert objective.wants == Wants(student=OUTPUT, labels=True)


def test_reprs_show_what_differs_from_the_defaults():
    assert {repr(each.objective): each.shown for each in EACH.values()} == {
        each.shown: each.shown for each in EACH.values()
    }
