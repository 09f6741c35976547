"""Studies of models with several answers an example."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl
from tutelage.evaluation import MeanIoU, mean_iou, paired_interval
from tutelage.results.samples import ImageSample, pixels_of
from tutelage.rows import Rows
from tutelage.studies.eval_data import row_labels_for

SIZE = (6, 8)


def images(count: int, seed: int) -> TensorDataset:
    """Images whose pixels belong to one of four classes, some to none."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, *SIZE, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0.5).long()
    y[
        torch.rand(y.shape, generator=generator) < torch.rand(count, 1, 1, generator=generator)
    ] = -100
    return TensorDataset(x, y)


def student() -> nn.Module:
    """A model of pixels."""
    return nn.Conv2d(3, 4, 1)


def teacher() -> nn.Module:
    """A model of pixels that has learnt."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    tl.fit(model, train=images(20, 5), epochs=10, batch_size=4)
    return model


class Share:
    """The mean over examples of the share of right rows."""

    def of_rows(self, output: Tensor, labels: Tensor, rows: Rows) -> float:
        """Return it."""
        right = (output.argmax(1) == labels).double()
        means = [each.mean() for each in right.split(rows.counts.tolist()) if len(each)]
        return torch.stack(means).mean().item()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tl.Study:
    """A small study."""
    return tl.study(
        teacher(),
        student,
        train=images(20, 1),
        val=images(8, 2),
        test=images(12, 3),
        arms={"soft": tl.SoftTargets(2)},
        seeds=3,
        epochs=2,
        training=tl.Training(batch_size=4),
        metrics={"by image": Share()},
        out=tmp_path_factory.mktemp("study"),
    )


def outputs(study: tl.Study, arm: str) -> list[Tensor]:
    """Return each seed's outputs on the test images."""
    x = torch.utils.data.default_collate([each[0] for each in images(12, 3)])
    return [study.student(arm, seed)(x).detach() for seed in study.results.seeds]


def test_metrics_are_those_of_pixels_with_a_label(study: tl.Study) -> None:
    labels = images(12, 3).tensors[1]
    known = labels != -100
    soft = next(arm for arm in study.results.arms if arm.name == "soft")
    for trial, output in zip(soft.trials, outputs(study, "soft"), strict=True):
        right = output.argmax(1) == labels
        assert trial.metrics["accuracy"] == pytest.approx(right[known].double().mean().item())
        shares = [right[each][known[each]].double().mean() for each in range(12)]
        shares = [each for each in shares if not each.isnan()]
        assert trial.metrics["by image"] == pytest.approx(torch.stack(shares).mean().item())


def test_outputs_that_cannot_be_divided_among_the_examples_are_refused() -> None:
    """Such as those for unlabelled images of several sizes."""
    assert row_labels_for((), torch.zeros(6, 4), 3).rows.counts.tolist() == [2, 2, 2]
    with pytest.raises(tl.ModelError, match="which of 7 outputs belong to which of 3 examples"):
        row_labels_for((), torch.zeros(7, 4), 3)


def test_intervals_are_over_images_not_pixels(study: tl.Study) -> None:
    labels = images(12, 3).tensors[1]
    known = labels != -100
    tables = []
    for arm in ("soft", "labels"):
        rights = [(each.argmax(1) == labels)[known].double() for each in outputs(study, arm)]
        tables.append(torch.stack(rights).numpy())
    owners = known.nonzero()[:, 0].tolist()
    expected = paired_interval(tables[0] - tables[1], groups=owners)
    found = next(
        each for each in study.results.comparisons if (each.arm, each.other) == ("soft", "labels")
    )
    assert found.interval is not None
    assert found.interval.mean == pytest.approx(expected.mean)
    assert found.interval.low == pytest.approx(expected.low)
    assert np.allclose(found.differences, (tables[0] - tables[1]).mean(1))


def test_differences_by_domain_are_those_of_its_pixels() -> None:
    """Also where the images of one domain have more pixels with a label than those of another."""
    x, y = images(12, 3).tensors
    y = y.clone()
    y[:6, 1:] = -100
    parts = {"few": slice(0, 6), "many": slice(6, 12)}
    test = tl.data.domains({name: TensorDataset(x[own], y[own]) for name, own in parts.items()})
    study = tl.study(
        None,
        student,
        train=images(20, 1),
        test=test,
        arms={"slow": tl.Arm(objective=tl.HardLabels(), learning_rate=1e-3)},
        controls={"labels": tl.Arm(objective=tl.HardLabels(), learning_rate=0.1)},
        seeds=2,
        epochs=1,
        training=tl.Training(batch_size=4),
    )
    assert {each.name for each in study.results.parts} == set(parts)
    for each in study.results.parts:
        x_own, y_own = x[parts[each.name]], y[parts[each.name]]
        known = y_own != -100
        rights = {
            arm: torch.stack(
                [
                    (study.student(arm, seed)(x_own).argmax(1) == y_own)[known].double()
                    for seed in (0, 1)
                ]
            )
            for arm in ("slow", "labels")
        }
        gain = rights["slow"] - rights["labels"]
        assert each.difference == pytest.approx(gain.mean().item())
        # With an image's pixels as one unit: the ratio of two sums over images, linearised.
        owners, mean = known.nonzero()[:, 0], gain.mean(dim=1, keepdim=True)
        sums = [(gain - mean)[:, owners == image].sum(dim=1) for image in owners.unique()]
        table = mean + torch.stack(sums, dim=1) * (len(sums) / len(owners))
        assert each.interval is not None
        expected = paired_interval(table.numpy(), confidence=0.975)
        assert each.interval.half_width == pytest.approx(expected.half_width)


def test_the_page_counts_images(study: tl.Study, tmp_path: Path) -> None:
    assert study.results.examples == {"val": 8, "test": 12}
    assert "12 test examples" in study.verdict
    study.report(tmp_path / "page.html")


class Texts(Dataset[dict[str, Tensor]]):
    """Texts of several lengths, whose tokens are tagged."""

    def __init__(self, count: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.lengths = torch.randint(2, 7, (count,), generator=generator).tolist()
        self.tokens = [torch.randint(1, 9, (each,), generator=generator) for each in self.lengths]

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.tokens[index], "labels": self.tokens[index] % 3}


def padded(examples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Collate texts, padded to the longest."""
    texts = [each["x"] for each in examples]
    x = nn.utils.rnn.pad_sequence(texts, batch_first=True)
    labels = [each["labels"] for each in examples]
    return {
        "x": x,
        "attention_mask": (x > 0).long(),
        "labels": nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=-100),
    }


class Tagger(nn.Module):
    """A model of tokens."""

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(9, width), nn.Linear(width, 3)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        del attention_mask
        return self.head(self.table(x))


def loader(count: int, seed: int) -> DataLoader[Any]:
    """Texts in batches of different lengths."""
    return DataLoader(Texts(count, seed), 4, collate_fn=padded)


def test_texts_that_are_padded_batch_by_batch() -> None:
    torch.manual_seed(0)
    study = tl.study(
        Tagger(9),
        Tagger,
        train=loader(24, 1),
        val=loader(8, 2),
        test=loader(13, 3),
        arms={"soft": tl.SoftTargets(2)},
        seeds=2,
        epochs=1,
        allow_overlap=True,
    )
    texts = Texts(13, 3)
    model = study.student("soft", 0)
    right = [
        (model(each["x"][None], each["x"][None]).argmax(-1)[0] == each["labels"]).double()
        for each in texts
    ]
    soft = next(arm for arm in study.results.arms if arm.name == "soft")
    assert soft.trials[0].metrics["accuracy"] == pytest.approx(torch.cat(right).mean().item())
    assert study.results.examples["test"] == 13


LARGE = (40, 64)


def scenes(count: int, seed: int) -> TensorDataset:
    """Images of more pixels than are kept."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, *LARGE, generator=generator)
    y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0.5).long()
    y[:, : LARGE[0] // 3] = -100
    return TensorDataset(x, y)


@pytest.mark.usefixtures("no_compiler")
def test_of_large_maps_a_grid_is_kept_and_all_pixels_are_counted(tmp_path: Path) -> None:
    """All logits of a set of large images would fill memory and disk."""
    study = tl.study(
        teacher(),
        student,
        train=images(20, 1),
        val=scenes(3, 2),
        test=scenes(5, 3),
        arms={"soft": tl.SoftTargets(2)},
        controls={"labels": tl.Arm(objective=tl.HardLabels(), learning_rate=0.1)},
        seeds=2,
        epochs=2,
        training=tl.Training(batch_size=4),
        metrics={"mean IoU": MeanIoU()},
        report=tl.ReportOptions(variants=True),
        out=tmp_path,
    )
    x, y = scenes(5, 3).tensors
    known = y != -100
    rights = {}
    for arm in ("soft", "labels"):
        outputs = [study.student(arm, seed)(x).detach() for seed in (0, 1)]
        rights[arm] = torch.stack([(each.argmax(1) == y)[known].double() for each in outputs])
        for trial, output in zip(study.results.arm(arm).trials, outputs, strict=True):
            pixels = output.movedim(1, -1)[known]
            right = (pixels.argmax(1) == y[known]).double().mean().item()
            assert trial.metrics["accuracy"] == pytest.approx(right)
            assert trial.metrics["mean IoU"] == pytest.approx(mean_iou(pixels, y[known]))
            assert trial.calibration is not None
    owners = known.nonzero()[:, 0].tolist()
    expected = paired_interval((rights["soft"] - rights["labels"]).numpy(), groups=owners)
    (found,) = study.results.comparisons
    assert found.interval is not None
    assert found.interval.low == pytest.approx(expected.low)
    whole = 5 * 4 * 4 * LARGE[0] * LARGE[1]
    assert all(each.stat().st_size < whole / 2 for each in tmp_path.glob("trials/*/outputs-test*"))
    plain = study.results.models[study.results.arm("soft").model].variants[0]
    assert plain.metric == pytest.approx(study.results.arm("soft").trials[0].metrics["accuracy"])
    (sample, *_) = study.results.samples
    assert isinstance(sample, ImageSample)
    assert pixels_of(sample.maps["true"]).shape == LARGE
    study.report()
