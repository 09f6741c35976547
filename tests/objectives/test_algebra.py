import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, DataError
from tutelage.objectives import (
    HardLabels,
    LogitRegression,
    Objective,
    OutputRegression,
    SoftTargets,
    WeightedSum,
)
from tutelage.schedules import Linear, Step
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Wants

WEIGHTS = st.floats(0, 100)


class Given(Objective):
    """An objective with a given value."""

    wants = Wants()

    def __init__(self, *values):
        super().__init__()
        self.values = torch.tensor(values, dtype=torch.float64)

    def forward(self, student, teacher, batch):
        return self.values


def value(objective, progress=0.0):
    return objective(Signals(), Signals(), Batch(torch.zeros(2, 1), progress=progress))


def weights(objective, progress=0.0):
    return [term.weight(progress) for term in objective.terms()]


def names(objective):
    return [term.name for term in objective.terms()]


@given(WEIGHTS, WEIGHTS)
def test_a_sum_weighs_each_value_without_normalising(first, second):
    total = first * Given(1.0, 2.0) + Given(10.0, 20.0) * second
    expected = [first * 1 + second * 10, first * 2 + second * 20]
    assert value(total).tolist() == pytest.approx(expected)


@given(WEIGHTS, WEIGHTS, WEIGHTS)
def test_weights_multiply_when_nested(outer, inner, other):
    total = outer * (inner * Given(1.0) + other * Given(1.0))
    assert weights(total) == pytest.approx([outer * inner, outer * other])


def test_sums_are_flat():
    one, two, three = Given(1.0), Given(2.0), Given(3.0)
    for total in (
        (one + two) + three,
        one + (two + three),
        WeightedSum([(1, one + two), (1, three)]),
    ):
        assert [term.objective for term in total.terms()] == [one, two, three]
        assert value(total).tolist() == [6.0]


def test_a_single_objective_is_one_term_of_weight_one():
    alone = SoftTargets()
    (term,) = alone.terms()
    assert term.objective is alone
    assert term.weight(0.3) == 1.0


def test_names_are_those_of_the_classes_and_unique():
    total = SoftTargets(1) + HardLabels() + SoftTargets(2) + SoftTargets(3) + LogitRegression()
    assert names(total) == [
        "soft_targets",
        "hard_labels",
        "soft_targets_2",
        "soft_targets_3",
        "logit_regression",
    ]


def test_names_stay_unique_in_a_sum_of_sums():
    total = WeightedSum([(1, SoftTargets(1) + SoftTargets(2)), (1, SoftTargets(3))])
    assert names(total) == ["soft_targets", "soft_targets_2", "soft_targets_3"]


def test_weights_may_change_over_training():
    total = Linear(0, 1) * Given(1.0) + Step({0: 2, 0.5: 4}) * Given(10.0)
    assert weights(total, 0.25) == [0.25, 2.0]
    assert value(total, 0.25).tolist() == [20.25]
    assert value(total, 0.75).tolist() == [40.75]


def test_schedules_multiply_when_nested():
    total = Linear(0, 1) * (Linear(4, 0) * Given(1.0) + 3 * Given(1.0))
    assert weights(total, 0.5) == [0.5 * 2, 0.5 * 3]


def test_a_weight_of_zero_stays_zero_under_any_other():
    assert weights(0 * (3 * Given(1.0)), 0.5) == [0.0]
    assert weights(3 * (0 * Given(1.0)), 0.5) == [0.0]
    assert weights(Linear(1, 2) * (0 * Given(1.0)), 0.5) == [0.0]


@pytest.mark.parametrize(
    "weight", [np.float64(0.5), np.float32(0.5), np.float64(2)], ids=["f64", "f32", "two"]
)
def test_weights_may_be_numpy_scalars_on_either_side(weight):
    for total in (weight * Given(1.0), Given(1.0) * weight):
        assert isinstance(total, WeightedSum)
        assert weights(total) == [float(weight)]


@pytest.mark.parametrize("weight", [-0.1, float("nan"), float("inf"), Linear(1, -1), "1", None])
def test_wrong_weights_are_refused(weight):
    with pytest.raises(ArgumentError, match=r"`weight` must be .*zero or more"):
        SoftTargets() * weight
    with pytest.raises(ArgumentError, match=r"`weight` must be .*zero or more"):
        WeightedSum([(weight, SoftTargets())])


def test_only_objectives_can_be_added():
    with pytest.raises(TypeError, match="unsupported operand"):
        SoftTargets() + 1


def test_an_empty_sum_is_refused():
    with pytest.raises(ArgumentError, match="at least one objective, got none"):
        WeightedSum([])


def test_repr_shows_how_to_write_it():
    total = 0.1 * HardLabels(0.2) + Linear(0, 1) * SoftTargets(4) + OutputRegression(huber_delta=2)
    assert repr(total) == (
        "0.1 * HardLabels(smoothing=0.2) + Linear(0, 1) * SoftTargets(temperature=4) + "
        "1 * OutputRegression(huber_delta=2)"
    )


@pytest.mark.parametrize("settings", [np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])])
def test_repr_leaves_arrays_out(settings):
    class Weighed(Given):
        def __init__(self, settings, alpha=1.0):
            super().__init__(1.0)
            self.settings = self.alpha = settings

    assert repr(Weighed(settings)) == "Weighed()"


def test_wants_of_a_sum_are_the_union():
    assert (0.1 * HardLabels()).wants == Wants(student=OUTPUT, labels=True)
    assert (HardLabels() + SoftTargets()).wants == Wants(OUTPUT, OUTPUT, labels=True)
    assert (2 * SoftTargets()).wants == Wants(OUTPUT, OUTPUT)


def test_parameters_of_an_objective_are_those_of_its_sum():
    projector = Given(1.0)
    projector.layer = nn.Linear(2, 3)
    total = 0.5 * (SoftTargets() + 2 * projector)
    assert {id(each) for each in total.parameters()} == {
        id(each) for each in projector.parameters()
    }


class TestValidExamples:
    """Over which examples a term is averaged."""

    def losses(self, labels, objective=None):
        given = objective or Labelled(1.0, 2.0, 4.0)
        return Distiller(nn.Linear(1, 3), None, given)(Batch(torch.zeros(3, 1), labels))

    def test_objectives_without_labels_are_averaged_over_all_examples(self):
        given = Given(1.0, 2.0, 4.5)
        losses = self.losses(torch.tensor([0, -100, 1]), given)
        assert (losses.total.item(), losses.counts) == (2.5, (3,))

    def test_class_labels_of_minus_100_are_no_labels(self):
        losses = self.losses(torch.tensor([0, -100, 1]))
        assert (losses.total.item(), [*map(int, losses.counts)]) == (2.5, [2])

    def test_values_of_nan_are_no_labels(self):
        losses = self.losses(torch.tensor([0.0, torch.nan, -100.0]))
        assert (losses.total.item(), [*map(int, losses.counts)]) == (2.5, [2])

    def test_an_example_with_any_known_value_is_valid(self):
        labels = torch.tensor([[0.0, 1.0], [torch.nan, 1.0], [torch.nan, torch.nan]])
        losses = self.losses(labels)
        assert (losses.total.item(), [*map(int, losses.counts)]) == (1.5, [2])

    def test_missing_labels_are_refused_with_the_way_out(self):
        with pytest.raises(DataError, match=r"learns from labels.*SoftTargets"):
            self.losses(None)
        with pytest.raises(
            DataError, match=r"must be a tensor, got none; yield .*-100 .*SoftTargets"
        ):
            HardLabels()(Signals(torch.zeros(3, 3)), Signals(), Batch(torch.zeros(3, 1)))

    def test_labels_that_are_no_tensor_are_refused(self):
        with pytest.raises(DataError, match=r"tensor of labels .* got .*; give some, as a tensor"):
            self.losses([0, 1, 2])

    def test_objectives_that_relate_examples_leave_a_batch_of_one_out(self):
        related = Related(5.0)
        one = Batch(torch.zeros(1, 1))
        losses = Distiller(nn.Linear(1, 3), None, related + Given(2.0))(one)
        assert [*map(int, losses.counts)] == [0, 1]
        assert losses.parts == {"related": 0.0, "given": 2.0}


class Labelled(Given):
    wants = Wants(labels=True)


class Related(Given):
    relates_examples = True


class Loss(Given):
    pass


class Step_(Given):  # noqa: N801 - a name that clashes in lower case
    pass


Step_.__name__ = "Step"


def test_names_of_terms_differ_from_the_names_that_logs_use():
    assert names(Loss(1.0) + Step_(1.0) + Loss(2.0)) == ["loss_term", "step_term", "loss_term_2"]


class TestShapes:
    """Outputs that are not `[batch]` are refused with advice."""

    @pytest.mark.parametrize("values", [(), (1,), (3, 2), (4,)])
    def test_other_shapes_are_refused(self, values):
        given = Given()
        given.values = torch.zeros(values)
        with pytest.raises(ArgumentError, match=r"one value per example, \[3\], got .*reduction"):
            Distiller(nn.Linear(1, 3), None, given)(Batch(torch.zeros(3, 1)))

    def test_so_is_what_is_no_tensor(self):
        given = Given()
        given.values = 1.5
        with pytest.raises(ArgumentError, match=r"one value per example, \[3\], got float"):
            Distiller(nn.Linear(1, 3), None, given)(Batch(torch.zeros(3, 1)))


def test_sum_joins_objectives():
    joined = sum([0.1 * tl.HardLabels(), tl.SoftTargets(2)])
    assert repr(joined) == repr(0.1 * tl.HardLabels() + tl.SoftTargets(2))


def test_an_unknown_kind_of_output_is_refused():
    with pytest.raises(ArgumentError, match=r"`output_kind` of Mine must be one of .*'binary'.*"):

        class Mine(Objective):
            output_kind = "regression"
