"""Layer maps, outputs instead of layers, and features of different sizes."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from texts import CLASSES, Text, Texts
from tutelage import objectives
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.resolution import resize
from tutelage.signals import Batch, Signals
from tutelage.wants import OUTPUT, Fields, Wants

QUIET = tl.Engine(progress=False)
OF_OUTPUTS = (
    tl.FeatureMatch,
    tl.RKD,
    tl.CKA,
    partial(tl.CRD, dim=4, memory=32),
    tl.VkD,
)


def built(objective, student, teacher):
    """Build for two features, and return the value of it."""
    sides = Signals(features={"a": student}), Signals(features={"b": teacher})
    objective.build(*sides)
    return objective(*sides, Batch(student))


@pytest.mark.parametrize("kind", OF_OUTPUTS)
def test_without_a_map_the_outputs_are_embeddings_that_are_compared(kind):
    objective = kind()
    assert objective.wants == Wants(student=OUTPUT, teacher=OUTPUT)
    assert objective.output_kind == "values"
    inputs = torch.randn(64, 5)
    before = nn.Linear(5, 3)
    run = tl.distill(
        nn.Linear(5, 7),
        before,
        train=TensorDataset(inputs),
        objective=objective,
        epochs=20,
        batch_size=32,
        optimizer=partial(torch.optim.Adam, lr=0.03),
        engine=QUIET,
    )
    assert run.history[-1]["train/loss"] < run.history[2]["train/loss"]
    assert run.student(inputs).shape == (64, 3)


def test_embeddings_of_positions_are_told_apart_by_their_example():
    objective = tl.CRD(dim=4, memory=8)
    models = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 5, 1)
    distiller = tl.Distiller(*models, objective)
    batch = Batch(torch.randn(2, 3, 1, 2), index=torch.tensor([7, 3]))
    distiller.build(batch)
    assert distiller(batch).total.isfinite()
    (memory,) = [each for each in objective.modules() if hasattr(each, "filled")]
    assert memory.index.tolist() == [7, 7, 3, 3, -1, -1, -1, -1]


def test_a_map_asks_for_its_layers_and_for_no_output():
    objective = tl.RKD({"layer1": "layer2", "head:input": "fc:input"})
    assert objective.wants.student == Fields(features=frozenset({"layer1", "head:input"}))
    assert objective.wants.teacher == Fields(features=frozenset({"layer2", "fc:input"}))
    assert objective.output_kind is None


@pytest.mark.parametrize(
    ("objective", "kind"),
    [
        (tl.FeatureMatch({"a": "b"}) + tl.SoftTargets(4), "classes"),
        (tl.FeatureMatch({"a": "b"}) + tl.BinaryTargets(), "binary"),
        (tl.FeatureMatch({"a": "b"}) + tl.OutputRegression(), "values"),
        (tl.FeatureMatch() + 2 * tl.FeatureMatch({"a": "b"}), "values"),
        (tl.FeatureMatch() + tl.HardLabels(), "classes"),
        (tl.FeatureMatch() + tl.BinaryLabels(), "binary"),
        (2 * tl.FeatureMatch({"a": "b"}), None),
    ],
)
def test_a_sum_says_what_the_output_holds(objective, kind):
    assert objective.output_kind == kind


@pytest.mark.parametrize(
    ("layer_map", "got"), [({}, "{}"), ([], r"\[\]"), ("layer1", "'layer1'"), (3, "3")]
)
@pytest.mark.parametrize("kind", [*OF_OUTPUTS, tl.AttentionTransfer, tl.MiniLMv2])
def test_a_map_that_is_none_is_refused(kind, layer_map, got):
    with pytest.raises(ArgumentError, match=rf"`layer_map` must map .*, got {got}; write "):
        kind(layer_map)


@pytest.mark.parametrize("layer_map", [{"": "b"}, {"a": None}, {3: "b"}])
@pytest.mark.parametrize("kind", [*OF_OUTPUTS, tl.AttentionTransfer])
def test_what_is_no_place_is_refused(kind, layer_map):
    with pytest.raises(ArgumentError, match=r"a layer must be the path of a module, got"):
        kind(layer_map)


def test_a_map_stays_as_it_was_given():
    layer_map = {"a": "b"}
    objective = tl.FeatureMatch(layer_map)
    layer_map["c"] = "d"
    assert objective.layer_map == {"a": "b"}


@pytest.mark.parametrize("kind", [tl.FeatureMatch, tl.VkD, tl.AttentionTransfer])
@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ((4, 3, 8, 8), (4, 5, 4, 4)),
        ((4, 5, 4, 2), (4, 3, 8, 8)),
        ((4, 10, 3), (4, 6, 5)),
        ((4, 2, 3), (4, 6, 5)),
    ],
)
def test_the_students_positions_are_brought_to_the_teachers(kind, student, teacher):
    student, teacher = torch.randn(student), torch.randn(teacher)
    objective = kind({"a": "b"})
    values = built(objective, student, teacher)
    assert values.shape == (4,)
    sized = resize(student, teacher)
    torch.testing.assert_close(
        objective(Signals(features={"a": sized}), Signals(features={"b": teacher}), Batch(student)),
        values,
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("kind", [tl.FeatureMatch, tl.VkD, tl.AttentionTransfer])
def test_features_of_different_kinds_are_refused(kind):
    with pytest.raises(ModelError, match=r"\[4, 3, 8, 8\] \(student\) and .*\[4, 5\] \(teacher\)"):
        built(kind({"a": "b"}), torch.zeros(4, 3, 8, 8), torch.zeros(4, 5))


def test_a_custom_projector():
    made = []

    def deep(student, teacher):
        made.append((student.shape, teacher.shape))
        return nn.Sequential(nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 5))

    objective = tl.FeatureMatch({"a": "b"}, projector=deep)
    student, teacher = torch.randn(4, 3), torch.randn(4, 5)
    values = built(objective, student, teacher)
    assert made == [((4, 3), (4, 5))]
    torch.testing.assert_close(
        values, objectives.feature_match(objective.projectors[0](student), teacher)
    )
    assert len(list(objective.parameters())) == 4


@pytest.mark.parametrize(("shape", "over"), [((4, 3, 6, 5), (2, 3)), ((4, 9, 3), 1)])
def test_a_custom_projector_may_pool(shape, over):
    class Pooled(nn.Linear):
        def forward(self, feature):
            return super().forward(feature.mean(dim=over))

    student, teacher = torch.randn(shape), torch.randn(4, 5)
    objective = tl.FeatureMatch({"a": "b"}, projector=lambda *_: Pooled(3, 5))
    values = built(objective, student, teacher)
    expected = objectives.feature_match(objective.projectors[0](student), teacher)
    torch.testing.assert_close(values, expected)


def test_a_projector_to_another_kind_than_the_teachers_is_refused():
    objective = tl.FeatureMatch({"a": "b"}, projector=lambda *_: nn.Conv2d(3, 5, 1))
    with pytest.raises(ModelError, match="must have one shape"):
        built(objective, torch.randn(4, 3, 6, 5), torch.randn(4, 5))


def test_equal_widths_learn_without_a_projector():
    teacher = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 4))
    student = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(108, 4))
    run = tl.distill(
        teacher,
        student,
        train=TensorDataset(torch.randn(64, 1, 8, 8)),
        objective=100 * tl.FeatureMatch({"1": "1"}),
        epochs=40,
        batch_size=16,
        optimizer=partial(torch.optim.Adam, lr=0.05),
        engine=QUIET,
    )
    assert not list(run.objective.parameters())
    torch.testing.assert_close(student[0].weight, teacher[0].weight, rtol=0, atol=0.02)
    assert not torch.allclose(student[3].weight, teacher[3].weight, rtol=0, atol=0.02)


def test_relations_of_tokens_by_layers_with_other_names():
    class Other(Text):
        """The same, with its linear layers under the names of DistilBERT."""

        def __init__(self, width):
            super().__init__(width)
            attention = self.attention
            for old, new in (("query", "q_lin"), ("key", "k_lin"), ("value", "v_lin")):
                setattr(attention, new, getattr(attention, old))

    objective = tl.MiniLMv2(
        {"attention": "attention"}, 2, student_parts=("q_lin", "k_lin", "v_lin")
    )
    assert objective.layer_map == {
        "attention.q_lin": "attention.query",
        "attention.k_lin": "attention.key",
        "attention.v_lin": "attention.value",
    }
    run = tl.distill(Text(8), Other(6), train=Texts(), objective=objective, epochs=2, engine=QUIET)
    assert run.history[-1]["train/loss"] < run.history[0]["train/loss"]


@pytest.mark.parametrize("heads", [0, -1, 2.0, True])
def test_an_invalid_number_of_heads_is_refused(heads):
    with pytest.raises(ArgumentError, match=r"`relation_heads` must be .*; it must divide the wid"):
        tl.MiniLMv2({"attention": "attention"}, heads)


@pytest.mark.parametrize("weight", [-1, float("nan"), "1"])
@pytest.mark.parametrize("name", ["distance", "angle"])
def test_a_weight_of_relations_out_of_range_is_refused(name, weight):
    with pytest.raises(ArgumentError, match=rf"`{name}` must be .*the authors' weight is"):
        tl.RKD(**{name: weight})


def test_relations_of_no_weight_are_refused():
    with pytest.raises(ArgumentError, match=r"`distance` or `angle` must be positive, got 0 for b"):
        tl.RKD(distance=0, angle=0)


def test_a_layer_that_is_not_there_is_refused_by_name():
    with pytest.raises(ArgumentError, match=r"the student \(Text\) has no layer 'mixx'; nearest"):
        tl.distill(
            Text(8),
            Text(6),
            train=Texts(),
            objective=tl.FeatureMatch({"mixx": "mix"}),
            epochs=1,
            engine=QUIET,
        )


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_rotation_stays_orthonormal_through_a_run(optimizer, clip):
    made = []

    def optimize(parameters):
        made.append(optimizer(parameters, lr=0.05))
        return made[0]

    run = tl.distill(
        Text(8),
        Text(6),
        train=Texts(),
        objective=tl.VkD({"mix": "mix"}) + 0.1 * tl.SoftTargets(4),
        epochs=10,
        batch_size=16,
        optimizer=optimize,
        engine=tl.Engine(progress=False, clip_norm=clip),
    )
    (objective, _) = (term.objective for term in run.objective.terms())
    rotation = objective.projectors[0].matrix().detach()
    assert rotation.shape == (8, 6)
    assert (rotation.T @ rotation - torch.eye(6)).abs().max() < 1e-5
    assert run.history[-1]["train/vkd"] < run.history[0]["train/vkd"]
    assert run.student(**_batch()).shape == (2, CLASSES)


def _batch():
    rows = [Texts(2)[place] for place in range(2)]
    return {name: torch.stack([row[name] for row in rows]) for name in ("tokens", "attention_mask")}


@pytest.mark.parametrize("objective", [tl.FeatureMatch(), tl.VkD(), tl.CRD()], ids=repr)
def test_a_call_of_what_is_not_built_says_what_to_do(objective):
    side = Signals(torch.zeros(2, 3))
    with pytest.raises(ArgumentError, match=r"call build\(student, teacher\) with the signals"):
        objective(side, side, Batch(torch.zeros(2, 1)))


@pytest.mark.parametrize("widths", [(6, 8), (8, 6)])
def test_heads_that_do_not_divide_a_width_are_refused_with_both(widths):
    student, teacher = (torch.zeros(2, 3, width) for width in widths)
    with pytest.raises(tl.ModelError, match=r"`relation_heads` must divide .* got 4 for"):
        tl.objectives.minilmv2(student, teacher, relation_heads=4)


def test_as_many_parts_of_both_sides_are_required():
    with pytest.raises(ArgumentError, match=r"`student_parts` and `teacher_parts` must .* 3 and 1"):
        tl.MiniLMv2({"attention": "attention"}, teacher_parts=["qkv"])
