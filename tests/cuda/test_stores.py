"""Targets that are labelled on a device, read back, and learnt from there."""

import torch
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl
from devices import DEVICE, cuda, device_of

pytestmark = cuda
ENGINE = tl.Engine(device=DEVICE, progress=False)


def teacher():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 5))


def data():
    torch.manual_seed(1)
    return TensorDataset(torch.randn(300, 6), torch.randint(0, 5, (300,)))


def test_what_is_read_back_is_what_the_teacher_says(tmp_path):
    model = teacher()
    store = tl.label(model, data(), out=tmp_path, dtype="float32", engine=ENGINE)
    assert device_of(model) == torch.device("cpu")  # where it was
    rows = torch.tensor([299, 0, 17])
    found = store.read("output", rows)
    with torch.no_grad():
        expected = model(data().tensors[0][rows])
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=1e-4, atol=1e-4)


def test_a_student_of_the_store_ends_as_one_of_the_teacher(tmp_path):
    store = tl.label(teacher(), data(), out=tmp_path, dtype="float32", engine=ENGINE)
    found = []
    for source in (store, teacher()):
        torch.manual_seed(2)
        run = tl.distill(
            source,
            nn.Linear(6, 5),
            train=data(),
            objective=tl.SoftTargets(2),
            epochs=2,
            engine=ENGINE,
        )
        found.append(run.student.weight.detach().cpu())
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)


def test_a_teacher_in_low_precision_labels_within_its_precision(tmp_path):
    engine = tl.Engine(device=DEVICE, precision="bf16", progress=False)
    store = tl.label(teacher(), data(), out=tmp_path, engine=engine)
    with torch.no_grad():
        expected = teacher()(data().tensors[0][:50])
    found = torch.as_tensor(store.read("output", torch.arange(50))).float()
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05)
