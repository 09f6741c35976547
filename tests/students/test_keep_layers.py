from copy import deepcopy

import pytest
import timm
import torch
import torchvision
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import blocks, map_every_nth
from tutelage.students import every_nth_layer, keep_layers

X = torch.linspace(-1, 1, 8).reshape(2, 4)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)


class Block(nn.Module):
    """A residual layer that knows its position."""

    def __init__(self, position):
        super().__init__()
        self.linear, self.layer_idx = nn.Linear(4, 4), position

    def forward(self, x):
        return x + self.linear(x).relu()


class Net(nn.Module):
    """A stem, blocks in a list, and a head; it counts its blocks itself."""

    def __init__(self, count=4):
        super().__init__()
        self.num_layers = count
        self.stem, self.head = nn.Linear(4, 4), nn.Linear(4, 2)
        self.body = nn.ModuleList(Block(i) for i in range(count))

    def forward(self, x):
        x = self.stem(x)
        for i in range(self.num_layers):
            x = self.body[i](x)
        return self.head(x)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def test_outputs_equal_those_of_the_kept_blocks():
    teacher = Net()
    student, layer_map = keep_layers(teacher, [0, 3])
    by_hand = teacher.head(teacher.body[3](teacher.body[0](teacher.stem(X))))
    assert torch.equal(student(X), by_hand)
    assert layer_map == {"body.0": "body.0", "body.1": "body.3"}


def test_a_sequential_keeps_its_class_and_the_names_of_its_first_children():
    class Stack(nn.Sequential):
        pass

    teacher = Stack()
    for i in range(4):
        teacher.add_module(f"layer_{i}", Block(i))
    student, layer_map = keep_layers(teacher, [1, 2])
    assert type(student) is Stack
    assert layer_map == {"layer_0": "layer_1", "layer_1": "layer_2"}
    assert torch.equal(student(X), teacher.layer_2(teacher.layer_1(X)))


def test_every_nth_keeps_the_last_of_each_n_and_its_map_is_that_of_every_nth():
    teacher = Net(7)
    student, layer_map = every_nth_layer(teacher, 2)
    assert list(layer_map.values()) == ["body.1", "body.3", "body.5"]
    assert layer_map == map_every_nth(student, teacher, 2)


def test_keeping_all_is_a_copy():
    teacher = Net()
    student, layer_map = keep_layers(teacher, range(4))
    assert torch.equal(student(X), teacher(X))
    assert layer_map == {path: path for path in blocks(teacher)}


def test_the_teacher_is_untouched_and_shares_nothing_with_the_student():
    teacher = Net()
    before, kept = weights(teacher), deepcopy(teacher)
    student, _ = keep_layers(teacher, [1, 2])
    ours = {id(part) for part in [*student.modules(), *student.parameters()]}
    assert not ours & {id(part) for part in [*teacher.modules(), *teacher.parameters()]}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    assert same(weights(teacher), before)
    assert torch.equal(teacher(X), kept(X))
    assert [block.layer_idx for block in teacher.body] == [0, 1, 2, 3]


def test_blocks_that_are_left_out_are_not_copied():
    class Uncopied(Block):
        def __deepcopy__(self, memo):
            raise AssertionError("copied")

    teacher = Net()
    teacher.body[2].__class__ = Uncopied
    student, _ = keep_layers(teacher, [0, 1], "body")
    assert len(student.body) == 2


def test_other_references_to_blocks_and_containers_are_kept():
    teacher = Net()
    teacher.again, teacher.extra, teacher.dropped = teacher.body, teacher.body[3], teacher.body[0]
    student, _ = keep_layers(teacher, [1, 3], "body")
    assert student.again is student.body
    assert student.extra is student.body[1]
    assert same(weights(student.dropped), weights(teacher.body[0]))


def test_a_shared_block_stays_shared():
    shared = Block(0)
    student, _ = keep_layers(nn.Sequential(shared, Block(1), shared), [0, 2])
    assert student[0] is student[1]


def test_counts_and_positions_are_updated():
    student, _ = keep_layers(Net(), [1, 3])
    assert student.num_layers == 2
    assert [block.layer_idx for block in student.body] == [0, 1]


def test_modes_dtype_and_frozen_parameters_are_the_teachers():
    teacher = Net().double().eval()
    teacher.body[3].train()
    teacher.stem.requires_grad_(False)
    student, _ = keep_layers(teacher, [0, 3])
    assert [part.training for part in (student, student.body[0], student.body[1])] == [
        False,
        False,
        True,
    ]
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float64}
    assert not student.stem.weight.requires_grad
    assert student.head.weight.requires_grad


def without(teacher, path, kept):
    """A copy of a model that passes over blocks of a Sequential, by another way than ours."""
    model = deepcopy(teacher)
    for i, (name, _) in enumerate(model.get_submodule(path).named_children()):
        if i not in kept:
            setattr(model.get_submodule(path), name, nn.Identity())
    return model


@pytest.mark.parametrize(
    ("build", "path", "kept", "container"),
    [
        (
            lambda: torchvision.models.VisionTransformer(32, 8, 3, 2, 8, 8),
            None,
            [0, 2],
            "encoder.layers",
        ),
        (
            lambda: timm.create_model(
                "vit_tiny_patch16_224", img_size=32, depth=3, embed_dim=12, num_heads=2
            ),
            None,
            [1, 2],
            "blocks",
        ),
        (torchvision.models.resnet18, "layer3", [0], "layer3"),
        (lambda: timm.create_model("resnet18"), "layer4", [0], "layer4"),
    ],
    ids=["torchvision vit", "timm vit", "torchvision resnet", "timm resnet"],
)
def test_vision_models(build, path, kept, container):
    teacher = build().eval()
    student, layer_map = keep_layers(teacher, kept, path)
    assert list(layer_map) == [block for block in blocks(teacher, container) if block in layer_map]
    assert list(layer_map.values()) == [blocks(teacher, container)[i] for i in kept]
    with torch.no_grad():
        torch.testing.assert_close(student(IMAGES), without(teacher, container, kept)(IMAGES))


def test_a_torchvision_vits_names_stay_consecutive():
    student, _ = keep_layers(torchvision.models.VisionTransformer(32, 8, 3, 2, 8, 8), [0, 2])
    smaller = torchvision.models.VisionTransformer(32, 8, 2, 2, 8, 8)
    smaller.load_state_dict(student.state_dict())


def test_the_student_learns():
    """The map joins the two, and every parameter of the student gets a gradient."""
    student, _ = tl.students.keep_layers(Net(), [0, 2])
    student(X).square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())


@pytest.mark.parametrize("kept", [[], [1, 1], [2, 1], [0, 4], [-1], [True], [0.5], 2, "02", None])
def test_positions_are_increasing_integers_in_range(kept):
    with pytest.raises(ArgumentError, match=r"`kept` must .* from 0 to 3, each above the one"):
        keep_layers(Net(), kept)


@pytest.mark.parametrize(("n", "why"), [(1, "at least 2"), (5, "no more than the teacher's 4")])
def test_n_is_between_two_and_the_number_of_blocks(n, why):
    with pytest.raises(ArgumentError, match=f"`n` must be {why}"):
        every_nth_layer(Net(), n)


def test_stages_cannot_be_left_out():
    with pytest.raises(ArgumentError, match=r"in stages .*'layer1', .*such as 'layer4'.*every_nth"):
        keep_layers(torchvision.models.resnet18(), [0])


def test_a_student_of_blocks_that_fit_runs():
    narrow = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 4))
    student, _ = keep_layers(narrow, [0, 2], "")
    assert torch.equal(student(X), narrow[2](narrow[0](X)))
    assert student.training


class TestStages:
    """Networks whose blocks are in stages."""

    @pytest.mark.parametrize("n", [2, 3])
    def test_a_stage_of_a_resnet_keeps_its_first_block(self, n):
        teacher = torchvision.models.resnet34().eval()
        with pytest.raises(RuntimeError, match=r"channels"):  # without the first
            every_nth_layer(teacher, n, "layer3").student(IMAGES)
        student, layer_map = every_nth_layer(teacher, n, "layer3", start=0)
        assert layer_map["layer3.1"] == f"layer3.{n}"
        with torch.no_grad():
            expected = without(teacher, "layer3", range(0, 6, n))(IMAGES)
            torch.testing.assert_close(student(IMAGES), expected)

    @pytest.mark.parametrize(("build", "n", "depths"), [
        (torchvision.models.resnet34, 2, [2, 2, 3, 2]),
        (torchvision.models.resnet50, 3, [1, 2, 2, 1]),
        (torchvision.models.convnext_tiny, 3, [1, 1, 3, 1]),
        (torchvision.models.swin_t, 3, [1, 1, 2, 1]),
        (lambda: timm.create_model("convnext_atto"), 2, [1, 1, 3, 1]),
        (lambda: timm.create_model("resnet26"), 2, [1, 1, 1, 1]),
        (lambda: timm.create_model(
            "swin_tiny_patch4_window7_224", img_size=32, window_size=2), 3, [1, 1, 2, 1]),
    ])  # fmt: skip
    def test_each_stage_keeps_every_nth_of_its_own_blocks(self, build, n, depths):
        teacher = build()
        student, layer_map = every_nth_layer(teacher, n, start=0)
        with torch.no_grad():
            assert student.eval()(IMAGES).shape == (2, 1000)
        assert len(layer_map) == sum(depths)
        stages = {}
        for new, old in layer_map.items():
            stage, _, position = old.rpartition(".")
            assert new.rpartition(".")[0] == stage
            stages.setdefault(stage, []).append(int(position))
            torch.testing.assert_close(
                student.get_submodule(new).state_dict(), teacher.get_submodule(old).state_dict()
            )
        assert [len(each) for each in stages.values()] == depths
        assert all(each == list(range(0, n * len(each), n)) for each in stages.values())

    def test_a_stage_with_too_few_blocks_is_named(self):
        with pytest.raises(ArgumentError, match=r"got 2 blocks in 'stages.0.blocks' with start=2"):
            every_nth_layer(timm.create_model("convnext_atto"), 3)


@pytest.mark.parametrize(("start", "why"), [(-1, "at least 0"), (2, "below n"), (0.5, "")])
def test_start_is_below_n(start, why):
    with pytest.raises(ArgumentError, match=f"`start` must be {why}"):
        every_nth_layer(Net(), 2, start=start)


def test_a_model_without_blocks_is_named():
    with pytest.raises(ArgumentError, match=r"no repeated blocks were found in the teacher \(Lin"):
        keep_layers(nn.Linear(2, 2), [0])


def test_a_model_that_cannot_be_copied_is_named():
    teacher = Net()
    teacher.computed = teacher.stem(X)
    with pytest.raises(ModelError, match=r"the teacher \(Net\) must be .*copied.*load it again"):
        keep_layers(teacher, [0])


def test_the_teacher_runs_while_it_is_copied():
    found = []

    class Watching(nn.Linear):
        def __deepcopy__(self, memo):
            found.append(torch.equal(teacher(X), expected))
            return nn.Linear(4, 2)

    teacher = Net()
    teacher.head = Watching(4, 2)
    expected = teacher(X)
    keep_layers(teacher, [0, 3])
    assert found == [True]


def test_what_only_looks_like_a_number_of_blocks_stays():
    """Where one known entry has the number, others that are equal are about something else."""
    teacher = Net()
    teacher.freeze_first_layers, teacher.sizes = 4, [1, 2, 3, 4]
    student, _ = keep_layers(teacher, [0, 3])
    assert (student.num_layers, student.freeze_first_layers) == (2, 4)
    assert student.sizes == [1, 2, 3, 4]
