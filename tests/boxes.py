"""Images with one bright box, of several sizes, and small detectors, as torchvision has them."""

import torch
from torch import nn


class Boxes(torch.utils.data.Dataset):
    """Examples `(image, {"boxes": [1, 4], "labels": [1]})`."""

    def __init__(self, examples=10):
        self.examples = examples

    def __len__(self):
        return self.examples

    def __getitem__(self, index):
        if not 0 <= index < self.examples:
            raise IndexError(index)
        height, width, side = 8 + index % 3, 10 + index % 2, 2 + index % 4
        image = torch.zeros(1, height, width)
        left, top = index % 5, index % 4
        image[:, top : top + side, left : left + side] = 1
        box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
        return image, {"boxes": box, "labels": torch.tensor([1 + index % 2])}


class Finder(nn.Module):
    """A detector that returns losses in training and boxes otherwise."""

    def __init__(self, width=4, seed=0, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Conv2d(1, width, 3)
        self.neck = nn.Sequential(nn.Linear(width, width), nn.Dropout(dropout))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 4)
        self.calls = []

    def forward(self, images, targets=None):
        assert isinstance(images, list)
        assert not self.training or targets is not None, "targets should not be none"
        self.calls.append("loss" if self.training else "boxes")
        pooled = torch.stack([self.body(image[None])[0].relu().mean((1, 2)) for image in images])
        boxes = self.head(self.norm(self.neck(pooled)))
        if not self.training:
            return [{"boxes": box[None]} for box in boxes]
        wanted = torch.cat([target["boxes"] for target in targets])
        assert (wanted[:, 2:] > wanted[:, :2]).all(), "boxes should have positive width"
        errors = (boxes - wanted).square()
        return {"corner": errors[:, :2].mean(), "extent": errors[:, 2:].mean()}


def per_example(student, batch):
    """The loss of a `Finder`, `[batch]`, in training and in validation."""
    hidden = torch.stack([student.body(x[None])[0].relu().mean((1, 2)) for x in batch.inputs])
    boxes = student.head(student.norm(student.neck(hidden)))
    wanted = torch.cat([target["boxes"] for target in batch.labels])
    return (boxes - wanted).square().mean(dim=1)


def overlap(predictions, targets):
    """A metric of detections: how near the boxes are, on average."""
    assert isinstance(predictions, list)
    assert isinstance(targets, list)
    found = torch.cat([each["boxes"] for each in predictions])
    return -(found - torch.cat([each["boxes"] for each in targets])).abs().mean()
