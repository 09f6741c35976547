"""Adam and AdamW run as one kernel; what the user chose stays."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

INPUTS = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(INPUTS, (INPUTS[:, 0] > 0).long())
Adam, AdamW, SGD = torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD


def trained(make, kept):
    torch.manual_seed(0)
    student = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))

    def keeping(parameters):
        kept.append(AdamW(parameters, lr=1e-3) if make is None else make(parameters))
        return kept[-1]

    tl.fit(student, train=DATA, steps=30, optimizer=keeping, engine=tl.Engine(progress=False))
    return student


@pytest.mark.parametrize(
    "kind", [Adam, AdamW, partial(Adam, amsgrad=True), partial(AdamW, weight_decay=0.3)]
)
def test_the_fused_kernel_makes_the_same_steps(kind):
    kept = []
    fused, plain = (
        trained(partial(kind, lr=1e-2), kept),
        trained(partial(kind, lr=1e-2, fused=False), kept),
    )
    assert [each.param_groups[0]["fused"] for each in kept] == [True, False]
    for one, other in zip(fused.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        partial(AdamW, fused=False), partial(Adam, foreach=True), partial(SGD, lr=0.1),
        torch.optim.NAdam, type("Own", (AdamW,), {}),
    ],
)  # fmt: skip
def test_what_was_chosen_stays(make):
    kept = []
    trained(make, kept)
    assert not kept[0].param_groups[0].get("fused")


def test_parameters_that_the_kernel_does_not_take_are_trained():
    class Complex(nn.Linear):
        def __init__(self):
            super().__init__(6, 2)
            self.phase = nn.Parameter(torch.ones(2, dtype=torch.complex64))

        def forward(self, inputs):
            return super().forward(inputs) * self.phase.real

    tl.fit(Complex(), train=DATA, steps=2, engine=tl.Engine(progress=False))


@pytest.mark.parametrize("kind", ["channels_last", "strided"])
def test_layouts_that_the_kernel_would_read_in_another_order_are_trained_as_they_are(kind):
    """It reads memory, not positions: of a gradient in another order, silently wrong ones."""

    def student():
        torch.manual_seed(0)
        made = nn.Sequential(
            nn.Unflatten(1, (1, 6, 1)), nn.Conv2d(1, 4, 3, padding=1), nn.Flatten()
        )
        if kind == "channels_last":
            return made.to(memory_format=torch.channels_last)
        made[1].weight = nn.Parameter(torch.randn(4, 1, 3, 6)[..., ::2])
        return made

    found = []
    for fused in (None, False):
        made = student()
        make = partial(AdamW, lr=1e-2, fused=fused)
        tl.fit(made, train=DATA, steps=20, optimizer=make, engine=tl.Engine(progress=False))
        found.append([each.detach().clone() for each in made.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
