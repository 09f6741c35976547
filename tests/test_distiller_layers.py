"""A distiller whose objective looks at layers: built by a dry run, with projectors of its own."""

import copy

import pytest
import torch
from torch import nn

from tutelage.distiller import Distiller
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import FeatureMatch, HardLabels, SoftTargets
from tutelage.signals import Batch
from tutelage.teachers import Live, Predictor
from watched import calls, chain

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
HINT = {"0": "0"}


class Noisy(nn.Module):
    """Draws from the global generator, whatever its mode."""

    def forward(self, x):
        return x + torch.randn_like(x)


def student(width=4):
    return nn.Sequential(
        nn.Linear(5, width), nn.BatchNorm1d(width), nn.Dropout(), nn.Linear(width, 3)
    )


def teacher(width=6):
    return nn.Sequential(nn.Linear(5, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 3))


def modes(module):
    return [part.training for part in module.modules()]


class TestBuild:
    def test_the_dry_run_leaves_no_trace(self):
        ours, theirs = nn.Sequential(Noisy(), *student(6)), nn.Sequential(Noisy(), *teacher())
        ours[2].eval()
        distiller = Distiller(ours, theirs, FeatureMatch({"1": "1"}) + SoftTargets(2))
        before = copy.deepcopy((ours.state_dict(), theirs.state_dict()))
        flags, random = modes(ours) + modes(theirs), torch.get_rng_state()
        distiller.build(Batch(X))
        assert torch.equal(torch.get_rng_state(), random)  # equal widths: nothing to draw
        assert modes(ours) + modes(theirs) == flags
        for model, state in zip((ours, theirs), before, strict=True):
            assert all(torch.equal(state[name], now) for name, now in model.state_dict().items())
        assert all(each.grad is None for each in ours.parameters())

    def test_flags_come_back_after_a_failed_run(self):
        ours = student()
        distiller = Distiller(ours, teacher(), FeatureMatch(HINT))
        flags, random = modes(ours), torch.get_rng_state()
        with pytest.raises(ModelError, match="refused its inputs"):
            distiller.build(Batch(X[:, :3]))
        assert modes(ours) == flags
        assert torch.equal(torch.get_rng_state(), random)
        assert not distiller.objective.built

    def test_both_sides_run_once_and_no_further_than_wanted(self):
        sides = [chain(*[lambda x: x] * 3) for _ in range(2)]
        Distiller(*sides, FeatureMatch({"1": "0"})).build(Batch(X))
        assert list(map(calls, sides)) == [[1, 1, 0], [1, 0, 0]]

    def test_a_second_call_changes_nothing(self):
        distiller = Distiller(
            student(), teacher(), FeatureMatch(HINT) + 2 * FeatureMatch({"3": "3"})
        )
        distiller.build(Batch(X))
        before = list(distiller.objective.parameters())
        distiller.build(Batch(X))
        assert [id(each) for each in distiller.objective.parameters()] == [id(p) for p in before]

    @pytest.mark.parametrize(
        "objective", [FeatureMatch(HINT), HardLabels() + 3 * FeatureMatch(HINT)]
    )
    def test_without_it_the_first_batch_is_refused(self, objective):
        distiller = Distiller(student(), teacher(), objective)
        with pytest.raises(
            ArgumentError, match=r"made from the shapes of one batch, got none yet; c"
        ):
            distiller(Batch(X, torch.zeros(8, dtype=torch.int64)))

    def test_it_is_not_needed_where_nothing_depends_on_shapes(self):
        distiller = Distiller(student(), teacher(), SoftTargets(2))
        distiller.build(Batch(X[:, :1]))  # runs nothing: this batch would be refused
        assert distiller(Batch(X)).total.isfinite()


class TestProjectors:
    def distiller(self):
        made = Distiller(student(), teacher(), 0.5 * SoftTargets(2) + 100 * FeatureMatch(HINT))
        made.build(Batch(X))
        return made

    def test_they_are_part_of_the_distiller_and_not_of_the_student(self):
        distiller = self.distiller()
        ours = {name for name in distiller.state_dict() if not name.startswith("student.")}
        assert {name.rsplit(".", 1)[-1] for name in ours} == {"weight", "bias"}
        assert all(name.startswith("objective.") for name in ours)
        assert list(distiller.student.state_dict()) == list(student().state_dict())
        extra = {id(each) for each in distiller.parameters()} - {
            id(each) for each in distiller.student.parameters()
        }
        assert extra == {id(each) for each in distiller.objective.parameters()}
        assert sorted(list(each.shape) for each in distiller.objective.parameters()) == [
            [6],
            [6, 4],
        ]

    def test_their_state_is_taken_up_by_a_built_one(self):
        first, second = self.distiller(), self.distiller()
        with torch.no_grad():
            assert first(Batch(X)).total != second(Batch(X)).total
        second.load_state_dict(first.state_dict())
        second.__dict__["teacher"] = first.teacher
        for each in (first, second):
            each.eval()
        assert torch.equal(first(Batch(X)).total, second(Batch(X)).total)

    def test_losses_and_gradients_are_those_of_plain_code(self):
        distiller = self.distiller()
        ours, theirs = distiller.student.eval(), distiller.teacher.module.eval()
        projector = distiller.objective.terms()[1].objective.projectors[0]
        losses = distiller(Batch(X))
        target = theirs[0](X).detach()
        hint = (projector(ours[0](X)) - target).square().mean()
        soft = 4 * nn.functional.kl_div(
            (ours(X) / 2).log_softmax(1), (theirs(X).detach() / 2).softmax(1), reduction="batchmean"
        )
        torch.testing.assert_close(losses.total, 0.5 * soft + 100 * hint)
        assert list(losses.parts) == ["soft_targets", "feature_match"]
        for parameter in distiller.parameters():
            found = torch.autograd.grad(losses.total, parameter, retain_graph=True)
            expected = torch.autograd.grad(0.5 * soft + 100 * hint, parameter, retain_graph=True)
            torch.testing.assert_close(found, expected)


class TestFrozenParts:
    def frozen(self, ours, *paths):
        for path in paths:
            ours.get_submodule(path).requires_grad_(requires_grad=False)
        return Distiller(ours, teacher(), SoftTargets(2))

    def test_statistics_of_frozen_batch_norm_do_not_move(self):
        ours = nn.Sequential(student(), nn.Linear(3, 5), *student())
        distiller = self.frozen(ours, "0").train()
        before = copy.deepcopy(ours.state_dict())
        distiller(Batch(X)).total.backward()
        moved = [
            name for name, each in ours.state_dict().items() if not torch.equal(before[name], each)
        ]
        assert moved == ["3.running_mean", "3.running_var", "3.num_batches_tracked"]

    def test_frozen_parts_rest_with_all_that_is_in_them(self):
        ours = nn.Sequential(student(), nn.Sequential(nn.Linear(3, 3), student(4)), nn.Dropout())
        ours[1][1] = nn.Sequential(nn.Linear(3, 5), *student())
        distiller = self.frozen(ours, "0", "1.0").train()
        assert not any(modes(ours[0]) + modes(ours[1][0]))
        assert ours.training
        assert all([ours[1].training, *modes(ours[1][1]), ours[2].training])
        distiller.eval()
        assert not any(modes(distiller))
        ours[0].requires_grad_()
        distiller.train()
        assert all(modes(ours[0]))

    def test_a_part_that_learns_in_one_parameter_trains(self):
        ours = student()
        ours[1].bias.requires_grad_(requires_grad=False)
        distiller = self.frozen(ours, "0").train()
        assert [part.training for part in ours] == [False, True, True, True]
        assert distiller.training


@pytest.mark.parametrize(
    ("layer_map", "message"),
    [
        ({"9": "0"}, r"the student \(Sequential\) has no layer '9'"),
        ({"0": "nine:input"}, r"the teacher \(Sequential\) has no layer 'nine'"),
    ],
)
def test_a_layer_that_is_not_there_is_refused_before_anything_runs(layer_map, message):
    with pytest.raises(ArgumentError, match=message):
        Distiller(student(), teacher(), HardLabels() + FeatureMatch(layer_map))
    with pytest.raises(ArgumentError, match=message):
        Distiller(student(), Live(teacher()), FeatureMatch(layer_map))


def test_a_function_has_no_layers():
    distiller = Distiller(student(), Predictor(lambda x: x), FeatureMatch(HINT))
    with pytest.raises(ModelError, match=r"got signals without '0'"):
        distiller.build(Batch(X))
