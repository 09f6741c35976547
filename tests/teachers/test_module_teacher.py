"""A teacher of one's own may be a module as well."""

import torch
from torch import nn

import tutelage as tl


def test_a_teacher_that_is_a_module_too_is_still_no_part_of_the_distiller():
    class Both(tl.teachers.Teacher, nn.Module):
        def __init__(self):
            nn.Module.__init__(self)
            self.layer = nn.Linear(4, 3)

        def signals(self, batch, fields):
            return tl.Signals(self.layer(batch.inputs).detach())

        def fingerprint(self):
            return "both"

    distiller = tl.Distiller(nn.Linear(4, 3), Both(), tl.SoftTargets())
    assert sorted(distiller.state_dict()) == ["student.bias", "student.weight"]
    distiller(tl.Batch(torch.randn(2, 4))).total.backward()
