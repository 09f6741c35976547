"""Detections are evaluated as lists; outputs that only the student understands, by the user."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import tutelage as tl
from boxes import Boxes, Finder, overlap, per_example
from tutelage.data import as_source, domains
from tutelage.evaluation import predict
from tutelage.evaluation.evaluate import evaluate
from tutelage.teachers import Live


def evaluated(model, objective, data, **options):
    return evaluate(model, None, objective, as_source("val", data, 4), **options)


def test_predictions_of_a_detector_are_a_list():
    model = Finder()
    found = predict(model, Boxes(5), 2)
    expected = model.eval()([image for image, _ in Boxes(5)])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one["boxes"], other["boxes"])
    assert not any(each["boxes"].requires_grad for each in found)


def test_metrics_and_loss():
    model = Finder()
    found = evaluated(model, tl.OwnLoss(), Boxes(5), metrics={"overlap": overlap})
    again = evaluated(model, tl.OwnLoss(per_example), Boxes(5))
    assert found.metrics.keys() == {"loss", "overlap"}
    assert found.metrics["loss"] == pytest.approx(2 * again.metrics["loss"])
    assert len(found.outputs.predictions) == len(found.outputs.labels) == 5
    assert found.outputs.student is None


def test_of_each_domain():
    data = domains({"one": Boxes(3), "two": Boxes(5)})
    found = evaluated(Finder(), tl.OwnLoss(), data, metrics={"overlap": overlap}).metrics
    apart = evaluated(Finder(), tl.OwnLoss(), Boxes(3), metrics={"overlap": overlap}).metrics
    assert found["overlap/one"] == pytest.approx(apart["overlap"])
    assert found["overlap"] == pytest.approx(
        (3 * found["overlap/one"] + 5 * found["overlap/two"]) / 8
    )


def test_metrics_with_update_and_compute():
    class Count:
        def reset(self):
            self.boxes = 0

        def update(self, predictions, targets):
            self.boxes += len(predictions) + len(targets)

        def compute(self):
            return self.boxes

    found = evaluated(Finder(), tl.OwnLoss(), Boxes(5), metrics={"count": Count()})
    assert found.metrics["count"] == 10


def test_a_metric_that_fails_on_detections_is_named():
    with pytest.raises(tl.ArgumentError, match=r"metric `accuracy` must not|metric `hits` failed"):
        evaluated(Finder(), tl.OwnLoss(), Boxes(5), metrics={"hits": lambda o, y: o.argmax() == y})


def test_a_teacher_that_is_evaluated_has_no_loss_of_its_own():
    found = evaluated(Live(Finder()), tl.OwnLoss(), Boxes(5), metrics={"overlap": overlap})
    assert found.metrics.keys() == {"overlap"}


class Tagger(nn.Module):
    """Returns a loss of tokens and their logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Embedding(9, 3)

    def forward(self, tokens, labels):
        logits = self.layer(tokens)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return {"logits": logits, "loss": loss}


def test_texts_of_several_lengths():
    """Of which nothing is known but by the user's metrics."""
    texts = [torch.arange(at) + 1 for at in (3, 4, 4, 4, 6, 6)]
    rows = [{"tokens": each, "labels": each % 3} for each in texts]
    loader = DataLoader(rows, 1)

    def right(outputs, labels):
        return (outputs.argmax(-1) == labels).float().mean()

    found = evaluate(
        Tagger(), None, tl.OwnLoss(), as_source("val", loader, 1),
        metrics={"right": right},
    ).metrics  # fmt: skip
    known = torch.cat(texts)
    assert found.keys() == {"loss", "right"}
    expected = (Tagger().layer(known).argmax(-1) == known % 3).float().mean().item()
    assert found["right"] == pytest.approx(expected)


def test_no_accuracy_of_what_may_be_no_classes():
    """Such as the identities by which an embedding is trained."""

    def spread(student, batch):
        return student(batch.inputs).square().mean(dim=1)

    data = torch.utils.data.TensorDataset(torch.randn(6, 3), torch.arange(6) + 100)
    found = evaluated(nn.Linear(3, 2), tl.OwnLoss(spread), data, metrics={"n": lambda o, _: len(o)})
    assert found.metrics.keys() == {"loss", "n"}
