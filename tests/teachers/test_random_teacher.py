"""A teacher that draws random numbers in eval mode too."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl


class Drawing(nn.Linear):
    """Draws random numbers in eval mode too, and uses them or not."""

    def __init__(self, used):
        super().__init__(5, 3)
        self.used = used

    def forward(self, inputs):
        kept = torch.rand(inputs.shape) > 0.5
        return super().forward(inputs * kept if self.used else inputs)


@pytest.mark.parametrize("used", [True, False])
def test_a_teacher_whose_answers_are_random_is_told(used, caplog, tmp_path):
    inputs = torch.randn(6, 5)
    distiller = tl.Distiller(nn.Linear(5, 3), Drawing(used), tl.SoftTargets(2))
    for _ in range(2):
        distiller(tl.Batch(inputs))
    assert len(caplog.records) == used
    data = TensorDataset(inputs)
    tl.label(Drawing(used), data, out=tmp_path, engine=tl.Engine(device="cpu", progress=False))
    assert len(caplog.records) == 2 * used
    for record in caplog.records:
        assert (
            "teacher (Drawing) gives other outputs when it is called again" in record.getMessage()
        )
