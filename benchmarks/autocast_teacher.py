"""A frozen teacher under bfloat16 autocast: weights cast at every call, or once.

    python benchmarks/autocast_teacher.py [device]

Both alternate in one process; printed are the medians and the median of the ratios.
"""

import sys
import time
from statistics import median

import torch
import torchvision
from torch import nn

from tutelage.signals import Batch
from tutelage.teachers import Live
from tutelage.wants import OUTPUT

ROUNDS, SECONDS = 15, 0.1


def mlp(inputs: int, hidden: int) -> nn.Module:
    """Three layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, 10),
    )  # fmt: skip


def encoder() -> nn.Module:
    """Four layers, 256 wide."""
    layer = nn.TransformerEncoderLayer(256, 4, 1024, batch_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)


CASES = {
    "MLP 64-128-128-10, batch 64": (lambda: mlp(64, 128), (64, 64)),
    "MLP 784-1024-1024-10, batch 8": (lambda: mlp(784, 1024), (8, 784)),
    "MLP 784-1024-1024-10, batch 64": (lambda: mlp(784, 1024), (64, 784)),
    "4 encoder layers, 256 wide, batch 1 of 16 tokens": (encoder, (1, 16, 256)),
    "4 encoder layers, 256 wide, batch 8 of 32 tokens": (encoder, (8, 32, 256)),
    "ResNet-18, batch 8 of 32 x 32": (torchvision.models.resnet18, (8, 3, 32, 32)),
}


def main() -> None:
    """Print a row for each model."""
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print("| teacher | cast at every call | cast once | ratio |\n|---|---|---|---|")
    for name, (make, shape) in CASES.items():
        teacher, batch = Live(make().to(device)), Batch(torch.randn(shape, device=device))
        with torch.autocast(device.type, torch.bfloat16), teacher.ready(device):
            teacher.signals(batch, OUTPUT)
            exact = teacher._is_exact[torch.bfloat16]  # noqa: SLF001
            pairs = [
                (seconds(teacher, batch, None), seconds(teacher, batch, device))
                for _ in range(ROUNDS)
            ]
        plain, once = (1e3 * median(column) for column in zip(*pairs, strict=True))
        ratio = median(after / before for before, after in pairs)
        note = "" if exact else " (not equal to the bit: not used)"
        print(f"| {name} | {plain:.2f} ms | {once:.2f} ms | {ratio:.2f}{note} |")


def seconds(teacher: Live, batch: Batch, device: torch.device | None) -> float:
    """Return the time of a call; without a device, as outside a run, no weights are kept."""
    teacher._device = device  # noqa: SLF001
    calls, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        teacher.signals(batch, OUTPUT)
        calls += 1
    if batch.inputs.is_cuda:
        torch.cuda.synchronize()
    return (time.perf_counter() - begin) / calls


if __name__ == "__main__":
    main()
