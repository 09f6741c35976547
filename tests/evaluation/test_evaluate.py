"""The one evaluation: its metrics, its calls of models and metrics, its lack of side effects."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl
from tutelage.coarse import CoarseLogits
from tutelage.data import as_source, randomness
from tutelage.errors import ArgumentError, DataError
from tutelage.evaluation import Outputs, check_metric_names, evaluate, measure
from tutelage.objectives import with_feedback
from tutelage.signals import Signals
from tutelage.teachers import Live, Predictor, Teacher

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3
DATA = TensorDataset(X, Y)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))


def source(data=DATA, size=7):
    return as_source("val", data, size, shuffle=False)


def logits(network, inputs=X):
    with torch.no_grad():
        return copy.deepcopy(network).eval()(inputs)


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


class TestMetricsOfTheUser:
    def test_they_are_given_the_labelled_examples_only(self):
        labels = Y.where(torch.arange(30) % 8 == 0, -100)
        seen = []
        evaluate(
            model(),
            None,
            tl.HardLabels(),
            source(TensorDataset(X, labels)),
            metrics={"seen": lambda output, labels: seen.append((len(output), labels)) or 0.0},
        )
        ((length, shown),) = seen
        assert length == len(shown) == 4
        assert shown.min() == 0

    def test_their_errors_name_the_metric_and_the_cause(self):
        def broken(_, __):
            raise RuntimeError("no such thing")

        with pytest.raises(
            ArgumentError, match=r"metric `mine` failed .*\[30, 3\].*RuntimeError: no such thing"
        ) as caught:
            evaluate(model(), None, tl.HardLabels(), source(), metrics={"mine": broken})
        assert isinstance(caught.value.__cause__, RuntimeError)

    def test_a_metric_that_a_small_domain_does_not_allow_is_left_out(self):
        def contrast(output, labels):
            if len(labels.unique()) == 1:
                raise ValueError("Only one class is present")
            return output.mean()

        sets = {"all": DATA, "one": TensorDataset(X[:4], torch.zeros(4).long())}
        found = evaluate(
            model(),
            None,
            tl.HardLabels(),
            source(tl.data.domains(sets)),
            metrics={"contrast": contrast, "size": lambda output, _: len(output)},
        ).metrics
        assert "contrast/one" not in found
        assert found["contrast/all"] == pytest.approx(logits(model()).mean().item(), abs=1e-6)
        assert (found["size"], found["size/all"], found["size/one"]) == (34, 30, 4)

    def test_other_errors_in_a_domain_are_raised(self):
        def broken(output, _):
            if len(output) < 10:
                raise KeyError("missing")
            return 0.0

        outputs = Outputs(X, labels=Y, domains=["a"] * 25 + ["b"] * 5)
        with pytest.raises(ArgumentError, match="metric `mine` failed"):
            measure(tl.HardLabels(), outputs, {"mine": broken})

    def test_names_of_standard_metrics_are_refused(self):
        with pytest.raises(ArgumentError, match=r"got \['accuracy'\]; rename"):
            check_metric_names({"accuracy": lambda *_: 0.0, "mine": lambda *_: 0.0})


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


class Looking(tl.Objective):
    """Keeps what it is shown of the validation data."""

    wants = tl.SoftTargets(1.0).wants

    def forward(self, student, teacher, batch):
        return torch.zeros(len(batch))

    def validation_metrics(self, student, teacher, batch):
        self.seen = student.output, teacher.output, batch
        return {"size": float(len(batch.labels))}

    def update(self, metrics):
        self.heard = metrics


class TestMetricsOfTheObjective:
    def test_it_is_given_all_of_the_data_at_once(self):
        objective = Looking()
        data = [
            {"x": x, "labels": y, "domain": name}
            for (x, y), name in zip(DATA, "abc" * 10, strict=True)
        ]
        network = Predictor(lambda x: x[:, :3])

        class Named(nn.Module):
            def forward(self, x):
                return x[:, 1:]

        found = evaluate(Named(), network, objective, source(data))
        assert found.metrics["size"] == 30
        student, teacher, batch = objective.seen
        assert torch.equal(student, X[:, 1:])
        assert torch.equal(teacher, X[:, :3])
        assert (batch.labels.tolist(), list(batch.domain)) == (Y.tolist(), list("abc" * 10))

    def test_partial_and_full_outputs_are_concatenated(self):
        coarse = CoarseLogits(
            torch.tensor([[1, 2]]), torch.tensor([[4.0, 5.0]]), torch.tensor([6.0])
        )
        dense = torch.tensor([[1.0, 2.0, 3.0]])

        class Mixed(Teacher):
            def signals(self, batch, fields):
                return Signals(dense if batch.labels[0] == 0 else coarse)

            def fingerprint(self):
                return "mixed"

        objective = Looking()
        data = TensorDataset(X[:2], torch.tensor([0, 1]))
        found = evaluate(model(), Mixed(), objective, source(data, 1))
        _, teacher, _ = objective.seen
        assert teacher.ids.tolist() == [[0, 1, 2], [1, 2, -1]]
        assert teacher.other.tolist() == [-torch.inf, 6.0]
        assert found.outputs.teacher is None

    def test_a_sum_includes_the_feedback_of_all_terms(self):
        one, other = Looking(), Looking()
        both = one + 2 * (tl.HardLabels() + other)
        assert with_feedback(both) == [one, other]
        assert with_feedback(tl.HardLabels() + tl.SoftTargets()) == []
        assert evaluate(model(0), Live(model(1)), both, source()).metrics["size"] == 30
        for each in with_feedback(both):
            each.update({"size": 3.0})
        assert one.heard == other.heard == {"size": 3.0}
