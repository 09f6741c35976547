"""`torch.compile` of a distiller that compares layers: models run uncompiled beside the graphs."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

import tutelage as tl
from compiling import compilers_warnings, needs_compiler
from tutelage.layers.capture import Captured, capturing
from tutelage.signals import Batch
from tutelage.teachers import Predictor
from tutelage.wants import Fields

pytestmark = compilers_warnings
LABELS = torch.arange(6) % 5


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(seed):
    return Batch(normal(seed, 6, 3, 5, 5), LABELS)


def tokens(seed):
    return Batch(normal(seed, 6, 3, 4), LABELS)


def pairs(seed):
    return Batch({"x": normal(seed, 6, 4), "scale": normal(seed + 9, 6, 1)}, LABELS)


def convolutions(width):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(width, width, 2), nn.BatchNorm2d(width)), nn.Flatten(),
        nn.Linear(4 * width, 5),
    )  # fmt: skip


class Transformer(nn.Module):
    """In eval mode PyTorch's layer calls none of its parts, unless one of them has a hook."""

    def __init__(self, width):
        super().__init__()
        self.embed = nn.Linear(4, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, width, dropout=0, batch_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        return self.head(self.layer(self.embed(x)).mean(1))


class Both(nn.Module):
    def forward(self, x, factor):
        return x * factor, {"tanh": x.tanh()}


class Several(nn.Module):
    """A layer with two arguments, one by name, and two outputs."""

    def __init__(self, width):
        super().__init__()
        self.first, self.both, self.head = nn.Linear(4, width), Both(), nn.Linear(width, 5)

    def forward(self, x, scale):
        scaled, others = self.both(self.first(x), factor=scale)
        return self.head(scaled + others["tanh"])


class Breaks(nn.Module):
    def forward(self, x):
        torch._dynamo.graph_break()
        return 1 * x


def two(student, teacher, objective, batch):
    torch.manual_seed(0)
    distiller = tl.Distiller(student, teacher, objective)
    distiller.build(batch)
    return distiller, copy.deepcopy(distiller)


def modules(distiller):
    return [*distiller.modules(), *(distiller.teacher.modules()[0].modules())]


def check_same(compiled, ours, plain, batches, near=1e-5):
    """Compare losses, features, gradients and the state that a step leaves behind."""
    for batch in batches:
        found = []
        for call, distiller in ((compiled, ours), (plain, plain)):
            losses = call(batch)
            learnt = [each for each in distiller.parameters() if each.requires_grad]
            gradients = torch.autograd.grad(losses.total, learnt, allow_unused=True)
            sides = (losses.student.features, losses.teacher.features)
            states = [dict(each.named_buffers()) for each in modules(distiller)]
            found.append((losses.total, losses.parts, sides, gradients, states))
        torch.testing.assert_close(*found, rtol=near, atol=near)
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in modules(ours))


SOFT = tl.SoftTargets(2)
CASES = {
    "convolutions": (convolutions, pictures, tl.FeatureMatch({"2": "2", "3": "3"}) + SOFT),
    "stops early": (convolutions, pictures, tl.FeatureMatch({"0": "0"})),
    "inputs": (convolutions, pictures, tl.AttentionTransfer({"3:input": "3:input"}) + SOFT),
    "one layer twice": (convolutions, pictures, tl.RKD({"3": "3:input"}) + tl.CKA({"3": "3"})),
    "fast path": (Transformer, tokens, tl.FeatureMatch({"layer.self_attn": "layer.self_attn[0]"})),
    "items": (Several, pairs, tl.FeatureMatch({"both[0]": "both", "first": "both:input"}) + SOFT),
    "arguments": (Several, pairs, tl.FeatureMatch({"first": "both:input[0]"}) + SOFT),
}


class TestGraphs:
    @pytest.mark.parametrize(("make", "batches", "objective"), CASES.values(), ids=CASES)
    def test_all_is_the_same(self, make, batches, objective):
        ours, plain = two(make(4), make(8), copy.deepcopy(objective), batches(0))
        compiled = torch.compile(ours, backend="aot_eager")
        check_same(compiled, ours, plain, map(batches, range(3)))

    @needs_compiler
    def test_with_the_default_compiler(self):
        make = lambda width: nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 5))  # noqa: E731
        batches = [Batch(normal(seed, 6, 4), LABELS) for seed in range(2)]
        ours, plain = two(make(4), make(8), tl.FeatureMatch({"1": "1"}) + SOFT, batches[0])
        check_same(torch.compile(ours), ours, plain, batches)

    def test_hooks_of_others_act_as_without_the_compiler(self):
        parts = two(convolutions(4), convolutions(8), CASES["inputs"][2], pictures(0))
        for each in parts:
            each.student[3].register_forward_pre_hook(lambda _, args: (2 * args[0],))
            each.teacher.module[3].register_forward_hook(lambda _, __, result: 3 * result)
        ours, plain = parts
        compiled = torch.compile(ours, backend="aot_eager")
        losses = [each(pictures(1)) for each in (compiled, plain)]
        torch.testing.assert_close(*[each.student.features for each in losses])
        torch.testing.assert_close(*[each.teacher.features for each in losses])
        torch.testing.assert_close(*[each.total for each in losses])

    @pytest.mark.parametrize("side", ["student", "teacher"])
    def test_models_that_are_compiled_themselves(self, side):
        ours, plain = two(convolutions(4), convolutions(8), CASES["inputs"][2], pictures(0))
        if side == "student":
            ours.student.compile(backend="aot_eager")
        else:
            ours.teacher.module = torch.compile(ours.teacher.module, backend="aot_eager")
        compiled = torch.compile(ours, backend="aot_eager")
        losses = [each(pictures(1)).total for each in (compiled, plain)]
        torch.testing.assert_close(*losses)

    def test_a_student_that_learns_nothing_is_refused(self):
        class Detached(nn.Module):
            def forward(self, x):
                return x.detach()

        student = nn.Sequential(nn.Linear(4, 4), Detached(), nn.Linear(4, 5))
        teacher = nn.Sequential(nn.Linear(4, 4))
        ours = tl.Distiller(student, teacher, tl.RKD({"1": "0"}))
        with pytest.raises(tl.ModelError, match="each loss term must train the student"):
            torch.compile(ours, backend="aot_eager")(Batch(normal(0, 6, 4)))


class TestBrokenGraphs:
    @pytest.mark.parametrize("side", ["student", "teacher"])
    def test_models_that_cannot_be_traced(self, side):
        student, teacher = convolutions(4), convolutions(8)
        {"student": student, "teacher": teacher}[side].insert(4, Breaks())
        ours, plain = two(student, teacher, tl.FeatureMatch({"2": "2"}) + SOFT, pictures(0))
        compiled = torch.compile(ours, backend="aot_eager")
        check_same(compiled, ours, plain, map(pictures, range(2)))

    def test_while_another_thread_captures(self):
        ours, plain = two(
            convolutions(4), convolutions(8).eval(), tl.FeatureMatch({"2": "2"}) + SOFT, pictures(0)
        )
        compiled = torch.compile(ours, backend="aot_eager")
        begun, done, theirs = threading.Event(), threading.Event(), Captured()
        model = ours.teacher.module

        def capture():
            with capturing(model, Fields(True, frozenset(["2"])), "model", theirs):
                begun.set()
                done.wait(60)
                model(pictures(9).inputs)

        thread = threading.Thread(target=capture)
        thread.start()
        begun.wait(60)
        try:
            torch.testing.assert_close(compiled(pictures(1)).total, plain(pictures(1)).total)
        finally:
            done.set()
            thread.join()
        torch.testing.assert_close(theirs.features["2"], model[:3](pictures(9).inputs))
        torch.testing.assert_close(compiled(pictures(2)).total, plain(pictures(2)).total)

    def test_a_teacher_that_is_not_traced_runs_beside_the_graphs(self, tmp_path):
        data = torch.utils.data.TensorDataset(normal(3, 12, 4), torch.arange(12) % 5)
        store = tl.label(nn.Linear(4, 5), data, out=tmp_path / "store")
        function = Predictor(lambda x: x.mean(1, keepdims=True).repeat(5, 1))
        routed = {"one": nn.Linear(4, 5), "other": nn.Linear(4, 5)}
        for teacher in (store, function, routed):
            ours = tl.Distiller(nn.Linear(4, 5), teacher, SOFT)
            compiled = torch.compile(ours, backend="aot_eager")
            counters.clear()
            for step in range(5):
                rows = (torch.arange(6) + step) % 12
                domain = ["one" if (row * step) % 3 else "other" for row in range(6)]
                batch = Batch(data.tensors[0][rows], index=rows, domain=domain)
                torch.testing.assert_close(compiled(batch).total, ours(batch).total)
            assert not ours.teacher.is_traceable()
            assert counters["stats"]["unique_graphs"] <= 3
