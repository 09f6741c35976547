"""Stored answers to augmented views: the student sees the very pixels that the teacher saw."""

import random
import signal

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset

import tutelage as tl
from augmentations import TRANSFORMS, Images, all_noise
from children import PROGRAMS, Child

IMAGES = Images()


class Sums(nn.Module):
    """A teacher whose answer to an image does not depend on the batch: sums, row by row."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 192))
        self.asked = 0

    def forward(self, images):
        self.asked += len(images)
        return torch.stack([(images.flatten(1) * row).sum(1) for row in self.weight], dim=1)


class Watched(tl.Objective):
    """Soft targets that keep a record of the teacher's answers and of what they should be."""

    wants = tl.Wants(student=tl.Fields(output=True), teacher=tl.Fields(output=True))

    def __init__(self, teacher):
        super().__init__()
        self.ask, self.seen = teacher.forward, []

    def __deepcopy__(self, memo):
        return self  # so that the test sees what the run saw

    def forward(self, student, teacher, batch):
        with torch.no_grad():
            assert torch.equal(self.ask(batch.inputs), teacher.logits)
        self.seen.append((batch.view, batch.index.tolist()))
        return tl.objectives.soft_targets(student.logits, teacher.logits, 2.0)


def quiet():
    return tl.Engine(device="cpu", progress=False)


def label(teacher, dataset, out, **options):
    return tl.label(teacher, dataset, out=out, dtype="float32", engine=quiet(), **options)


def taught(teacher, train, objective, epochs=4):
    torch.manual_seed(3)
    student = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    tl.distill(
        teacher, student, train=train, objective=objective, epochs=epochs, batch_size=8,
        engine=quiet(),
    )  # fmt: skip
    return torch.cat([each.flatten() for each in student.state_dict().values()])


def shuffled(dataset, workers=0, persistent=False):
    return DataLoader(
        tl.data.Indexed(dataset),
        8,
        shuffle=True,
        num_workers=workers,
        persistent_workers=persistent,
    )


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_store_has_the_teachers_answers_to_each_view(kind, tmp_path):
    teacher, views = Sums(), tl.data.Views(IMAGES, TRANSFORMS[kind], seed=5)
    store = label(teacher, views, tmp_path, views=3, batch_size=6)
    for view in range(3):
        pixels = torch.stack([views.example(place, view)[0] for place in range(20)])
        rows = torch.arange(20) + 20 * view
        assert torch.equal(store.read("output", rows), teacher(pixels).detach())
    assert (store.manifest.views.count, store.manifest.views.seed) == (3, 5)
    assert "seed=5" in store.manifest.views.transform


TRAINING = {
    "set": lambda views: views,
    "subset": lambda views: Subset(views, list(range(17))),
    "joined": lambda views: ConcatDataset([views, views]),
    "loader": shuffled,
    "workers": lambda views: shuffled(views, 2),
    "persistent workers": lambda views: shuffled(views, 2, persistent=True),
}


@pytest.mark.parametrize("kind", TRAINING)
@pytest.mark.parametrize("count", [2, None])
def test_the_student_sees_the_pixels_that_the_teacher_saw(kind, count, tmp_path):
    teacher = Sums()
    train = TRAINING[kind](tl.data.Views(IMAGES, all_noise, count=count))
    plain = train.dataset if isinstance(train, DataLoader) else train
    store = label(teacher, plain, tmp_path, views=2)
    objective = Watched(teacher)
    taught(store, train, objective)
    for epoch in range(4):
        steps = -(-len(plain) // 8)
        seen = objective.seen[epoch * steps : (epoch + 1) * steps]
        assert {view for view, _ in seen} == {epoch % 2}
        assert sorted(place for _, places in seen for place in places) == list(range(len(plain)))


@pytest.mark.parametrize("wrap", [lambda views: views, lambda views: shuffled(views, 2)])
def test_it_ends_with_the_weights_of_the_live_teacher(wrap, tmp_path):
    teacher = Sums()
    views = tl.data.Views(IMAGES, TRANSFORMS["torchvision"], count=2)
    store = label(teacher, views, tmp_path, views=2)
    expected = taught(teacher, wrap(views), tl.SoftTargets(2))
    before = teacher.asked
    assert torch.equal(taught(store, wrap(views), tl.SoftTargets(2)), expected)
    assert teacher.asked == before


def test_a_live_teacher_sees_a_new_view_in_each_epoch():
    objective = Watched(Sums())
    live = Sums()
    objective.ask = live.forward
    taught(live, tl.data.Views(IMAGES, all_noise), objective, epochs=3)
    assert [view for view, _ in objective.seen] == [0] * 3 + [1] * 3 + [2] * 3


def test_labelling_goes_on_with_the_view_it_stood_at(tmp_path):
    class Fails(Sums):
        def forward(self, images):
            if self.asked >= 30:
                raise OSError("the power went off")
            return super().forward(images)

    torch.manual_seed(1)
    failing = Fails()
    views = tl.data.Views(IMAGES, all_noise)
    with pytest.raises(Exception, match="power went off"):
        label(failing, views, tmp_path / "torn", views=3, batch_size=5)
    failing.asked = -(10**6)
    torn = label(failing, views, tmp_path / "torn", views=3, batch_size=5)
    assert failing.asked == 40 - 10**6  # the first view was there
    whole = label(failing, views, tmp_path / "whole", views=3, batch_size=5)
    rows = torch.arange(60)
    assert torch.equal(torn.read("output", rows), whole.read("output", rows))


def noisy_set():
    return Images(augment=all_noise)


class TestMisuse:
    def test_an_augmented_set_without_views(self, tmp_path):
        for views in (1, 4):
            with pytest.raises(tl.DataError, match=r"draws them at random.*tl\.data\.Views"):
                label(Sums(), noisy_set(), tmp_path / "store", views=views)
        joined = ConcatDataset([tl.data.Views(noisy_set()), noisy_set()])
        with pytest.raises(tl.DataError, match="draws them at random"):
            label(Sums(), joined, tmp_path / "store", views=2)
        assert not (tmp_path / "store").exists()

    def test_views_of_a_set_that_has_none(self, tmp_path):
        with pytest.raises(
            tl.DataError, match=r"to be labelled 2 times, got Images.*leave `views`"
        ):
            label(Sums(), IMAGES, tmp_path / "store", views=2)
        assert not (tmp_path / "store").exists()

    def test_more_views_than_there_are(self, tmp_path):
        views = tl.data.Views(IMAGES, all_noise, count=2)
        with pytest.raises(tl.DataError, match=r"the 3 views that are requested.*count 2"):
            label(Sums(), views, tmp_path / "store", views=3)
        assert not (tmp_path / "store").exists()

    @pytest.mark.parametrize(
        "other",
        [
            lambda: IMAGES,
            lambda: tl.data.Views(IMAGES, all_noise, seed=1),
            lambda: tl.data.Views(IMAGES, TRANSFORMS["torch"]),
            lambda: tl.data.Views(Images(19), all_noise),
            lambda: tl.data.Views(noisy_set(), all_noise),
            noisy_set,
        ],
    )
    def test_training_on_other_pixels(self, other, tmp_path):
        store = label(Sums(), tl.data.Views(IMAGES, all_noise), tmp_path, views=2)
        with pytest.raises(tl.StoreError, match="must be the data set that was labelled"):
            taught(store, other(), tl.SoftTargets(2))

    def test_training_with_fewer_views_than_were_labelled(self, tmp_path):
        store = label(Sums(), tl.data.Views(IMAGES, all_noise), tmp_path, views=3)
        with pytest.raises(tl.DataError, match=r"must have the 3 views.*count 2"):
            taught(store, tl.data.Views(IMAGES, all_noise, count=2), tl.SoftTargets(2))

    def test_a_shuffling_loader_that_does_not_tell_places(self, tmp_path):
        views = tl.data.Views(IMAGES, all_noise)
        store = label(Sums(), views, tmp_path, views=2)
        with pytest.raises(tl.DataError, match=r"without `index`.*tl\.data\.Indexed"):
            taught(store, DataLoader(views, 8, shuffle=True), tl.SoftTargets(2))

    def test_another_seed_in_the_same_folder(self, tmp_path):
        torch.manual_seed(0)
        label(Sums(), tl.data.Views(IMAGES, all_noise), tmp_path, views=2)
        torch.manual_seed(0)
        with pytest.raises(tl.StoreError, match=r"views\.seed: 0 there, 1 now"):
            label(Sums(), tl.data.Views(IMAGES, all_noise, seed=1), tmp_path, views=2)

    def test_going_on_with_another_seed(self, tmp_path):
        options = {"objective": tl.HardLabels(), "epochs": 1, "out": tmp_path, "engine": quiet()}
        student = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
        tl.distill(None, student, train=tl.data.Views(IMAGES, all_noise), **options)
        with pytest.raises(tl.RunFolderError, match="train"):
            tl.distill(None, student, train=tl.data.Views(IMAGES, all_noise, seed=1), **options)


def run(out, store, step=0):
    return Child(PROGRAMS / "killed_views.py", (out, store, step), out.with_suffix(".errors"))


def finish(out, store):
    run(out, store).finish()
    return torch.load(out / "last.pt", weights_only=True)


def test_a_run_on_stored_views_that_is_killed_ends_as_one_that_was_not(tmp_path):
    """Killed in its second epoch or later; each batch checks its targets by the live teacher."""
    store = tmp_path / "store"
    expected = finish(tmp_path / "whole", store)
    out, step = tmp_path / "run", random.Random().randrange(10, 32)
    assert run(out, store, step).wait() == -signal.SIGKILL
    found = finish(out, store)
    for name, tensor in expected["distiller"].items():
        assert torch.equal(found["distiller"][name], tensor), f"{name}, killed in step {step}"


def test_tensors_with_a_transform_are_no_tensors_any_more(tmp_path):
    """A tensor set is indexed by whole batches; its views are made one by one."""
    inputs = TensorDataset(IMAGES.images, IMAGES.labels)
    teacher, views = Sums(), tl.data.Views(inputs, all_noise, count=2)
    store = label(teacher, views, tmp_path, views=2)
    objective = Watched(teacher)
    taught(store, views, objective)
    assert len(objective.seen) == 12
