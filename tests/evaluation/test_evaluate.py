"""The one evaluation: its metrics, its calls of models and metrics, its lack of side effects."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from evaluated import DATA, X, Y, logits, model, source
from tutelage.data import randomness
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import evaluate
from tutelage.signals import Signals
from tutelage.teachers import Live, Predictor, Teacher


def test_the_loss_and_the_standard_metrics_of_classes():
    student, teacher = model(0), model(1)
    objective = 0.25 * tl.HardLabels() + 2 * tl.SoftTargets(3)
    found = evaluate(student, Live(teacher), objective, source())
    student_logits, teacher_logits = logits(student), logits(teacher)
    hard = nn.functional.cross_entropy(student_logits, Y).item()
    soft = tl.objectives.soft_targets(student_logits, teacher_logits, 3.0).mean().item()
    same = (student_logits.argmax(1) == teacher_logits.argmax(1)).float().mean().item()
    right = (student_logits.argmax(1) == Y).float().mean().item()
    assert found.metrics == pytest.approx(
        {"loss": 0.25 * hard + 2 * soft, "accuracy": right, "agreement": same}, rel=1e-5
    )
    torch.testing.assert_close(found.outputs.student, student_logits)
    torch.testing.assert_close(found.outputs.teacher, teacher_logits)
    assert torch.equal(found.outputs.labels, Y)


def test_values_are_compared_with_labels_and_teacher():
    student, values = nn.Linear(4, 2), X[:, :2] * 3
    teacher = Predictor(lambda inputs: inputs[:, :2] * 2)
    data = TensorDataset(X, values)
    found = evaluate(student, teacher, tl.OutputRegression(), source(data)).metrics
    assert found.keys() == {"loss", "mse", "r2", "teacher_mse"}
    with torch.no_grad():
        expected = (student(X) - X[:, :2] * 2).square().mean().item()
    assert found["teacher_mse"] == pytest.approx(expected)


@pytest.mark.parametrize("size", [1, 4, 30])
def test_the_batch_size_does_not_matter(size):
    """Not even where they hold different numbers of labelled examples."""
    student = model()
    labels = Y.where(torch.arange(30) % 8 == 0, -100)
    expected = nn.functional.cross_entropy(logits(student), labels).item()
    data = TensorDataset(X, labels)
    found = evaluate(student, None, tl.HardLabels(), source(data, size)).metrics
    assert found["loss"] == pytest.approx(expected, rel=1e-5)


class TestFinalWeights:
    """The objective is judged as it is at the end of training, whatever the epoch."""

    def test_weights(self):
        student, teacher = model(0), Live(model(1))
        moving = tl.schedules.Linear(1, 0.5) * tl.HardLabels() + tl.schedules.Linear(
            0, 2
        ) * tl.SoftTargets(4)
        fixed = 0.5 * tl.HardLabels() + 2 * tl.SoftTargets(4)
        judged = [evaluate(student, teacher, each, source()).metrics for each in (moving, fixed)]
        assert judged[0]["loss"] == pytest.approx(judged[1]["loss"])

    def test_temperatures(self):
        student, teacher = model(0), Live(model(1))
        cooling = tl.SoftTargets(tl.schedules.Linear(8, 2))
        judged = [
            evaluate(student, teacher, each, source()).metrics
            for each in (cooling, tl.SoftTargets(2))
        ]
        assert judged[0]["loss"] == pytest.approx(judged[1]["loss"])

    def test_an_objective_with_final_weight_zero_gives_no_loss(self):
        """A loss of 0 at every epoch would keep the first."""
        fading = tl.schedules.Linear(1, 0) * tl.SoftTargets(4)
        found = evaluate(model(0), Live(model(1)), fading, source()).metrics
        assert found.keys() == {"accuracy", "agreement"}


class TestTermsWithoutValidExamples:
    """They are left out of the loss: a mean of 0 would look like a perfect one."""

    UNLABELLED = TensorDataset(X, torch.full((30,), -100))

    def test_the_loss_covers_the_other_terms(self):
        student, teacher = model(0), Live(model(1))
        both = 5 * tl.HardLabels() + 2 * tl.SoftTargets(4)
        found, expected = (
            evaluate(student, teacher, each, source(self.UNLABELLED)).metrics
            for each in (both, 2 * tl.SoftTargets(4))
        )
        assert found == expected
        assert found["loss"] > 0

    @pytest.mark.parametrize("rest", [None, tl.schedules.Linear(1, 0) * tl.SoftTargets(4)])
    def test_there_is_no_loss_without_another_term(self, rest):
        objective = tl.DKD() if rest is None else tl.DKD() + rest
        found = evaluate(model(0), Live(model(1)), objective, source(self.UNLABELLED)).metrics
        assert found.keys() == {"agreement"}

    def test_relations_need_two_examples(self):
        """A batch of one has none, so that a validation set of one gives no such loss."""
        found = evaluate(model(0), Live(model(1)), tl.RKD(), source(TensorDataset(X[:1], Y[:1])))
        assert "loss" not in found.metrics


class TestNobodyAnswers:
    def test_there_is_no_loss_then(self):
        found = evaluate(model(), None, tl.SoftTargets(4), source())
        assert found.metrics.keys() == {"accuracy"}
        assert found.outputs.teacher is None

    def test_an_objective_on_labels_has_a_loss_without_a_teacher(self):
        assert "loss" in evaluate(model(), None, tl.HardLabels(), source()).metrics

    def test_neither_labels_nor_teacher_is_refused(self):
        with pytest.raises(DataError, match=r"must have labels .*or a teacher"):
            evaluate(model(), None, tl.SoftTargets(4), source(TensorDataset(X)))

    def test_labels_of_the_wrong_kind_without_a_teacher_are_refused(self):
        """Class labels cannot be compared with values."""
        with pytest.raises(DataError, match=r"must have labels .*or a teacher"):
            evaluate(model(), None, tl.OutputRegression(), source())


class TestOutputs:
    def test_by_default_only_the_outputs_that_the_objective_reads_are_computed(self):
        class Refusing(Teacher):
            def signals(self, batch, fields):
                assert not fields
                return Signals()

            def fingerprint(self):
                return "none"

        found = evaluate(model(), Refusing(), tl.HardLabels(), source())
        assert found.outputs.teacher is None

    def test_both_outputs_can_be_required(self):
        found = evaluate(model(0), Live(model(1)), tl.HardLabels(), source(), outputs=True)
        assert "agreement" in found.metrics

    def test_without_an_objective_there_are_outputs_only(self):
        found = evaluate(model(0), Live(model(1)), None, source())
        assert found.metrics == {}
        torch.testing.assert_close(found.outputs.teacher, logits(model(1)))

    def test_a_teacher_can_be_evaluated(self):
        found = evaluate(Live(model(1)), None, tl.HardLabels(), source()).metrics
        assert found == evaluate(model(1), None, tl.HardLabels(), source()).metrics


class TestLabels:
    def test_labels_that_are_all_missing_are_ignored(self):
        """An accuracy over no examples would be NaN."""
        data = TensorDataset(X, torch.full((30,), -100))
        found = evaluate(model(0), Live(model(1)), tl.SoftTargets(4), source(data)).metrics
        assert found.keys() == {"loss", "agreement"}

    def test_values_that_are_all_missing_are_ignored(self):
        data = TensorDataset(X, torch.full((30, 2), torch.nan))
        teacher = Predictor(lambda inputs: inputs[:, :2])
        found = evaluate(nn.Linear(4, 2), teacher, tl.OutputRegression(), source(data)).metrics
        assert found.keys() == {"loss", "teacher_mse"}

    @pytest.mark.parametrize("wrong", [3, -1, 255])
    def test_class_ids_out_of_range_are_refused(self, wrong):
        data = TensorDataset(X, Y.clone().index_fill_(0, torch.tensor([4]), wrong))
        with pytest.raises(DataError, match=rf"from 0 to 2, .*got -?\d to {max(wrong, 2)}; number"):
            evaluate(model(0), Live(model(1)), tl.SoftTargets(4), source(data))


class TestNoSideEffects:
    def test_modes_weights_and_random_states(self):
        student, teacher = model().train(), Live(model(1))
        student[1].eval()
        before, drawn = copy.deepcopy(student.state_dict()), randomness.capture()["torch"]
        evaluate(student, teacher, tl.SoftTargets(4), source(DataLoader(DATA, 4)))
        assert [part.training for part in student] == [True, False, True, True]
        assert all(torch.equal(before[key], each) for key, each in student.state_dict().items())
        assert torch.equal(torch.get_rng_state(), drawn)

    def test_the_random_state_does_not_change(self):
        evaluated = model()
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        evaluate(evaluated, None, tl.HardLabels(), source())
        assert torch.equal(torch.rand(3), expected)

    def test_random_data_is_the_same_in_every_call(self):
        """Epochs, and models, are compared on the same examples."""

        class Noisy(torch.utils.data.Dataset):
            def __len__(self):
                return 12

            def __getitem__(self, place):
                return X[place] + torch.randn(4), Y[place]

        torch.manual_seed(0)
        first = evaluate(model(), None, tl.HardLabels(), source(Noisy())).metrics
        torch.manual_seed(1)
        assert evaluate(model(), None, tl.HardLabels(), source(Noisy())).metrics == first


def test_an_objective_without_its_projectors_is_refused():
    objective = tl.FeatureMatch({"0": "0"})
    with pytest.raises(ArgumentError, match=r"must have its projectors.*build\(batch\)"):
        evaluate(model(), Live(model(1)), objective, source())
