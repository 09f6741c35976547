"""Programs of torch.export by reference."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.references import load_model

ROWS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Dropout()).eval()


@pytest.fixture
def path(tmp_path):
    model = network()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "m.pt2")
    return tmp_path / "m.pt2"


def test_a_program_that_is_trusted_is_a_teacher(path):
    teacher = load_model("teacher", str(path), trust=True)
    assert torch.equal(teacher(ROWS), network()(ROWS))
    data = [(row, index % 3) for index, row in enumerate(ROWS)]
    run = tl.distill(teacher, nn.Linear(4, 3), train=data, objective=tl.SoftTargets(2), epochs=1)
    assert run.student(ROWS).shape == (6, 3)


def test_others_are_refused(path):
    with pytest.raises(ModelError, match=r"can run code when it is loaded; .* pass trust=True"):
        load_model("teacher", str(path))
    with pytest.raises(ArgumentError, match="cannot consent to code itself"):
        load_model("teacher", f"{path}?trust_code")


def test_damaged_files_are_refused(path):
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model("teacher", str(path), trust=True)


def test_files_that_do_not_exist_are_refused():
    for name in ("m.onnx", "m.pt2", "m.skops", "m.ubj", "m.txt", "m.cbm"):
        with pytest.raises(ArgumentError, match="must name an existing file, got 'nothing/m"):
            load_model("teacher", f"nothing/{name}")
