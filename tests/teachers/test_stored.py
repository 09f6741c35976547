"""A store instead of the teacher: its outputs and errors."""

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

import tutelage as tl
from store.conftest import dense, make, output_of
from tutelage.errors import ModelError
from tutelage.teachers import Live, Stored, as_teacher

OUTPUT = tl.Fields(output=True)


def data(examples=60, seed=1):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(examples, 4, generator=generator)
    return TensorDataset(inputs, torch.randint(0, 3, (examples,), generator=generator))


def quiet():
    return tl.Engine(device="cpu", progress=False)


@pytest.fixture
def teacher():
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


@pytest.fixture
def store(teacher, tmp_path):
    return tl.label(teacher, data(), out=tmp_path / "store", engine=quiet())


def distill(teacher, train, student=None, objective=None, **options):
    return tl.distill(
        teacher, student or nn.Linear(4, 3), train=train, objective=objective or tl.SoftTargets(2),
        epochs=1, engine=quiet(), **options,
    )  # fmt: skip


def test_targets_are_found_by_index_in_float32(store, teacher):
    index = torch.tensor([5, 59, 0, 5])
    batch = tl.Batch(torch.zeros(4, 4), index=index)
    found = Stored(store).signals(batch, OUTPUT)
    assert found.output.dtype == torch.float32
    torch.testing.assert_close(
        found.output, teacher(data().tensors[0][index]).data, rtol=5e-4, atol=1e-5
    )
    assert Stored(store).signals(batch, tl.Fields()) == tl.Signals()


def test_the_output_of_a_top_k_store_is_coarse_logits(teacher, tmp_path):
    store = tl.label(teacher, data(), out=tmp_path, top_k=2, engine=quiet())
    found = Stored(store).signals(tl.Batch(torch.zeros(1, 4), index=torch.tensor([3])), OUTPUT)
    assert isinstance(found.output, tl.CoarseLogits)
    assert found.output.logits.dtype == found.output.other.dtype == torch.float32
    assert found.output.ids.dtype == torch.int64


def test_each_view_has_rows_of_its_own(tmp_path):
    store = make(tmp_path / "store", [dense()], examples=10, views=3)
    stored = Stored(store)

    batch = tl.Batch(torch.zeros(2, 4), index=torch.tensor([9, 0]), view=2)
    assert torch.equal(
        stored.signals(batch, OUTPUT).output, output_of([29, 20], store.fields).output
    )


def test_a_view_out_of_range_is_refused(tmp_path):
    stored = Stored(make(tmp_path / "store", [dense()], examples=10, views=3))
    with pytest.raises(tl.StoreError, match=r"in views 0 to 2, got .* in view 3; .*count=3"):
        stored.signals(tl.Batch(torch.zeros(2, 4), index=torch.tensor([0, 1]), view=3), OUTPUT)


@pytest.mark.parametrize("index", [[-1, 3], [3, 60]])
def test_an_index_out_of_range_is_refused(index, store):
    batch = tl.Batch(torch.zeros(2, 4), index=torch.tensor(index))
    with pytest.raises(tl.StoreError, match="has targets for examples 0 to 59 in"):
        Stored(store).signals(batch, OUTPUT)


def test_a_batch_without_an_index_is_refused(store):
    with pytest.raises(
        tl.DataError, match=r"the data set itself, or a DataLoader over tl\.data\.Indexed"
    ):
        Stored(store).signals(tl.Batch(torch.zeros(2, 4)), OUTPUT)
    with pytest.raises(tl.DataError, match="without `index`"):
        distill(store, DataLoader(data(), 8))


def test_a_field_that_is_not_stored_is_refused(store):
    objective = tl.FeatureMatch({"0": "0"})
    student = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(tl.StoreError, match=r"contain the field '0', got one with \['output'\]"):
        distill(store, data(), student, objective)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (data(61), "got 61 examples instead of 60"),
        (data(seed=2), "got as many examples with other content or in another order"),
        (Subset(data(), torch.randperm(60).tolist()), "in another order; give that data set"),
        (TensorDataset(data().tensors[0]), "other content"),
        (ConcatDataset([data(), data()]), "got 120 examples instead of 60"),
    ],
)
def test_other_data_is_refused(other, message, store):
    with pytest.raises(tl.StoreError, match=rf"`train` must be the data .*{message}"):
        distill(store, other)


def test_targets_of_another_teacher_are_refused(store, teacher):
    assert Stored(store, teacher=teacher).stores == (store,)
    assert Stored(store, teacher=Live(teacher)).stores == (store,)
    with pytest.raises(
        tl.StoreError, match=r"must be those of the teacher 'Linear .*', got those of"
    ):
        Stored(store, teacher=nn.Linear(4, 3))


def test_a_store_or_its_folder_becomes_a_teacher(store):
    assert isinstance(as_teacher(store), Stored)
    assert Stored(store.path).fingerprint() == as_teacher(store).fingerprint()
    assert Stored(str(store.path)).stores[0].manifest == store.manifest


def test_the_fingerprint_changes_with_the_targets(store, tmp_path):
    other = tl.label(nn.Linear(4, 3), data(), out=tmp_path / "other", engine=quiet())
    assert Stored(store).fingerprint() != Stored(other).fingerprint()
    assert Stored(store).fingerprint() != Stored(store, other).fingerprint()


def test_a_transform_that_changes_inputs_is_refused(store):
    changed = tl.data.transformed(
        tl.Batch(torch.zeros(2, 4), torch.zeros(2).long(), torch.arange(2)), tl.data.Noise(0.1)
    )
    with pytest.raises(tl.DataError, match="no `transform` that changes the inputs"):
        Stored(store).signals(changed, OUTPUT)


def test_validation_without_a_store_uses_labels(store):
    run = distill(store, data(), val=data(20, seed=9))
    assert "val/accuracy" in run.history[0]
    assert "val/loss" not in run.history[0]
    assert "val/agreement" not in run.history[0]
    assert run.teacher is None  # nobody answers for `val`, so nothing is reported of a teacher


def test_validation_with_a_store_equals_that_with_a_live_teacher(store, teacher, tmp_path):
    val = data(20, seed=9)
    more = tl.label(teacher, val, out=tmp_path / "val", engine=quiet())
    torch.manual_seed(1)
    live = distill(teacher, data(), val=val)
    torch.manual_seed(1)
    stored = distill(Stored(store, more), data(), val=val)
    for name, value in live.history[0].items():
        if name != "seconds":
            assert stored.history[0][name] == pytest.approx(value, rel=2e-3), name
    assert "val/agreement" in stored.history[0]
    assert stored.teacher.stores == (more,)


def test_validation_with_neither_labels_nor_a_store_is_refused(store):
    val = TensorDataset(data(20, seed=9).tensors[0])
    with pytest.raises(tl.DataError, match=r"must have labels .*or a teacher.*Stored\(store, val_"):
        distill(store, data(), val=val)


def test_a_run_on_a_store_is_reported_and_resumed(store, tmp_path):
    out = tmp_path / "run"
    run = distill(store, data(), val=data(20, seed=9), out=out)
    assert run.report().exists()
    again = distill(store, data(), nn.Linear(4, 3), val=data(20, seed=9), out=out)
    assert again.history == run.history


def test_of_several_stores_one_is_chosen_before_the_first_batch(store, teacher, tmp_path):
    """Else the targets of the training data would be read for the validation data."""
    val = data(20, seed=9)
    both = Stored(store, tl.label(teacher, val, out=tmp_path / "val", engine=quiet()))
    batch = tl.Batch(torch.zeros(1, 4), index=torch.tensor([3]))
    with pytest.raises(tl.StoreError, match=r"of several; .*for_data\('train', dataset\)"):
        both.signals(batch, OUTPUT)
    found = both.for_data("val", val).signals(batch, OUTPUT).output
    torch.testing.assert_close(found, teacher(val.tensors[0][3:4]).data, rtol=5e-4, atol=1e-5)


def test_other_data_cannot_be_labelled_by_a_store(store, tmp_path):
    again = tl.label(store, data(), out=tmp_path / "again", top_k=2, engine=quiet())
    assert again.fields[0].form == "coarse"
    with pytest.raises(tl.StoreError, match=r"`dataset` must be the data set that was labelled"):
        tl.label(store, data(seed=9), out=tmp_path / "other", engine=quiet())


def test_no_store_is_refused():
    with pytest.raises(tl.ArgumentError, match="needs a store or its folder, got none"):
        Stored()


@pytest.mark.parametrize("kept", [{"top_k": 3}, {"sampled_classes": 3}])
def test_a_student_must_have_the_classes_of_the_teacher_that_was_labelled(tmp_path, kept):
    inputs = torch.randn(8, 4)
    store = tl.label(nn.Linear(4, 5), inputs, out=tmp_path / "store", **kept)
    batch = tl.Batch(inputs, index=torch.arange(8))
    for classes in (4, 6):
        ask = tl.Distiller(nn.Linear(4, classes), tl.teachers.Stored(store), tl.SoftTargets(1))
        with pytest.raises(ModelError, match=rf"{classes} \(student\) and 5 \(teacher"):
            ask(batch)
    assert tl.Distiller(nn.Linear(4, 5), tl.teachers.Stored(store), tl.SoftTargets(1))(batch).total
