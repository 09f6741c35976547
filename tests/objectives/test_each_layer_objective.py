"""Checks that every objective on layers must pass."""

import copy
import pickle
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

import tutelage as tl
from compiling import compilers_warnings
from objective_samples import LayerSample, found
from texts import Text, Texts
from tutelage import objectives
from tutelage.errors import ArgumentError
from tutelage.layers import observe
from tutelage.signals import Batch, Signals

QUIET = tl.Engine(progress=False)


EACH = found(LayerSample)
EVERY = pytest.mark.parametrize("make", [each.make for each in EACH.values()], ids=EACH)
EVERY_LOSS = pytest.mark.parametrize(
    ("make", "loss"), [(each.make, each.loss) for each in EACH.values()], ids=EACH
)


def texts(size=6):
    data = Texts(size)
    rows = [data[place] for place in range(size)]
    inputs = {key: torch.stack([torch.as_tensor(row[key]) for row in rows]) for key in rows[0]}
    return Batch(inputs, index=torch.arange(size))


def networks(dtype=torch.float64):
    return Text(6).to(dtype), Text(8).to(dtype)


def built(make, pairs=1):
    """An objective with its projectors, two networks in a distiller, and a batch."""
    batch = texts()
    batch.inputs["tokens"] = batch.inputs["tokens"].double()
    distiller = tl.Distiller(*networks(), make(pairs))
    distiller.build(batch)
    return distiller.objective, distiller, batch


def distil(objective, **settings):
    student, teacher = networks(torch.float32)
    return tl.distill(
        teacher, student, train=Texts(), objective=objective, batch_size=16,
        **{"epochs": 1, "engine": QUIET, **settings},
    )  # fmt: skip


def signals(distiller, batch):
    losses_of = distiller(batch)
    return losses_of.student, losses_of.teacher


def test_every_objective_on_layers_has_a_sample():
    named = {getattr(objectives, name) for name in objectives.__all__}
    exported = {each for each in named if isinstance(each, type)}
    on_layers = {each for each in exported if issubclass(each, objectives.LayerObjective)}
    assert {type(each.make()) for each in EACH.values()} == on_layers - {objectives.LayerObjective}


@EVERY_LOSS
def test_value_is_the_loss_of_the_two_features(make, loss):
    objective, distiller, batch = built(make)
    student, teacher = signals(distiller.eval(), batch)
    ((ours, theirs),) = objective.layer_map.items()
    expected = loss(objective, student.feature(ours), teacher.feature(theirs), batch.token_mask())
    values = objective(student, teacher, batch)
    assert values.shape == (6,)
    torch.testing.assert_close(values, expected)


@compilers_warnings
@EVERY
def test_compiled_it_is_the_same_in_one_graph(make):
    torch._dynamo.reset()
    counters.clear()
    objective, distiller, batch = built(make, pairs=2)
    student, teacher = signals(distiller.eval(), batch)
    found = []
    for each in (objective, torch.compile(objective, backend="aot_eager", fullgraph=True)):
        values = each(student, teacher, batch)
        features = list(student.features.values())
        found.append((values, *torch.autograd.grad(values.sum(), features, retain_graph=True)))
    torch.testing.assert_close(found[1], found[0])
    assert counters["stats"]["unique_graphs"] == 1


@EVERY
def test_of_several_pairs_it_is_the_mean(make):
    objective, distiller, batch = built(make, pairs=2)
    student, teacher = signals(distiller.eval(), batch)
    both = [
        objective.compare(pair, student.feature(ours), teacher.feature(theirs), batch)
        for pair, (ours, theirs) in enumerate(objective.layer_map.items())
    ]
    assert not torch.allclose(*both)
    torch.testing.assert_close(objective(student, teacher, batch), (both[0] + both[1]) / 2)


@EVERY
def test_gradcheck(make):
    objective, distiller, batch = built(make)
    student, teacher = signals(distiller.eval(), batch)
    ((path, feature),) = student.features.items()
    assert torch.autograd.gradcheck(
        lambda each: objective(Signals(features={path: each}), teacher, batch),
        feature.detach().requires_grad_(),
    )


@EVERY
def test_follows_a_permutation_of_the_batch(make):
    objective, distiller, batch = built(make)
    student, teacher = signals(distiller.eval(), batch)
    rows = torch.tensor([5, 2, 0, 4, 1, 3])
    mixed = [
        Signals(features={path: each[rows] for path, each in side.features.items()})
        for side in (student, teacher)
    ]
    inputs = {name: each[rows] for name, each in batch.inputs.items()}
    torch.testing.assert_close(
        objective(*mixed, Batch(inputs, index=batch.index[rows])),
        objective(student, teacher, batch)[rows],
    )


@EVERY
def test_padded_tokens_are_ignored(make):
    objective, distiller, batch = built(make)
    student, teacher = signals(distiller.eval(), batch)
    padding = ~batch.token_mask().unsqueeze(2)
    assert padding.any()
    other = [
        Signals(
            features={path: each.where(~padding, 9 * n) for path, each in side.features.items()}
        )
        for n, side in enumerate((student, teacher))
    ]
    torch.testing.assert_close(
        objective(*other, batch), objective(student, teacher, batch), rtol=1e-12, atol=1e-12
    )


@EVERY
def test_the_teacher_gets_no_gradient_and_the_student_does(make):
    objective, distiller, batch = built(make)
    distiller(batch).total.backward()
    assert all(each.grad is None for each in distiller.teacher.module.parameters())
    assert distiller.student.embed.weight.grad.abs().sum() > 0
    assert distiller.student.head.weight.grad is None  # which lies beyond the layer
    assert all(each.grad.abs().sum() > 0 for each in objective.parameters())


@EVERY
def test_is_a_term_of_a_weighted_sum(make):
    alone, soft = make(), tl.SoftTargets(4)
    both = 0.5 * alone + soft
    assert both.wants == alone.wants | soft.wants
    assert both.output_kind == "classes"
    batch = texts()
    distiller = tl.Distiller(*networks(torch.float32), both)
    assert both.built == alone.built
    distiller.build(batch)
    assert alone.built
    found = distiller(batch)
    name, other = found.parts
    assert (name, other) == (alone.terms()[0].name, "soft_targets")
    torch.testing.assert_close(found.total.detach(), 0.5 * found.parts[name] + found.parts[other])


@EVERY
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_are_equal_and_independent(make, copied):
    fresh = copied(make())
    assert repr(fresh) == repr(make())
    assert fresh.wants == make().wants
    objective, distiller, batch = built(make)
    student, teacher = signals(distiller.eval(), batch)
    twin = copied(objective)
    assert torch.equal(twin(student, teacher, batch), objective(student, teacher, batch))
    for mine, other in zip(objective.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other)
        assert mine.data_ptr() != other.data_ptr()


@EVERY
def test_one_that_is_not_built_is_refused_with_what_to_do(make):
    distiller = tl.Distiller(*networks(torch.float32), make())
    if make().built:
        assert not list(make().parameters())
        distiller(texts())
    else:
        with pytest.raises(ArgumentError, match=r"call distiller.build\(batch\) before you make"):
            distiller(texts())


@EVERY
def test_a_run_lowers_the_loss(make):
    run = distil(make(), epochs=24, optimizer=partial(torch.optim.Adam, lr=0.02), seed=1)
    losses_of = [each["train/loss"] for each in run.history]
    assert losses_of[-1] < 0.9 * losses_of[0]


@EVERY
def test_a_run_trains_what_is_the_objectives_own_and_leaves_none_of_it_in_the_student(make):
    held = []

    def optimizer(parameters):
        held.extend(parameters)
        return torch.optim.SGD(held, lr=0.1)

    before = set(Text(6).state_dict())
    run = distil(make(), optimizer=optimizer)
    own = list(run.objective.parameters())
    assert {id(each) for each in own} <= {id(each) for each in held}
    assert set(run.student.state_dict()) == before
    assert len(held) == len(own) + len(list(run.student.parameters()))
    assert not any(isinstance(part, tl.Objective) for part in run.student.modules())


@EVERY
def test_clipping_holds_the_objectives_own_parameters_too(make):
    """The norm over all parameters is at most 1e-3: three steps at rate 1 go 3e-3 at most."""
    starts, held = [], []

    def optimizer(parameters):
        held.extend(parameters)
        starts.extend(each.detach().clone() for each in held)
        return torch.optim.SGD(held, lr=1.0)

    engine = tl.Engine(progress=False, clip_norm=1e-3)
    run = distil(make(), optimizer=optimizer, engine=engine)
    ways = [(each - start).norm() for each, start in zip(held, starts, strict=True)]
    assert 0 < torch.stack(ways).norm() < 3.1e-3
    own = {id(each) for each in run.objective.parameters()}
    moved = [way for way, each in zip(ways, held, strict=True) if id(each) in own]
    assert all(way > 0 for way in moved)


@EVERY
def test_mixed_precision_keeps_its_own_parameters_in_float32(make):
    engine = tl.Engine(progress=False, precision="bf16")
    run = distil(make() + 0.1 * tl.SoftTargets(2), engine=engine)
    assert {each.dtype for each in run.objective.parameters()} <= {torch.float32}
    assert all(each.isfinite().all() for each in run.student.parameters())
    assert torch.tensor(run.history[0]["train/loss"]).isfinite()


@EVERY
def test_a_teacher_of_half_precision_may_teach(make):
    objective, batch = make(), texts()
    halved = {**batch.inputs, "tokens": batch.inputs["tokens"].bfloat16()}
    ours = observe(Text(6), batch.inputs, objective.wants.student, "student")
    with torch.no_grad():
        theirs = observe(Text(8).bfloat16(), halved, objective.wants.teacher, "teacher")
    objective.build(ours, theirs)
    values = objective(ours, theirs, batch)
    assert values.dtype == torch.float32
    assert values.isfinite().all()
    values.sum().backward()


def test_reprs_show_the_map_and_what_is_set():
    for each in EACH.values():
        assert repr(each.make()) == each.shown
