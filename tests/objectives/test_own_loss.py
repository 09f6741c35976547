"""The student's own loss as an objective."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from boxes import Boxes, Finder, per_example
from tutelage.layers.student import returned_loss
from watched import Counted, calls

INPUTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGETS = torch.randn(6, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
BATCH = tl.Batch(INPUTS, TARGETS)


def squared(student, batch):
    return (student(batch.inputs) - batch.labels).square().mean(dim=1)


def mean_squared(student, batch):
    return squared(student, batch).mean()


class Returning(nn.Module):
    """A linear model that returns its loss as it is told."""

    def __init__(self, form):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.form = nn.Linear(5, 2).double(), form

    def forward(self, x, labels=None):
        logits = self.layer(x)
        return self.form(logits, None if labels is None else (logits - labels).square().mean())


FORMS = {
    "an object": lambda logits, loss: SimpleNamespace(logits=logits, loss=loss),
    "a dict": lambda logits, loss: {"logits": logits, "loss": loss},
    "a dict of losses": lambda _, loss: {"half": loss / 4, "rest": 3 * loss / 4},
    "a scalar": lambda _, loss: loss,
    "a tensor of one": lambda logits, loss: {"logits": logits, "loss": loss[None]},
}


def linear():
    return Returning(None).layer


def loss_of(student, objective, batch=BATCH, teacher=None):
    return tl.Distiller(student, teacher, objective)(batch)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize(
    "inputs", [INPUTS, {"x": INPUTS}, (INPUTS,)], ids=["tensor", "dict", "tuple"]
)
def test_value_and_gradient_are_those_of_the_loss_that_the_model_returns(form, inputs):
    student, plain = Returning(form), linear()
    losses = loss_of(student, tl.OwnLoss(), tl.Batch(inputs, TARGETS))
    expected = (plain(INPUTS) - TARGETS).square().mean()
    torch.testing.assert_close(losses.total, expected)
    losses.total.backward()
    expected.backward()
    torch.testing.assert_close(student.layer.weight.grad, plain.weight.grad)


@pytest.mark.parametrize("function", [squared, mean_squared])
def test_value_by_hand(function):
    batch = tl.Batch(torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [1.0]]))
    student = nn.Linear(1, 1, bias=False)
    nn.init.constant_(student.weight, 1.0)
    assert loss_of(student, tl.OwnLoss(function), batch).total.item() == (1**2 + 2**2) / 2


@given(st.permutations(range(6)))
def test_follows_a_permutation_of_the_batch(rows):
    student, objective, rows = linear(), tl.OwnLoss(squared), torch.tensor(rows)
    values = [
        objective(loss_of(student, objective, batch).student, tl.Signals(), batch)
        for batch in (BATCH, BATCH[rows])
    ]
    torch.testing.assert_close(values[1], values[0][rows])


def test_gradcheck():
    student, objective = linear(), tl.OwnLoss(squared)

    def values(weight, bias):
        def function(model, batch):
            output = torch.func.functional_call(
                model, {"weight": weight, "bias": bias}, batch.inputs
            )
            return (output - batch.labels).square().mean(dim=1)

        signals = loss_of(student, tl.OwnLoss(function)).student
        return objective(signals, tl.Signals(), BATCH)

    assert torch.autograd.gradcheck(values, tuple(student.parameters()))


def test_a_scalar_is_the_value_of_each_example():
    signals = loss_of(linear(), tl.OwnLoss(mean_squared)).student
    values = tl.OwnLoss(mean_squared)(signals, tl.Signals(), BATCH)
    expected = (linear()(INPUTS) - TARGETS).square().mean()
    torch.testing.assert_close(values, expected.expand(6))


def test_half_precision_becomes_float32():
    student, batch = linear().bfloat16(), tl.Batch(INPUTS.bfloat16(), TARGETS.bfloat16())
    assert loss_of(student, tl.OwnLoss(squared), batch).total.dtype == torch.float32


def test_the_student_runs_once_for_all_terms():
    student = nn.Sequential(Counted(nn.Linear(5, 4).double()), Counted(nn.Linear(4, 2).double()))
    teacher = nn.Sequential(nn.Linear(5, 4).double(), nn.Linear(4, 2).double())
    objective = (
        tl.OwnLoss(squared) + tl.LabelRegression() + tl.OutputRegression()
        + 0.1 * tl.FeatureMatch({"0": "0"}) + 2 * tl.OwnLoss(squared)
    )  # fmt: skip
    distiller = tl.Distiller(student, teacher, objective)
    distiller.build(BATCH)
    before = calls(student)
    losses = distiller(BATCH)
    assert calls(student) == [each + 1 for each in before]
    parts = losses.parts
    assert list(parts)[0::4] == ["own_loss", "own_loss_2"]
    torch.testing.assert_close(parts["own_loss"], parts["label_regression"])
    losses.total.backward()
    assert all(each.grad is None for each in teacher.parameters())


def test_the_teacher_gets_no_targets():
    given = []

    class Teacher(Returning):
        def forward(self, x, labels=None):
            given.append(labels)
            return super().forward(x, labels)

    loss_of(
        Returning(FORMS["a dict"]),
        tl.OwnLoss() + tl.OutputRegression(),
        teacher=Teacher(FORMS["a dict"]),
    )
    assert given == [None]


def test_parts_of_a_dict():
    student = Returning(FORMS["a dict of losses"])
    total = loss_of(student, tl.OwnLoss()).total
    half, rest = (loss_of(student, tl.OwnLoss(part=part)).parts for part in ("half", "rest"))
    assert list(half) == ["half"]
    torch.testing.assert_close(half["half"] + rest["rest"], total.detach())
    weighed = tl.OwnLoss(part="half") + 2 * tl.OwnLoss(part="rest")
    torch.testing.assert_close(loss_of(student, weighed).total, total * (1 + 2 * 3) / 4)


def test_parts_beside_a_loss():
    """As of DETR: weights are the model's, and there is more than losses."""

    def form(logits, loss):
        parts = {"near": loss / 2, "counted": torch.tensor([1, 2, 3]), "queries": logits[:, 0][:4]}
        return {"logits": logits, "loss": 5 * loss, "loss_dict": parts}

    student = Returning(form)
    near = loss_of(student, tl.OwnLoss(part="near")).total
    torch.testing.assert_close(10 * near, loss_of(student, tl.OwnLoss()).total)
    for part in ("counted", "queries", "logits"):
        with pytest.raises(tl.ModelError, match=rf"have the part '{part}', got \['loss', 'near'\]"):
            loss_of(student, tl.OwnLoss(part=part))


def test_a_statistic_among_the_losses_is_not_added_to_them():
    student = Returning(lambda _, loss: {"error": loss, "accuracy": torch.tensor(0.5)})
    with pytest.raises(tl.ModelError, match=r"'loss', got \['accuracy', 'error'\].*all in it"):
        loss_of(student, tl.OwnLoss())
    expected = (linear()(INPUTS) - TARGETS).square().mean()
    torch.testing.assert_close(loss_of(student, tl.OwnLoss(part="error")).total, expected)


def test_parts_that_a_function_returns():
    def both(student, batch):
        values = squared(student, batch)
        return {"all": values, "mean": values.mean()}

    total = loss_of(linear(), tl.OwnLoss(both)).total
    torch.testing.assert_close(total, 2 * loss_of(linear(), tl.OwnLoss(squared)).total)


def test_the_loss_of_a_model_whose_output_was_chosen():
    """`Output` chooses what others compare; the loss is the wrapped model's."""
    student = tl.layers.Output(Returning(FORMS["an object"]), "logits")
    losses = loss_of(student, tl.OwnLoss() + tl.LabelRegression())
    torch.testing.assert_close(losses.parts["own_loss"], losses.parts["label_regression"])


def test_the_data_of_a_batch_are_not_changed_in_place():
    def careless(student, batch):
        batch.labels.zero_()
        return student(batch.inputs.mul_(2)).square().mean()

    before = INPUTS.clone(), TARGETS.clone()
    loss_of(linear(), tl.OwnLoss(careless))
    assert torch.equal(before[0], INPUTS)
    assert torch.equal(before[1], TARGETS)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_of_a_compiled_student():
    student = Returning(FORMS["a dict"])
    compiled = torch.compile(student, backend="eager")
    for objective in (
        tl.OwnLoss(),
        tl.OwnLoss() + tl.LabelRegression(),
        tl.OwnLoss(lambda model, batch: model(batch.inputs, batch.labels)["loss"])
        + tl.LabelRegression(),
    ):
        torch.testing.assert_close(
            loss_of(compiled, objective).total, loss_of(student, objective).total
        )


def test_the_loss_of_one_example():
    batch = tl.Batch(INPUTS[:1], TARGETS[:1])
    values = [loss_of(linear(), tl.OwnLoss(each), batch).total for each in (squared, mean_squared)]
    torch.testing.assert_close(*values)


def test_wants_nothing_else():
    assert tl.OwnLoss().wants == tl.Wants(student=tl.Fields(loss=returned_loss))
    assert tl.OwnLoss(squared, "a").wants == tl.Wants(student=tl.Fields(loss=squared))


def test_other_terms_tell_what_the_output_holds():
    assert tl.OwnLoss().output_kind is None
    for term, kind in (
        (tl.BinaryLabels(), "binary"),
        (tl.LabelRegression(), "values"),
        (tl.HardLabels(), "classes"),
        (tl.FeatureMatch({"a": "b"}), None),
    ):
        assert (tl.OwnLoss() + term).output_kind == (term + tl.OwnLoss()).output_kind == kind


def test_reprs():
    assert repr(tl.OwnLoss()) == "OwnLoss()"
    assert repr(tl.OwnLoss(squared, "a")) == "OwnLoss(loss=squared, part='a')"


def test_two_functions_are_refused():
    with pytest.raises(tl.ArgumentError, match="must have one function, as the student runs once"):
        loss_of(linear(), tl.OwnLoss(squared) + tl.OwnLoss(mean_squared))


@pytest.mark.parametrize(
    "form",
    [
        lambda logits, _: logits,
        lambda logits, loss: (loss, logits),
        lambda logits, _: {"logits": logits},
        lambda logits, _: {"score": logits[:, 0]},
        lambda logits, loss: {"out": logits, "aux": loss},
        lambda logits, _: SimpleNamespace(logits=logits, loss=None),
        lambda *_: {},
    ],
)
@pytest.mark.parametrize("mode", [True, False])
def test_a_model_without_a_loss_is_refused(form, mode):
    distiller = tl.Distiller(Returning(form), None, tl.OwnLoss()).train(mode)
    with pytest.raises(tl.ModelError, match=r"\(Returning\) must return its own loss.*tl.OwnLoss"):
        distiller(BATCH)


def test_missing_targets_are_named():
    with pytest.raises(tl.ModelError, match="for no targets; give data with targets"):
        loss_of(Returning(FORMS["an object"]), tl.OwnLoss(), tl.Batch(INPUTS))


@pytest.mark.parametrize(
    "value",
    [
        lambda values: values[:4],
        lambda values: values[:, None],
        lambda values: values.mean().long(),
        lambda values: {"a": values.mean(), "b": values.expand(6, 6)},
    ],
)
def test_a_loss_of_another_shape_is_refused(value):
    with pytest.raises(tl.ArgumentError, match=r"scalar or one value per example, \[6\]"):
        loss_of(linear(), tl.OwnLoss(lambda student, batch: value(squared(student, batch))))


@pytest.mark.parametrize("value", [None, 1.0, {"a": 1.0}, (1, 2), {}])
def test_what_is_no_tensor_is_refused(value):
    with pytest.raises(tl.ArgumentError, match="the function of OwnLoss must return a tensor"):
        loss_of(linear(), tl.OwnLoss(lambda *_: value))


def test_a_loss_without_a_gradient_is_refused_in_training():
    def detached(student, batch):
        return squared(student, batch).detach()

    with pytest.raises(tl.ModelError, match="must have a gradient in training"):
        loss_of(linear(), tl.OwnLoss(detached))
    distiller = tl.Distiller(linear(), None, tl.OwnLoss(detached)).eval()
    assert not distiller(BATCH).total.requires_grad


def test_an_output_that_the_function_does_not_compute_is_refused():
    def by_parts(student, batch):
        return (batch.inputs @ student.weight.T - batch.labels).square().mean(dim=1)

    with pytest.raises(tl.ModelError, match="a function of OwnLoss that never calls it"):
        loss_of(linear(), tl.OwnLoss(by_parts) + tl.LabelRegression())


def test_images_in_a_plain_list_are_explained():
    images, targets = zip(*Boxes(4), strict=True)
    with pytest.raises(tl.ModelError, match=r"refused its inputs.*PerExample\(images\)"):
        loss_of(Finder(), tl.OwnLoss(), tl.Batch(list(images), list(targets)))
    batch = tl.Batch(tl.data.PerExample(images), list(targets))
    model = Finder()
    losses = loss_of(model, tl.OwnLoss(), batch)
    torch.testing.assert_close(losses.total, sum(model(list(images), targets).values()))


def test_both_forms_of_a_detectors_loss_agree():
    batch = tl.Batch.of(tuple(zip(*Boxes(4), strict=True)))
    sums = loss_of(Finder(), tl.OwnLoss(), batch).total
    torch.testing.assert_close(sums, 2 * loss_of(Finder(), tl.OwnLoss(per_example), batch).total)
