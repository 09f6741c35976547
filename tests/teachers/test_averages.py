"""Each mean is the best of all distributions in its own sense."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.teachers import (
    Ensemble,
    by_entropy,
    by_label_confidence,
    mean_of_binary_probabilities,
    mean_of_gaussians,
    mean_of_outputs,
    mean_of_probabilities,
)

SEEDS = st.integers(0, 10**6)


def draw(seed, members=3, rows=4, columns=5):
    generator = torch.Generator().manual_seed(seed)
    outputs = 3 * torch.randn(members, rows, columns, generator=generator, dtype=torch.float64)
    weights = torch.rand(members, rows, 1, generator=generator, dtype=torch.float64) + 0.01
    return outputs, weights / weights.sum(dim=0)


def perturbed(logits, seed):
    """Many distributions near one and far from it."""
    generator = torch.Generator().manual_seed(seed + 1)
    noise = torch.randn(50, *logits.shape, generator=generator, dtype=torch.float64)
    return logits + noise * torch.logspace(-3, 1, 50).reshape(-1, 1, 1)


def kl(log_p, log_q):
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


@given(SEEDS)
def test_the_mean_of_probabilities_minimizes_the_kl_from_the_teachers(seed):
    outputs, weights = draw(seed)
    log_p, best = outputs.log_softmax(dim=-1), mean_of_probabilities(outputs, weights)

    def cost(log_q):
        return (weights[..., 0] * kl(log_p, log_q)).sum(dim=0)

    torch.testing.assert_close(best.exp(), (weights * log_p.exp()).sum(dim=0))
    for other in perturbed(best, seed).log_softmax(dim=-1):
        assert (cost(best) <= cost(other) + 1e-12).all()


@given(SEEDS)
def test_the_mean_of_logits_minimizes_the_kl_to_the_teachers(seed):
    outputs, weights = draw(seed)
    log_p = outputs.log_softmax(dim=-1)
    best = mean_of_outputs(outputs, weights).log_softmax(dim=-1)
    powers = (log_p.exp() ** weights).prod(dim=0)
    torch.testing.assert_close(best.exp(), powers / powers.sum(dim=-1, keepdim=True))

    def cost(log_q):
        return (weights[..., 0] * kl(log_q, log_p)).sum(dim=0)

    for other in perturbed(best, seed).log_softmax(dim=-1):
        assert (cost(best) <= cost(other) + 1e-12).all()


@given(SEEDS)
def test_the_mean_of_gaussians_minimizes_the_kl_to_the_teachers(seed):
    outputs, weights = draw(seed, columns=4)
    best = mean_of_gaussians(outputs, weights)

    def cost(gaussians):
        (mean, log_var), (means, log_vars) = gaussians.chunk(2, -1), outputs.chunk(2, -1)
        gap = log_var - log_vars
        each = gap.exp() - gap - 1 + (mean - means).square() * (-log_vars).exp()
        return (weights[..., 0] * each.sum(dim=-1) / 2).sum(dim=0)

    for other in perturbed(best, seed):
        assert (cost(best) <= cost(other) + 1e-9).all()


@given(SEEDS)
def test_a_gaussian_mean_is_weighted_by_inverse_variance(seed):
    outputs, _ = draw(seed, columns=2)
    precision = (-outputs[..., 1]).exp()
    mean = mean_of_gaussians(outputs, torch.full((3, 1, 1), 1 / 3, dtype=torch.float64))
    expected = (precision * outputs[..., 0]).sum(dim=0) / precision.sum(dim=0)
    torch.testing.assert_close(mean[:, 0], expected)
    torch.testing.assert_close(mean[:, 1].exp(), 1 / precision.mean(dim=0))


@pytest.mark.parametrize("average", [mean_of_outputs, mean_of_probabilities, mean_of_gaussians])
def test_equal_teachers_are_their_own_mean(average):
    outputs, weights = draw(0, columns=4)
    same = outputs[:1].expand(3, -1, -1)
    result, expected = average(same, weights), outputs[0]
    if average is mean_of_probabilities:
        expected = expected.log_softmax(dim=-1)
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("average", [mean_of_outputs, mean_of_probabilities, mean_of_gaussians])
def test_a_teacher_of_weight_zero_has_no_effect_even_with_infinite_logits(average):
    outputs, _ = draw(0, members=2, columns=4)
    outputs[1] = -torch.inf if average is mean_of_outputs else 1e4
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(2, 1, 1)
    result = average(outputs, weights)
    torch.testing.assert_close(result, average(outputs[:1], weights[:1]))


@pytest.mark.parametrize("average", [mean_of_outputs, mean_of_probabilities])
def test_extreme_logits_stay_finite(average):
    outputs = torch.tensor([[[1e4, -1e4, 0]], [[-1e4, 1e4, 0]]])
    assert average(outputs, torch.full((2, 1, 1), 0.5)).isfinite().all()


def test_a_column_of_values_has_no_probabilities():
    with pytest.raises(ModelError, match=r"got one column; for values use average=mean_of_outputs"):
        mean_of_probabilities(torch.zeros(2, 3, 1), torch.full((2, 1, 1), 0.5))


def test_an_odd_number_of_gaussian_columns_is_refused():
    with pytest.raises(ModelError, match="even number of columns, got 3; let all teachers"):
        mean_of_gaussians(torch.zeros(2, 3, 3), torch.full((2, 1, 1), 0.5))


@given(SEEDS)
def test_the_mean_of_binary_probabilities_is_that_of_two_classes_with_a_logit_of_zero(seed):
    outputs, weights = draw(seed)
    pairs = torch.stack([torch.zeros_like(outputs), outputs], dim=-1)
    expected = mean_of_probabilities(pairs, weights.unsqueeze(-1))
    ours = mean_of_binary_probabilities(outputs, weights)
    torch.testing.assert_close(ours, expected[..., 1] - expected[..., 0])
    torch.testing.assert_close(ours.sigmoid(), (weights * outputs.sigmoid()).sum(dim=0))


def test_the_mean_of_binary_probabilities_of_confident_teachers_is_finite():
    logits = torch.tensor([[[200.0, -200.0, 200.0]], [[200.0, -200.0, -200.0]]])
    ours = mean_of_binary_probabilities(logits, torch.full((2, 1, 1), 0.5))
    torch.testing.assert_close(ours, torch.tensor([[200.0, -200.0, 0.0]]))
    alone = mean_of_binary_probabilities(logits, torch.tensor([1.0, 0.0]).reshape(2, 1, 1))
    torch.testing.assert_close(alone, logits[0])


class TestKinds:
    TWO = (nn.Linear(2, 3), nn.Linear(2, 3))

    @pytest.mark.parametrize("options", [
        {"average": mean_of_probabilities},
        {"weights": by_entropy},
        {"weights": by_label_confidence},
    ])  # fmt: skip
    def test_a_softmax_over_binary_labels_is_refused(self, options):
        ensemble = Ensemble(self.TWO, **options)
        for teacher in (ensemble, {"photo": ensemble}):
            with pytest.raises(ArgumentError, match=r"\(binary\), got .*mean_of_binary_prob"):
                tl.Distiller(nn.Linear(2, 3), teacher, tl.BinaryTargets())
        tl.Distiller(nn.Linear(2, 3), ensemble, tl.SoftTargets())

    def test_sigmoids_of_class_logits_are_refused(self):
        ensemble = Ensemble(self.TWO, average=mean_of_binary_probabilities)
        with pytest.raises(ArgumentError, match=r"\(classes\), got mean_of_binary_probabilities"):
            tl.Distiller(nn.Linear(2, 3), ensemble, tl.SoftTargets())
        tl.Distiller(nn.Linear(2, 3), ensemble, tl.BinaryTargets())

    @pytest.mark.parametrize(
        ("settings", "objective"),
        [
            ({"average": mean_of_gaussians}, tl.SoftTargets()),
            ({"average": mean_of_gaussians}, tl.BinaryTargets()),
            ({"average": mean_of_probabilities}, tl.OutputRegression()),
            ({"average": mean_of_binary_probabilities}, tl.OutputRegression()),
            ({"weights": by_entropy}, tl.OutputRegression()),
        ],
    )
    def test_means_for_another_kind_of_output_are_refused(self, settings, objective):
        with pytest.raises(ArgumentError, match="must combine outputs as the objective reads"):
            tl.Distiller(nn.Linear(2, 3), Ensemble(self.TWO, **settings), objective)

    def test_the_mean_of_logits_is_of_all_kinds(self):
        for objective in (tl.BinaryTargets(), tl.SoftTargets(), tl.OutputRegression()):
            tl.Distiller(nn.Linear(2, 3), [*self.TWO], objective)

    def test_teachers_of_classes_that_exclude_each_other_are_refused(self):
        some = tl.teachers.Specialist(nn.Linear(2, 2), labels=[0, 2], other_class=False)
        with pytest.raises(ModelError, match=r"a Specialist .*logits of all labels side by side"):
            tl.Distiller(nn.Linear(2, 3), some, tl.BinaryTargets())
        reordered = tl.teachers.Specialist(nn.Linear(2, 3), [2, 0, 1], other_class=False, classes=3)
        tl.Distiller(nn.Linear(2, 3), reordered, tl.BinaryTargets())

    def test_a_teacher_of_layers_only_is_not_asked(self):
        """Its output is not read."""
        objective = tl.BinaryLabels() + tl.FeatureMatch({"0": "a/0"})
        members = {"a": nn.Sequential(nn.Linear(2, 3)), "b": nn.Sequential(nn.Linear(2, 3))}
        ensemble = Ensemble(members, average=mean_of_probabilities)
        tl.Distiller(nn.Sequential(nn.Linear(2, 3)), ensemble, objective)
