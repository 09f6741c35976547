import numpy as np
import pytest
import torch

from tutelage.errors import DataError
from tutelage.signals import Batch, Mixture
from tutelage.teachers import by_entropy, by_label_confidence

OUTPUTS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0)) * 2
LABELS = torch.tensor([0, 4, 2, 2])
X = torch.zeros(4, 2)
BATCH = Batch(X, LABELS)


def less_for_more(costs):
    shares = np.exp(costs) / np.exp(costs).sum(axis=0)
    return (1 - shares) / (len(costs) - 1)


def cross_entropy(labels):
    log_p = OUTPUTS.double().log_softmax(dim=-1).numpy()
    return -log_p[:, np.arange(4), labels.numpy()]


def test_by_label_confidence_follows_its_formula():
    expected = less_for_more(cross_entropy(LABELS))
    np.testing.assert_allclose(by_label_confidence(OUTPUTS, BATCH).numpy(), expected, rtol=1e-5)


def test_by_entropy_follows_its_formula():
    p = OUTPUTS.double().softmax(dim=-1).numpy()
    expected = less_for_more(-(p * np.log(p)).sum(axis=-1))
    np.testing.assert_allclose(by_entropy(OUTPUTS, BATCH).numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("weighting", [by_label_confidence, by_entropy])
@pytest.mark.parametrize("members", [1, 2, 5])
def test_equal_teachers_have_equal_weights_that_sum_to_one(weighting, members):
    same = OUTPUTS[:1].expand(members, -1, -1)
    torch.testing.assert_close(weighting(same, BATCH), torch.full((members, 4), 1 / members))
    torch.testing.assert_close(weighting(OUTPUTS, BATCH).sum(dim=0), torch.ones(4))


@pytest.mark.parametrize("weighting", [by_label_confidence, by_entropy])
def test_weights_of_extreme_logits_are_finite(weighting):
    outputs = torch.tensor([[[1e4, -1e4]], [[-1e4, 1e4]]])
    weights = weighting(outputs, Batch(X[:1], torch.tensor([0])))
    assert weights.isfinite().all()
    assert weights.sum() == pytest.approx(1)


def test_label_confidence_prefers_a_correct_teacher_to_a_confident_one():
    outputs = torch.tensor([[[0.5, 0.0]], [[-5.0, 5.0]]])
    batch = Batch(X[:1], torch.tensor([0]))
    assert by_label_confidence(outputs, batch).argmax() == 0
    assert by_entropy(outputs, batch).argmax() == 1


def test_teachers_have_equal_weights_for_an_example_without_a_label():
    labels = torch.tensor([0, -100, 2, -100])
    weights = by_label_confidence(OUTPUTS, Batch(X, labels))
    torch.testing.assert_close(weights[:, [1, 3]], torch.full((3, 2), 1 / 3))
    torch.testing.assert_close(weights[:, [0, 2]], by_label_confidence(OUTPUTS, BATCH)[:, [0, 2]])


def test_the_label_of_a_mixed_example_is_mixed():
    partners, share = torch.tensor([1, 1, 3, -100]), torch.tensor([0.3, 1.0, 0.5, 0.5])
    batch = Batch(X, LABELS, mixture=Mixture(partners, share))
    costs = share.numpy() * cross_entropy(LABELS) + (1 - share.numpy()) * cross_entropy(
        partners.clamp(min=0)
    )
    weights = by_label_confidence(OUTPUTS, batch).numpy()
    np.testing.assert_allclose(weights[:, :3], less_for_more(costs)[:, :3], rtol=1e-5)
    np.testing.assert_allclose(weights[:, 3], 1 / 3, rtol=1e-6)


def test_labels_are_needed_and_must_be_classes():
    with pytest.raises(DataError, match=r"need labels, got a batch without; .*by_entropy"):
        by_label_confidence(OUTPUTS, Batch(X))
    with pytest.raises(DataError, match="integer class ids"):
        by_label_confidence(OUTPUTS, Batch(X, torch.zeros(4)))
