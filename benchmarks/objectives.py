"""Cost of the objectives against the same formulas in the fewest lines of PyTorch.

    python benchmarks/objectives.py [--default-malloc]

Forward and backward of each objective, as in a run, on logits 256 × 1,000, feature maps
64 × 256 × 14 × 14, embeddings 256 × 128 (64 × 128 for relations), and texts of 128 tokens of width
384, against `formulas.py` on the same tensors. Loss and gradient are checked to be equal first. The
objectives check their arguments, compute in float32 at least, and support constant rows, padding
and unlabelled examples; the short expressions do not. The target is a ratio of at most 1.1.
PyTorch's own losses are written twice: with PyTorch's fused mean, and as the mean of one value per
example, which an objective must return (for one of them also the fastest form, with sums).

Then the same objectives, and some on logits 512 × 32,000, eager and by `torch.compile` (which
needs a C++ compiler; without one this is left out); and a forward pass whose layers are captured,
against the plain pass and against a model that returns the same layers itself. The target there is
1.02 of the plain pass. Captured tensors are copies, as later layers may work in place.

As in `overhead.py`, freed memory stays with the process, unless --default-malloc is given. The two
sides alternate, each first in every other round; the ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import formulas
import tutelage as tl
from overhead import keep_pages, resnet20
from tutelage.layers import observe
from tutelage.signals import Batch, Signals
from tutelage.wants import Fields

ROUNDS = 15
ROUND_SECONDS = 0.1  # at least, for each side
CLASSES = torch.randint(0, 1000, (256,))
ONE_EACH, SUMS = ", a value per example", ", a sum per example"


@dataclass(frozen=True)
class Case:
    """An objective, and the function that computes the same from student and teacher."""

    objective: tl.Objective
    by_hand: Callable[..., Tensor]
    student: Tensor
    teacher: Tensor
    labels: Tensor | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """The objective's name, and the note."""
        return type(self.objective).__name__ + self.note

    def ours(self) -> Tensor:
        """Return the objective's mean."""
        sides = Signals(self.student), Signals(self.teacher)
        return self.objective(*sides, Batch(self.student, self.labels)).mean()

    def hand(self) -> Tensor:
        """Return the mean by the short expression."""
        more = () if self.labels is None else (self.labels,)
        return self.by_hand(self.student, self.teacher, *more)


def output_cases() -> list[Case]:
    """Return the objectives on outputs."""
    z, v = torch.randn(256, 1000).mul(3).requires_grad_(), torch.randn(256, 1000) * 3
    values = torch.randn(256, 1000)

    def case(
        objective: tl.Objective, hand: Callable[..., Tensor], labels: Tensor | None = None,
        note: str = "",
    ) -> Case:  # fmt: skip
        return Case(objective, hand, z, v, labels, note)

    return [
        case(tl.HardLabels(), lambda z, _, y: F.cross_entropy(z, y), CLASSES),
        case(tl.HardLabels(), lambda z, _, y: each_label(z, y).mean(), CLASSES, ONE_EACH),
        case(tl.SoftTargets(4), partial(formulas.kl, temperature=4.0)),
        case(tl.LogitRegression(), lambda z, v: formulas.center(z - v).square().mean() / 2),
        case(tl.DKD(), formulas.dkd, CLASSES),
        case(tl.DIST(), formulas.dist),
        case(tl.LogitStandardization(), formulas.logit_standardization),
        case(tl.WTTM(), formulas.wttm),
        case(tl.NKD(), formulas.nkd, CLASSES),
        case(tl.OFA(), formulas.ofa, CLASSES),
        case(tl.LabelRegression(), lambda z, _, y: F.mse_loss(z, y), values),
        case(tl.LabelRegression(), lambda z, _, y: each_error(z, y).mean(), values, ONE_EACH),
        case(tl.OutputRegression(), F.mse_loss),
        case(tl.OutputRegression(), lambda z, v: each_error(z, v).mean(), None, ONE_EACH),
        case(tl.OutputRegression(), lambda z, v: each_sum(z, v).mean() / z.shape[1], None, SUMS),
        case(tl.BoundedRegression(), formulas.bounded, values),
        case(tl.GaussianRegression(), formulas.gaussian),
    ]


def each_label(z: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropies, `[batch]`."""
    return F.cross_entropy(z, labels, reduction="none")


def each_error(z: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared errors, `[batch]`."""
    return F.mse_loss(z, target, reduction="none").flatten(1).mean(dim=1)


def each_sum(z: Tensor, target: Tensor) -> Tensor:
    """Return the sums of squared errors, `[batch]`, whose gradient is never as large as `z`."""
    return F.mse_loss(z, target, reduction="none").sum(dim=1)


def layer_cases() -> list[Case]:
    """Return the objectives on layers, which compare outputs here."""
    maps = torch.randn(64, 256, 14, 14).requires_grad_(), torch.randn(64, 256, 14, 14)
    rows = torch.randn(256, 128).requires_grad_(), torch.randn(256, 128)
    few = torch.randn(64, 128).requires_grad_(), torch.randn(64, 128)
    tokens = torch.randn(16, 128, 384).requires_grad_(), torch.randn(16, 128, 384)
    relations = tl.MiniLMv2({"attention": "attention"}, 12, ("query",), ("query",))
    attention, channels, pixels = (
        kind({"4": "4"}) for kind in (tl.AttentionTransfer, tl.CWD, tl.SKD)
    )
    for each in (relations, attention, channels, pixels):
        each.layer_map = None  # they compare outputs, like the others
    cases = [
        Case(tl.FeatureMatch(), F.mse_loss, *maps),
        Case(tl.FeatureMatch(), lambda f, g: each_error(f, g).mean(), *maps, note=ONE_EACH),
        Case(attention, formulas.attention_transfer, *maps),
        Case(channels, formulas.cwd, *maps),
        Case(pixels, formulas.skd, *maps),
        Case(tl.RKD(), formulas.rkd, *few),
        Case(tl.CKA(), formulas.cka, *rows),
        Case(relations, formulas.minilmv2, *tokens),
        contrast(*rows),
        rotation(*maps),
    ]
    for case in cases:
        if case.objective.built:
            continue
        case.objective.build(Signals(case.student.detach()), Signals(case.teacher))
    return cases


def contrast(student: Tensor, teacher: Tensor) -> Case:
    """Return CRD with a full memory, and the short form with the same heads."""
    objective = tl.CRD()
    objective.build(Signals(student.detach()), Signals(teacher))
    (parts,) = objective.embeddings
    assert isinstance(parts.memory, nn.Module)
    memory = F.normalize(torch.randn(objective.memory, 128))
    parts.memory.get_buffer("rows").copy_(memory)
    parts.memory.get_buffer("added").fill_(objective.memory)
    oldest = 0

    def hand(f: Tensor, g: Tensor) -> Tensor:
        nonlocal oldest
        theirs = parts.get_submodule("teacher")(g)
        loss = formulas.crd(parts.get_submodule("student")(f), theirs, memory)
        memory[oldest : oldest + len(f)] = F.normalize(theirs.detach())
        oldest = (oldest + len(f)) % len(memory)
        return loss

    return Case(objective, hand, student, teacher)


def rotation(student: Tensor, teacher: Tensor) -> Case:
    """Return VkD, and the short form with the same matrix."""
    objective = tl.VkD()
    objective.build(Signals(student.detach()), Signals(teacher))
    weight = objective.projectors[0].get_parameter("weight")
    with torch.no_grad():
        q, r = torch.linalg.qr(weight)
        weight.copy_(q * r.diagonal().sign())
        # Q of the decomposition may have columns of the opposite sign.
        signs = torch.linalg.qr(weight)[1].diagonal().sign()
    return Case(objective, lambda f, g: formulas.vkd(f, g, weight, signs), student, teacher)


def alternate(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float, float]:
    """Return the median seconds of a call of each, and the median of their ratios."""
    repeats = 1
    while _seconds(one, repeats) * repeats < ROUND_SECONDS:
        repeats *= 2
    _seconds(other, repeats)
    first, second = [], []
    for number in range(ROUNDS):
        for kind in (0, 1) if number % 2 else (1, 0):
            (first, second)[kind].append(_seconds((one, other)[kind], repeats))
    return median(first), median(second), median(b / a for a, b in zip(first, second, strict=True))


def _seconds(call: Callable[[], object], repeats: int) -> float:
    began = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - began) / repeats


def _row(name: str, times: tuple[float, float, float]) -> None:
    one, other, ratio = times
    print(f"{name:42} {1e3 * one:10.3f} ms {1e3 * other:10.3f} ms   ratio {ratio:.3f}", flush=True)


def _learn(loss: Callable[[], Tensor], leaf: Tensor) -> None:
    leaf.grad = None
    loss().backward()


def check(case: Case, one: Callable[[], Tensor], other: Callable[[], Tensor]) -> None:
    """Check that two functions have equal values and gradients."""
    gradients = [torch.autograd.grad(loss(), case.student)[0] for loss in (one, other)]
    torch.testing.assert_close(other(), one(), rtol=1e-3, atol=1e-4)
    scale = gradients[0].abs().max().item()
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3 * scale)


def objectives() -> None:
    """Print the table of the objectives."""
    print(f"\n{'forward and backward':42} {'by hand':>13} {'tutelage':>13}   target: at most 1.1")
    for case in (*output_cases(), *layer_cases()):
        check(case, case.hand, case.ours)
        both = (partial(_learn, loss, case.student) for loss in (case.hand, case.ours))
        _row(case.name, alternate(*both))


def vocabulary_cases() -> list[Case]:
    """Return objectives on logits over a large vocabulary."""
    z, v = torch.randn(512, 32000).mul(3).requires_grad_(), torch.randn(512, 32000) * 3
    labels = torch.randint(0, 32000, (512,))
    kl, note = partial(formulas.kl, temperature=4.0), ", 512 × 32,000"
    return [
        Case(tl.SoftTargets(4), kl, z, v, note=note),
        Case(tl.HardLabels(), lambda z, _, y: F.cross_entropy(z, y), z, v, labels, note),
        Case(tl.DKD(), formulas.dkd, z, v, labels, note),
    ]


def compiled() -> None:
    """Print the times of compiled objectives, and of compiling."""
    print(f"\n{'forward and backward':42} {'eager':>13} {'compiled':>13}")
    if not any(map(shutil.which, ("g++", "clang++", "c++"))):
        print("left out: torch.compile needs a C++ compiler, and none was found")
        return
    cases = [case for case in (*output_cases(), *layer_cases()) if not case.note]
    firsts = []
    for case in (*vocabulary_cases(), *cases):
        torch._dynamo.reset()  # noqa: SLF001 - else it compiles for variable widths
        fast = replace(case, objective=copy.deepcopy(case.objective))
        fast.objective.compile()
        firsts.append(_seconds(partial(_learn, fast.ours, case.student), 1))
        case.ours()  # so that both memories hold the same
        check(case, case.ours, fast.ours)
        both = (partial(_learn, each.ours, case.student) for each in (case, fast))
        _row(case.name, alternate(*both))
    print(f"first calls, which compile: {min(firsts):.1f} to {max(firsts):.1f} s")


class ReturnsLayers(nn.Module):
    """A sequential model that returns its output and the outputs of some layers."""

    def __init__(self, model: nn.Sequential, steps: tuple[int, ...]) -> None:
        super().__init__()
        self.model, self.steps = model, steps

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return output and features."""
        found = []
        for number, step in enumerate(self.model):
            inputs = step(inputs)
            if number in self.steps:
                found.append(inputs)
        return inputs, *found


def transformer() -> nn.Sequential:
    """Return four encoder layers of width 256."""
    layers = [
        nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True) for _ in range(4)
    ]
    return nn.Sequential(*layers)


def capture() -> None:
    """Print the cost of capturing one or two layers in a forward pass."""
    networks = {
        "ResNet-20, 64 images": (resnet20(), torch.randn(64, 3, 32, 32), (8, 11)),
        "transformer, 16 × 64 tokens": (transformer(), torch.randn(16, 64, 256), (1, 3)),
    }
    for against in ("the plain pass", "returned"):
        print(f"\n{'forward pass':42} {against:>13} {'captured':>13}   target: at most 1.02")
        for name, (model, inputs, steps) in networks.items():
            assert isinstance(model, nn.Sequential)
            for wanted in (steps[-1:], steps):
                fields = Fields(output=True, features=frozenset(map(str, wanted)))
                plain = model if against == "the plain pass" else ReturnsLayers(model, wanted)
                times = alternate(
                    partial(plain, inputs), partial(observe, model, inputs, fields, "student")
                )
                _row(f"{name}, {len(wanted)} of them", times)


def main() -> None:
    """Run all comparisons."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds")
    objectives()
    compiled()
    capture()


if __name__ == "__main__":
    keep_pages()
    main()
