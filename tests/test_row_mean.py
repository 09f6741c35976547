"""`RowMean`: every row of a step weighs the same, whatever example it is of."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, DataError
from tutelage.objectives import RowMean

CLASSES = 3


def tagger(seed=0):
    torch.manual_seed(seed)
    return nn.Linear(5, CLASSES)


def texts(*lengths, seed=0):
    """Padded texts of so many labelled tokens; tokens without a label are padding."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(len(lengths), max(lengths), 5, generator=generator)
    labels = torch.randint(0, CLASSES, inputs.shape[:2], generator=generator)
    beyond = torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]
    return inputs, labels.masked_fill(beyond, -100)


def distiller(objective, student=None):
    return tl.Distiller(student or tagger(), tagger(1), objective)


def test_labels_give_the_cross_entropy_of_all_tokens():
    inputs, labels = texts(1, 4, 7)
    model = tagger()
    loss = distiller(RowMean(tl.HardLabels()), model)(tl.Batch(inputs, labels)).total
    assert loss.item() == pytest.approx(
        F.cross_entropy(model(inputs).flatten(0, 1), labels.flatten()).item()
    )
    by_example = distiller(tl.HardLabels(), model)(tl.Batch(inputs, labels)).total
    assert by_example.item() != pytest.approx(loss.item())


def test_the_teacher_is_learnt_on_all_rows_alike():
    inputs, _ = texts(1, 4, 7)
    mask = torch.arange(7) < torch.tensor([1, 4, 7])[:, None]
    model, teacher = tagger(), tagger(1)
    batch = tl.Batch(inputs, row_mask=mask)
    loss = tl.Distiller(model, teacher, RowMean(tl.SoftTargets(2)))(batch).total
    expected = tl.objectives.soft_targets(model(inputs)[mask], teacher(inputs)[mask], 2.0).mean()
    assert loss.item() == pytest.approx(expected.item())


def test_examples_of_one_length_weigh_as_without_it():
    inputs, labels = texts(4, 4)
    batch = tl.Batch(inputs, labels)
    soft = 0.3 * tl.HardLabels() + 0.7 * tl.SoftTargets(2)
    ours, plain = (distiller(each)(batch).total.item() for each in (RowMean(soft), soft))
    assert ours == pytest.approx(plain)


def test_terms_keep_their_names_and_weights_in_sums():
    inner = RowMean(0.3 * tl.HardLabels() + 0.7 * tl.SoftTargets(2))
    both = 2 * (inner + RowMean(tl.DKD())) + tl.FeatureMatch({"a": "b"})
    names = [(term.name, term.weight(1.0), term.objective.weight_by_rows) for term in both.terms()]
    assert names == [
        ("hard_labels", 0.6, True), ("soft_targets", 1.4, True), ("dkd", 2.0, True),
        ("feature_match", 1.0, False),
    ]  # fmt: skip
    inputs, labels = texts(1, 4, 7)
    batch = tl.Batch(inputs, labels)
    one = distiller(inner)(batch).total.item()
    assert distiller(2 * inner + tl.HardLabels() * 0)(batch).total.item() == pytest.approx(2 * one)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_accumulated_batches_have_the_step_of_one(accumulation):
    inputs, labels = texts(1, 2, 9, 5, 3, 7)
    data = torch.utils.data.TensorDataset(inputs, labels)
    run = tl.distill(
        tagger(1),
        tagger(),
        train=data,
        val=data,
        objective=RowMean(tl.HardLabels() + tl.SoftTargets(2)),
        epochs=2,
        batch_size=6 // accumulation,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.5),
        monitor="loss",
        engine=tl.Engine(accumulation=accumulation, progress=False),
    )
    model, teacher = tagger(), tagger(1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    known = labels != -100

    def loss():
        output = model(inputs)[known]
        soft = tl.objectives.soft_targets(output, teacher(inputs)[known].detach(), 2.0)
        return F.cross_entropy(output, labels[known]) + soft.mean()

    for _ in range(2):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    torch.testing.assert_close(run.student.state_dict(), model.state_dict())
    assert run.history[-1]["val/loss"] == pytest.approx(loss().item(), rel=1e-5)


def test_an_example_without_a_label_has_no_weight_in_labels():
    inputs, labels = texts(2, 6)
    one = distiller(RowMean(tl.HardLabels()))(tl.Batch(inputs[1:], labels[1:])).total.item()
    labels[0] = -100
    both = distiller(RowMean(tl.HardLabels()))(tl.Batch(inputs, labels)).total.item()
    assert both == pytest.approx(one)


def test_pixels_at_the_labels_resolution():
    torch.manual_seed(0)
    images, labels = torch.randn(2, 3, 8, 8), torch.randint(0, CLASSES, (2, 8, 8))
    labels[0, :6] = -100
    model = nn.Conv2d(3, CLASSES, 2, stride=2)
    loss = tl.Distiller(model, None, RowMean(tl.HardLabels()))(tl.Batch(images, labels)).total
    large = F.interpolate(model(images), (8, 8), mode="bilinear", align_corners=False)
    assert loss.item() == pytest.approx(F.cross_entropy(large, labels).item(), rel=1e-5)


def test_rows_that_cannot_be_known_are_refused():
    with pytest.raises(DataError, match="row_mask"):
        distiller(RowMean(tl.SoftTargets(2)))(tl.Batch(torch.randn(2, 4, 5)))
    with pytest.raises(DataError, match="one answer"):
        distiller(RowMean(tl.HardLabels()))(tl.Batch(torch.randn(2, 5), torch.tensor([0, 1])))


class Pooled(nn.Module):
    """A classifier of whole texts."""

    def __init__(self):
        super().__init__()
        self.head = nn.Embedding(9, CLASSES)

    def forward(self, input_ids, attention_mask):
        return self.head(input_ids).mean(dim=1)


def test_a_classifier_of_texts_is_not_weighed_by_their_lengths():
    mask = torch.arange(4) < torch.tensor([1, 4])[:, None]
    batch = tl.Batch({"input_ids": torch.zeros(2, 4).long(), "attention_mask": mask.long()})
    with pytest.raises(DataError, match="one answer"):
        tl.Distiller(Pooled(), Pooled(), RowMean(tl.SoftTargets(2)))(batch)


@pytest.mark.parametrize(
    "objective", [tl.FeatureMatch({"a": "b"}), tl.OwnLoss(), tl.HardLabels() + tl.OwnLoss()]
)
def test_objectives_without_values_of_rows_are_refused(objective):
    with pytest.raises(ArgumentError, match="RowMean"):
        RowMean(objective)
