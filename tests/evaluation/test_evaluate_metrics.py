"""Metrics of the user and of the objective in an evaluation."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from evaluated import DATA, X, Y, logits, model, source
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError
from tutelage.evaluation import Outputs, evaluate, measure
from tutelage.objectives import with_feedback
from tutelage.signals import Signals
from tutelage.tasks import TASKS
from tutelage.teachers import Live, Predictor, Teacher


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

    def test_one_that_works_in_place_does_not_change_the_next(self):
        def first(output, labels):
            output.numpy()[:] = labels.numpy()[:] = 0
            return 0.0

        metrics = {"first": first, "second": tl.evaluation.accuracy, "third": first}
        found = evaluate(model(), None, tl.HardLabels(), source(), metrics=metrics, outputs=True)
        assert found.metrics["second"] == found.metrics["accuracy"] > 0
        torch.testing.assert_close(found.outputs.student, logits(model()))

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
            TASKS["classes"].check_names({"accuracy": lambda *_: 0.0, "mine": lambda *_: 0.0})


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
