"""Studies of detectors: boxes are kept, judged by the user's metric, and shown."""

import pytest
import torch

import tutelage as tl
from boxes import Boxes, Finder
from tutelage.errors import DataError, ModelError
from tutelage.evaluation import MeanAveragePrecision, mean_average_precision
from tutelage.results.record import read_record
from tutelage.tasks.boxes import packed, unpacked


class Detector(Finder):
    """A `Finder` with scores and labels; of every fourth image it finds nothing."""

    def forward(self, images, targets=None):
        found = super().forward(images, targets)
        if self.training:
            return found
        return [
            {"boxes": each["boxes"].sort(dim=1).values[:count],
             "scores": torch.full((count,), 0.9), "labels": torch.ones(count).long()}
            for each, count in zip(found, (int(image.sum() > 4) for image in images), strict=True)
        ]  # fmt: skip


class FromTheTruth(torch.nn.Module):
    """A teacher that finds what is there, sure of the first class only."""

    def __init__(self):
        super().__init__()
        self.neck = torch.nn.Linear(1, 4)

    def forward(self, images):
        self.neck(torch.stack([image.mean()[None] for image in images]))
        found = []
        for image in images:
            rows, columns = image[0].nonzero().unbind(dim=1)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes = torch.stack(corners)[None].float()
            found.append({"boxes": boxes, "scores": torch.ones(1), "labels": torch.ones(1).long()})
        return found


def data(first, last):
    return torch.utils.data.Subset(Boxes(40), range(first, last))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tl.study(
        FromTheTruth(),
        Detector,
        train=data(0, 16),
        val=data(16, 24),
        test=data(24, 40),
        arms={"features": tl.OwnLoss() + tl.FeatureMatch({"neck": "neck"})},
        seeds=2,
        epochs=2,
        training=tl.Training(batch_size=8),
        metrics={"AP": MeanAveragePrecision(at_50=True)},
        monitor=tl.Monitor("AP", higher_is_better=True),
        report=tl.ReportOptions(class_names=["background", "small", "large"]),
        out=tmp_path_factory.mktemp("detectors"),
        progress=False,
    )


def test_the_control_learns_by_its_own_loss(study):
    assert [each.name for each in study.results.controls] == ["labels"]
    assert "OwnLoss" in study.results.arm("labels").settings["objective"]


def test_metrics_are_those_of_the_models_own_boxes(study):
    targets = [target for _, target in data(24, 40)]
    metric = MeanAveragePrecision(at_50=True)
    for arm in study.results.arms:
        for trial in arm.trials:
            model = study.student(arm.name, trial.seed)
            found = tl.evaluation.predict(model, data(24, 40))
            assert trial.metrics["AP"] == pytest.approx(metric(found, targets))
    theirs = tl.evaluation.predict(FromTheTruth(), data(24, 40))
    assert study.results.teacher.metrics["AP"] == mean_average_precision(theirs, targets).ap50 > 0.3


def test_a_fraction_is_shown_in_per_cent_and_differences_come_by_class(study):
    assert study.results.metric.is_fraction
    assert "%" in study.verdict or "points" in study.verdict
    parts = {each.name: each.difference for each in study.results.parts if each.kind == "class"}
    assert set(parts) == {"1", "2"}
    page = study.report().read_text()
    assert "Differences by class" in page
    assert "Boxes and their classes" in page
    assert "large" in page


def test_the_record_is_read_back_as_it_was(study):
    assert read_record(study.out / "results.json") == study.results
    shown = study.results.samples[0].boxes
    assert list(shown) == ["true", "teacher", "student"]
    assert shown["true"] == shown["teacher"][:1] or shown["true"][0][:4] == shown["teacher"][0][:4]


def test_images_of_several_sizes_are_counted_and_compared(study):
    assert study.results.examples == {"val": 8, "test": 16}
    with pytest.raises(DataError, match="in common"):
        tl.study(None, Detector, train=data(0, 30), test=data(24, 40), epochs=1,
                 arms={"own": tl.OwnLoss()}, metrics={"AP": MeanAveragePrecision()},
                 monitor=tl.Monitor("AP", higher_is_better=True), progress=False)  # fmt: skip


class Dicts(Boxes):
    """Examples as dicts, with images of one size."""

    def __getitem__(self, index):
        image, target = super().__getitem__(index)
        return {"images": torch.nn.functional.pad(image, (0, 1 - index % 2, 0, 2 - index % 3)),
                "labels": target}  # fmt: skip


class OfBatches(Detector):
    def forward(self, images, targets=None):
        return super().forward(list(images), targets)


def test_images_in_dicts_are_shown_too():
    metrics = {"AP": MeanAveragePrecision(at_50=True)}
    study = tl.study(None, OfBatches, train=Dicts(8), test=Dicts(16), epochs=1, seeds=1,
                     arms={"same": lambda trial: trial.student}, controls={}, metrics=metrics,
                     monitor=tl.Monitor("AP", higher_is_better=True), allow_overlap=True,
                     progress=False)  # fmt: skip
    assert len(study.results.samples) == 4
    assert study.results.samples[0].boxes["true"] == ((0.0, 0.0, 2.0, 2.0, 1),)


def test_packed_boxes_are_given_back():
    boxes = torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.5]])
    one = {"boxes": boxes, "scores": torch.tensor([0.9, 0.25]), "labels": torch.tensor([3, 1])}
    none = {name: each[:0] for name, each in one.items()}
    for given, found in zip([none, one, none], unpacked(packed([none, one, none])), strict=True):
        for name, each in given.items():
            assert torch.equal(found[name], each)
            assert found[name].dtype == each.dtype
    assert packed([none]).shape == (1, 0, 6)
    assert len(unpacked(packed([none]))[0]["scores"]) == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"masks": torch.zeros(1, 4, 4)}, "three"),
        ({"scores": None}, "three"),
        ({"scores": torch.zeros(2)}, "scores"),
        ({"boxes": torch.full((1, 4), torch.nan)}, "NaN"),
    ],
)
def test_other_detections_are_refused(changes, said):
    found = {"boxes": torch.ones(1, 4), "scores": torch.ones(1), "labels": torch.ones(1).long()}
    changed = {name: each for name, each in (found | changes).items() if each is not None}
    with pytest.raises(ModelError, match=said):
        packed([changed])


def test_targets_that_are_no_boxes_are_refused():
    texts = [(torch.zeros(2), {"caption": "a"}) for _ in range(4)]
    with pytest.raises(DataError, match="boxes"):
        tl.study(None, torch.nn.Linear(2, 2), train=texts, test=texts, epochs=1,
                 arms={"own": tl.OwnLoss()}, progress=False)  # fmt: skip


def test_a_study_of_detectors_needs_a_metric():
    with pytest.raises(tl.ArgumentError, match="metric"):
        tl.study(None, Detector, train=data(0, 8), test=data(8, 16), epochs=1,
                 arms={"own": tl.OwnLoss()}, controls={}, allow_overlap=True,
                 progress=False)  # fmt: skip
