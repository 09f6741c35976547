"""`torch.compile` of a distiller on a device gives the losses and gradients of the plain one."""

import pytest
import torch
from torch import nn

import tutelage as tl
from compiling import compilers_warnings, needs_compiler
from devices import DEVICE, cuda

pytestmark = [*cuda, needs_compiler, compilers_warnings]


@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=["fp32", "bf16"])
def test_a_compiled_distiller_is_the_plain_one(precision):
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Linear(6, n), nn.Tanh(), nn.Linear(n, 5)) for n in (16, 8))
    objective = 0.5 * tl.HardLabels() + tl.SoftTargets(2)
    distiller = tl.Distiller(student, teacher.to(DEVICE), objective).to(DEVICE)
    batch = tl.Batch(torch.randn(32, 6), torch.randint(0, 5, (32,))).to(torch.device(DEVICE))
    found = []
    for model in (distiller, torch.compile(distiller)):
        distiller.zero_grad()
        with torch.autocast(torch.device(DEVICE).type, precision, enabled=precision is not None):
            losses = model(batch)
        losses.total.backward()
        found.append((losses.total.detach(), *(each.grad.clone() for each in student.parameters())))
    near = 1e-5 if precision is None else 2e-2
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=near, atol=near)
