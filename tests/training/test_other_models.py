"""Detectors, segmenters and taggers of other libraries, built small, are distilled."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset
from torchvision.models import detection
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large
from transformers import (
    BertConfig,
    BertForTokenClassification,
    DetrConfig,
    DetrForObjectDetection,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
)

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)
ADAM = partial(torch.optim.Adam, lr=1e-3)


class Shapes(Dataset):
    """Images with squares, as torchvision's detectors take them."""

    def __init__(self, examples, **target):
        self.examples, self.target = examples, target

    def __len__(self):
        return self.examples

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        image = torch.rand(3, 48 + 8 * (index % 3), 64, generator=generator) / 10
        corners = torch.randint(0, 24, (1 + index % 3, 2), generator=generator)
        for left, top in corners.tolist():
            image[:, top : top + 16, left : left + 16] = 1
        boxes = torch.cat([corners, corners + 16], dim=1).float()
        return image, {"boxes": boxes, "labels": torch.ones(len(boxes), dtype=torch.int64)}


def boxes_per_image(predictions, targets):
    assert len(predictions) == len(targets)
    return sum(len(each["boxes"]) for each in predictions) / len(targets)


def faster_rcnn():
    return detection.fasterrcnn_mobilenet_v3_large_320_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=48, max_size=64,
        rpn_pre_nms_top_n_train=40, rpn_pre_nms_top_n_test=20,
    )  # fmt: skip


def ssdlite():
    return detection.ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=2
    )


@pytest.mark.parametrize(
    ("make", "layer", "part"),
    [
        (faster_rcnn, "backbone.body.4", "loss_objectness"),
        (ssdlite, "backbone.features.0.4", "bbox_regression"),
    ],
)
def test_detectors_of_torchvision(make, layer, part):
    torch.manual_seed(0)
    teacher, student = make(), make()
    before = {name: each.clone() for name, each in teacher.state_dict().items()}
    run = tl.distill(
        teacher,
        student,
        train=Shapes(4),
        val=Shapes(3),
        objective=tl.OwnLoss() + 0.1 * tl.OwnLoss(part=part) + tl.FeatureMatch({layer: layer}),
        epochs=1,
        batch_size=2,
        optimizer=ADAM,
        metrics={"boxes": boxes_per_image},
        monitor="loss",
        engine=QUIET,
    )
    [record] = run.history
    assert record["train/own_loss"] > record[f"train/{part}"] > 0
    assert record["train/feature_match"] > 0
    assert record["val/loss"] > 0
    assert record["val/boxes"] >= 0
    assert all(torch.equal(each, before[name]) for name, each in teacher.state_dict().items())
    assert set(tl.evaluation.predict(student, Shapes(3))[0]) == {"boxes", "labels", "scores"}


@pytest.mark.parametrize("make", [faster_rcnn, ssdlite])
def test_the_validation_loss_of_a_detector_changes_no_statistics(make):
    model = make()
    tl.fit(model, train=Shapes(2), epochs=1, objective=tl.OwnLoss(), engine=QUIET)
    before = {name: each.clone() for name, each in model.state_dict().items()}
    source = tl.data.as_source("val", Shapes(3), 2)
    losses = [
        tl.evaluation.evaluate(model, None, tl.OwnLoss(), source).metrics["loss"] for _ in range(2)
    ]
    assert losses[0] == losses[1] > 0  # although it samples boxes at random
    assert all(torch.equal(each, before[name]) for name, each in model.state_dict().items())


def test_boxes_without_an_area_are_named():

    class Wrong(Shapes):
        def __getitem__(self, index):
            image, target = super().__getitem__(index)
            return image, target | {"boxes": target["boxes"][:, [2, 1, 0, 3]]}

    with pytest.raises(tl.ModelError, match=r"student \(SSD\) refused.*positive height and width"):
        tl.fit(ssdlite(), train=Wrong(2), epochs=1, objective=tl.OwnLoss(), engine=QUIET)


def rows(examples, make):
    torch.manual_seed(0)
    return [make(number) for number in range(examples)]


def bert():
    config = BertConfig(
        vocab_size=30, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    return BertForTokenClassification(config)


def text(number):
    return {
        "input_ids": torch.randint(1, 30, (7,)),
        "attention_mask": (torch.arange(7) < 5 + number % 3).long(),
        "labels": torch.where(torch.arange(7) < 5, torch.randint(0, 3, (7,)), -100),
    }


def detr():
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1] * 4, out_features=["stage4"]
    )
    config = DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None,
        backbone_config=backbone, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=5, num_labels=2,
    )  # fmt: skip
    return DetrForObjectDetection(config)


def boxed_image(number):
    boxes = torch.rand(1 + number % 3, 4) * 0.3 + 0.2
    target = {"class_labels": torch.arange(len(boxes)) % 2, "boxes": boxes}
    return {"pixel_values": torch.randn(3, 64, 64), "labels": target}


def segformer():
    config = SegformerConfig(
        num_labels=3, depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], decoder_hidden_size=8,
        num_attention_heads=[1, 1, 2, 2],
    )  # fmt: skip
    return SegformerForSemanticSegmentation(config)


def segmented_image(_):
    return {"pixel_values": torch.randn(3, 64, 64), "labels": torch.randint(0, 3, (64, 64))}


MODELS = {
    "tagger": (bert, text, "bert.encoder.layer.1"),
    "detector": (detr, boxed_image, "model.encoder"),
    "segmenter": (segformer, segmented_image, "decode_head.batch_norm"),
}


@pytest.mark.parametrize("name", MODELS)
def test_models_of_transformers(name):
    make, example, layer = MODELS[name]
    torch.manual_seed(0)
    teacher, student = make(), make()
    data = rows(6, example)
    run = tl.distill(
        teacher,
        student,
        train=data,
        val=data,
        objective=tl.OwnLoss() + tl.FeatureMatch({layer: layer}),
        epochs=2,
        batch_size=4,
        optimizer=ADAM,
        engine=QUIET,
    )
    losses = [
        (len(batch), student(**batch.inputs, labels=batch.labels).loss.item())
        for batch in tl.data.as_source("val", data, 4).epoch(0)
    ]
    best = run.history[run.best_epoch - 1]
    source = tl.data.as_source("val", data, 4)
    ours = tl.evaluation.evaluate(student, None, tl.OwnLoss(), source).metrics["loss"]
    assert ours == pytest.approx(sum(size * loss for size, loss in losses) / 6, rel=1e-5)
    assert best["train/feature_match"] > 0


def test_parts_of_detrs_loss():
    names = ("loss_ce", "loss_bbox", "loss_giou")
    parts = [tl.OwnLoss(part=name) for name in names]
    [record] = tl.fit(
        detr(), train=rows(4, boxed_image), epochs=1, objective=parts[0] + 5 * parts[1] + parts[2],
        engine=QUIET,
    ).history  # fmt: skip
    expected = sum(w * record[f"train/{name}"] for w, name in zip((1, 5, 1), names, strict=True))
    assert record["train/loss"] == pytest.approx(expected)


def pixels(student, batch):
    logits = student(batch.inputs)["out"]
    return F.cross_entropy(logits, batch.labels, reduction="none").mean(dim=(1, 2))


def test_a_segmenter_without_a_loss_of_its_own():
    torch.manual_seed(0)
    make = partial(deeplabv3_mobilenet_v3_large, weights=None, weights_backbone=None, num_classes=3)
    data = rows(4, lambda _: (torch.randn(3, 32, 32), torch.randint(0, 3, (32, 32))))
    student = make()
    run = tl.distill(
        make(),
        student,
        train=data,
        val=data,
        objective=tl.OwnLoss(pixels) + tl.FeatureMatch({"backbone": "backbone"}),
        epochs=1,
        batch_size=2,
        optimizer=ADAM,
        engine=QUIET,
    )
    images, labels = (torch.stack(each) for each in zip(*data, strict=True))
    values = pixels(student, tl.Batch(images, labels))
    assert run.history[0]["train/own_loss"] > 0
    source = tl.data.as_source("val", data, 2)
    ours = tl.evaluation.evaluate(student, None, tl.OwnLoss(pixels), source).metrics["loss"]
    assert ours == pytest.approx(values.mean().item(), rel=1e-5)
