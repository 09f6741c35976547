"""A detector of squares and rings teaches a smaller one: its own loss, and features to match.

python examples/detector.py
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import box_iou

import tutelage as tl


def drawn(seed: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return a noisy image with a square (1) or a ring (2), and its box as torchvision has it."""
    generator = torch.Generator().manual_seed(seed)
    side = int(torch.randint(12, 20, (), generator=generator))
    left, top = torch.randint(0, 32 - side, (2,), generator=generator).tolist()
    across, down = torch.arange(32) - left - side / 2 + 0.5, torch.arange(32) - top - side / 2 + 0.5
    square = (across.abs() < side / 2) & (down.abs() < side / 2)[:, None]
    ring = (across.hypot(down[:, None]) - side / 2 + 2).abs() < 2
    image = torch.rand(3, 32, 32, generator=generator) / 4 + 0.75 * (ring if seed % 2 else square)
    box = torch.tensor([[left, top, left + side, top + side]], dtype=torch.float32)
    return image, {"boxes": box, "labels": torch.tensor([1 + seed % 2])}


def detector(width: int) -> FCOS:
    """Return an untrained detector with a backbone of that width."""
    layers: list[nn.Module] = []
    for before, after in ((3, width), (width, width), (width, 32)):
        layers += [nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(4, after), nn.ReLU()]
    backbone: Any = nn.Sequential(*layers)
    backbone.out_channels = 32
    anchors = AnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),))
    return FCOS(backbone, 3, min_size=32, max_size=32, anchor_generator=anchors, topk_candidates=50)


def found(predictions: list[dict[str, Tensor]], targets: list[dict[str, Tensor]]) -> float:
    """Return in how many images the most certain box has the true class and an IoU above 0.5."""
    right = 0
    for each, target in zip(predictions, targets, strict=True):
        same = each["labels"][:1] == target["labels"]
        right += int((same & (box_iou(each["boxes"][:1], target["boxes"]) > 0.5).flatten()).sum())
    return right / len(targets)


def main() -> dict[str, float]:
    """Return which fraction of shapes the teacher and the students find."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"batch_size": 16, "optimizer": partial(torch.optim.AdamW, lr=3e-3)}
    options |= {"train": [drawn(seed) for seed in range(256)], "metrics": {"found": found}}
    options |= {"val": [drawn(seed) for seed in range(256, 320)]}
    options |= {"monitor": tl.Monitor("found", higher_is_better=True)}
    teacher, plain, student = detector(32), detector(8), detector(8)
    runs = {"teacher": tl.fit(teacher, objective=tl.OwnLoss(), epochs=10, **options)}
    runs["labels only"] = tl.fit(plain, objective=tl.OwnLoss(), epochs=5, **options)
    student.head.load_state_dict(teacher.head.state_dict())  # and the features that it reads
    objective = tl.OwnLoss() + 10 * tl.FeatureMatch({"backbone": "backbone"})
    runs["distilled"] = tl.distill(teacher, student, objective=objective, epochs=5, **options)
    result = {name: max(each["val/found"] for each in run.history) for name, run in runs.items()}
    print({name: round(value, 3) for name, value in result.items()})
    return result


if __name__ == "__main__":
    main()
