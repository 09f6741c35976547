import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from objective_samples import LAYER_MAPS, VECTORS, Formula, LayerSample
from texts import Text, Texts
from tutelage.errors import ArgumentError, ModelError
from tutelage.objectives import CRD, crd
from tutelage.objectives._crd import unit
from tutelage.objectives._layers import pooled
from tutelage.signals import Batch, Signals


def contrasted(objective, student, teacher, mask):
    """With the objective's heads, among the examples of the batch, with an empty memory."""
    heads = objective.embeddings[0]
    ours, theirs = heads.student(pooled(student, mask)), heads.teacher(pooled(teacher, mask))
    return crd(ours, unit(theirs), temperature=0.5)


SAMPLES = [
    Formula(
        lambda s, t: crd(s, t, temperature=0.5),
        (VECTORS,),
        over_the_batch=True,
        zero_at_equality=False,
    ),
    LayerSample(
        lambda pairs=1: CRD(LAYER_MAPS[pairs], dim=5, memory=16, temperature=0.5),
        contrasted,
        "CRD({'mix': 'mix'}, dim=5, memory=16, temperature=0.5)",
    ),
]

GENERATOR = torch.Generator().manual_seed(3)
STUDENT, TEACHER = torch.randn(12, 6, generator=GENERATOR), torch.randn(12, 8, generator=GENERATOR)


def built(**settings):
    objective = tl.CRD(**{"dim": 4, "memory": 8, "temperature": 0.5, **settings})
    objective.build(Signals(STUDENT), Signals(TEACHER))
    return objective


def value(objective, chosen, index=None):
    batch = Batch(STUDENT[chosen], index=None if index is None else torch.tensor(index))
    return objective(Signals(STUDENT[chosen]), Signals(TEACHER[chosen]), batch)


def embeddings(objective, chosen):
    heads = objective.embeddings[0]
    return unit(heads.student(STUDENT[chosen])), unit(heads.teacher(TEACHER[chosen]))


def by_loops(objective, chosen, index, remembered):
    """Each example against those of the batch and the memory that are not itself."""
    ours, theirs = embeddings(objective, chosen)
    _, memory = embeddings(objective, remembered)
    values = []
    for i in range(len(chosen)):
        scores = [ours[i] @ theirs[i] / 0.5]
        scores += [ours[i] @ theirs[j] / 0.5 for j in range(len(chosen)) if index[j] != index[i]]
        scores += [
            ours[i] @ memory[k] / 0.5 for k, other in enumerate(remembered) if other != index[i]
        ]
        values.append(torch.logsumexp(torch.stack(scores), dim=0) - scores[0])
    return torch.stack(values)


def test_negatives_are_the_other_examples_and_the_memory():
    objective = built()
    for chosen, remembered in (
        ([0, 1, 2], []),
        ([3, 4, 5], [0, 1, 2]),
        ([6, 7, 8], [0, 1, 2, 3, 4, 5]),
        ([9, 10], [1, 2, 3, 4, 5, 6, 7, 8]),  # of nine the first has gone
    ):
        expected = by_loops(objective, chosen, chosen, remembered)
        torch.testing.assert_close(value(objective, chosen, chosen), expected)


def test_an_example_is_never_its_own_negative():
    """Neither its row in the memory, nor its copy in the batch."""
    objective = built()
    value(objective, [0, 1, 2, 3], [0, 1, 2, 3])
    again = value(objective, [0, 4, 4, 1], [0, 4, 4, 1])
    torch.testing.assert_close(again, by_loops(objective, [0, 4, 4, 1], [0, 4, 4, 1], [0, 1, 2, 3]))
    alone = built()
    value(alone, [5], [5])
    assert value(alone, [5], [5]).tolist() == [0.0]


@pytest.mark.parametrize("remembered", [3, 8])
def test_without_an_index_all_others_are_negatives(remembered):
    """Be the memory, of 8, full or not."""
    objective = built()
    value(objective, [*range(remembered)])
    nobody = [-1, -2, -3]  # so that none is taken for another's
    torch.testing.assert_close(
        value(objective, [0, 1, 2]), by_loops(objective, [0, 1, 2], nobody, [*range(remembered)])
    )


def test_examples_whose_index_was_not_known_are_others():
    objective = built()
    value(objective, [0, 1, 2])
    ours, memory = embeddings(objective, [0, 1])[0], embeddings(objective, [0, 1, 2])[1]
    assert objective.embeddings[0].memory.index[:3].tolist() == [-1, -1, -1]
    _, theirs = embeddings(objective, [0, 1])
    scores = torch.cat([ours @ theirs.T, ours @ memory.T], dim=1) / 0.5
    expected = torch.nn.functional.cross_entropy(scores, torch.arange(2), reduction="none")
    torch.testing.assert_close(value(objective, [0, 1], [0, 1]), expected)


def test_uniform_embeddings_cost_the_log_of_how_many_there_are():
    objective = built(memory=20)
    for head in (objective.embeddings[0].student, objective.embeddings[0].teacher):
        head.weight.data.zero_()
    objective.embeddings[0].student.bias.data = objective.embeddings[0].teacher.bias.data
    for seen in (0, 4, 8):
        values = value(objective, [seen, seen + 1, seen + 2, seen + 3], [*range(seen, seen + 4)])
        assert values.tolist() == pytest.approx([math.log(seen + 4)] * 4, rel=1e-5)


def test_evaluation_reads_the_memory_and_leaves_it():
    objective = built()
    value(objective, [0, 1, 2])
    before = {name: each.clone() for name, each in objective.state_dict().items()}
    objective.eval()
    values = value(objective, [3, 4], [3, 4])
    assert torch.equal(value(objective, [3, 4], [3, 4]), values)
    torch.testing.assert_close(values, by_loops(objective, [3, 4], [3, 4], [0, 1, 2]))
    assert all(torch.equal(each, before[name]) for name, each in objective.state_dict().items())


def test_what_is_remembered_has_no_gradient_and_the_batch_has():
    objective = built()
    value(objective, [0, 1, 2])
    objective.zero_grad()
    value(objective, [3, 4]).sum().backward()
    assert not objective.embeddings[0].memory.rows.requires_grad
    heads = objective.embeddings[0]
    assert all(
        each.grad.abs().sum() > 0
        for each in (*heads.student.parameters(), *heads.teacher.parameters())
    )


def test_two_passes_before_one_backward():
    """Rows that are added in between are not part of the first pass's graph."""
    objective = built()
    total = sum(value(objective, [3 * k, 3 * k + 1, 3 * k + 2]).sum() for k in range(4))
    total.backward()


def test_the_memory_may_be_smaller_than_a_batch():
    objective = built(memory=2)
    value(objective, [0, 1, 2, 3, 4], [*range(5)])
    expected = by_loops(objective, [0, 3, 6], [0, 3, 6], [3, 4])
    torch.testing.assert_close(value(objective, [0, 3, 6], [0, 3, 6]), expected)


def test_features_of_different_kinds_are_compared_by_their_means():
    objective = tl.CRD({"conv": "tokens"}, dim=4, memory=8)
    maps, tokens = torch.randn(5, 3, 4, 4), torch.randn(5, 7, 6)
    sides = Signals(features={"conv": maps}), Signals(features={"tokens": tokens})
    objective.build(*sides)
    ours = objective(*sides, Batch(maps))
    twin = tl.CRD(dim=4, memory=8)
    means = Signals(maps.mean(dim=(2, 3))), Signals(tokens.mean(dim=1))
    twin.build(*means)
    twin.load_state_dict({**objective.state_dict(), **_empty(twin)})
    torch.testing.assert_close(twin(*means, Batch(maps)), ours)


def _empty(objective):
    return {name: each for name, each in objective.state_dict().items() if "memory" in name}


def fail_after(student, calls):
    """Let the student fail in training after some calls; a hook is not part of its identity."""
    remaining = iter(range(calls))

    def hook(module, _):
        if module.training and next(remaining, None) is None:
            raise OSError("the machine is on fire")

    student.register_forward_pre_hook(hook)


@pytest.mark.parametrize("clip", [None, 0.1])
def test_heads_and_memory_are_in_the_checkpoints(tmp_path, clip):
    """An interrupted and resumed run ends with the state of an uninterrupted one."""

    def run(out, calls=10**9):
        torch.manual_seed(4)
        student, teacher = Text(6), Text(8)
        fail_after(student, calls)
        return tl.distill(
            teacher,
            student,
            train=Texts(),
            objective=tl.CRD({"mix": "mix"}, dim=4, memory=40),
            epochs=4,
            batch_size=16,
            optimizer=partial(torch.optim.Adam, lr=0.01),
            engine=tl.Engine(progress=False, checkpoint_seconds=0, clip_norm=clip),
            out=out,
        ).objective.state_dict()

    whole = run(tmp_path / "whole")
    with pytest.raises(ModelError, match="the machine is on fire"):
        run(tmp_path / "broken", calls=7)
    resumed = run(tmp_path / "broken")
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert whole["embeddings.0.memory.added"] == 4 * 48


def test_matches_examples_that_it_was_not_trained_on():
    """Of 64 embeddings by the teacher the nearest to the student's is that of the same example."""
    torch.manual_seed(0)
    inputs = torch.randn(512, 8)
    teacher, student = nn.Linear(8, 16), nn.Linear(8, 6)
    held_out = torch.randn(64, 8)
    run = tl.distill(
        teacher,
        student,
        train=TensorDataset(inputs),
        objective=tl.CRD(dim=8, memory=256, temperature=0.1),
        epochs=15,
        batch_size=64,
        optimizer=partial(torch.optim.Adam, lr=0.02),
        engine=tl.Engine(progress=False),
    )
    heads = run.objective.embeddings[0]
    with torch.no_grad():
        ours = unit(heads.student(run.student(held_out)))
        theirs = unit(heads.teacher(teacher(held_out)))
    found = (ours @ theirs.T).argmax(dim=1) == torch.arange(64)
    assert found.float().mean() > 0.7  # 1 in 64 by chance


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, r"`dim` must be at least 1, got 0; the authors embed in 128"),
        ({"dim": 2.5}, r"`dim` must be an integer"),
        ({"memory": 0}, r"`memory` must be at least 1, got 0; the authors take 16384"),
        ({"temperature": 0}, r"`temperature` must be positive, got 0.0; the authors take 0.07"),
        ({"temperature": float("nan")}, r"`temperature` must be finite"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ArgumentError, match=message):
        tl.CRD(**settings)
