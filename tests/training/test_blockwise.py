"""Block after block: which stages are made, and what each of them changes."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

INPUTS = torch.randn(48, 5, generator=torch.Generator().manual_seed(1))
DATA = TensorDataset(INPUTS, torch.arange(48) % 3)
QUIET = tl.Engine(device="cpu", progress=False)


def blocks(seed):
    """Return three equal blocks between a stem and a head."""
    torch.manual_seed(seed)
    inner = [nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Tanh()) for _ in range(3)]
    return nn.Sequential(nn.Linear(5, 6), nn.Sequential(*inner), nn.Linear(6, 3))


BLOCKS = {"1.0": "1.0", "1.1": "1.1", "1.2": "1.2"}


class TestBlockwise:
    def test_the_stages_it_makes(self):
        made = tl.blockwise({"a": "b", "c:input": "d", "e[0]": "f"}, 4, optimizer=torch.optim.SGD)
        assert [each.trainable for each in made] == [None, ["c"], ["e"]]
        assert [each.name for each in made] == ["a", "c:input", "e[0]"]
        assert {each.epochs for each in made} == {4}
        assert {each.optimizer for each in made} == {torch.optim.SGD}
        wants = [each.objective.wants for each in made]
        assert [set(each.student.features) for each in wants] == [{"a"}, {"c:input"}, {"e[0]"}]
        assert [set(each.teacher.features) for each in wants] == [{"b"}, {"d"}, {"f"}]

    def test_without_freezing_all_that_has_run_learns_on(self):
        assert {each.trainable for each in tl.blockwise(BLOCKS, freeze=False)} == {None}

    def test_with_an_objective_of_ones_own(self):
        made = tl.blockwise({"a": "b"}, objective=lambda pair: 5 * tl.FeatureMatch(pair))
        assert repr(made[0].objective) == "5 * FeatureMatch({'a': 'b'})"

    @pytest.mark.parametrize("layer_map", [{}, "layer1", None, {"a": ""}])
    def test_what_is_no_map_is_refused(self, layer_map):
        with pytest.raises(tl.ArgumentError, match=r"`layer_map` must map|must be the path"):
            tl.blockwise(layer_map)

    @pytest.mark.parametrize(
        ("freeze", "learnt"),
        [(True, [{"0", "1.0"}, {"1.1"}, {"1.2"}]), (False, [{"0", "1.0"}, {"1.1"}, {"1.2"}])],
    )
    def test_each_stage_changes_its_block_alone(self, freeze, learnt, tmp_path):
        ours, states = blocks(1), []
        states.append({name: each.clone() for name, each in ours.state_dict().items()})
        stages = tl.blockwise(BLOCKS, freeze=freeze)
        tl.distill(
            blocks(2), ours, stages=stages, out=tmp_path, train=DATA, batch_size=16, engine=QUIET
        )
        states += [load_file(path / "student.safetensors") for path in sorted(tmp_path.glob("?-*"))]
        allowed = set()
        for before, after, block in zip(states, states[1:], learnt, strict=False):
            changed = {name for name in after if not torch.equal(before[name], after[name])}
            parts = {".".join(name.split(".")[: 1 + name.startswith("1.")]) for name in changed}
            allowed = block if freeze else allowed | block
            assert parts == allowed
        assert torch.equal(states[0]["2.weight"], states[-1]["2.weight"])
