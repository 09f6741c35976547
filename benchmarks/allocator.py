"""A training step on a CPU with the C library's default allocator, and with memory kept.

    python benchmarks/allocator.py

glibc returns large blocks to the system as soon as they are free, and the system clears every page
when they are allocated again. A step of a student with a large embedding table does that with tens
of megabytes of gradients. The settings of `KEEPING` let the process keep its memory. The two sides
are separate processes, which alternate. The student is one layer of a transformer over 30,522
embeddings of width 384, all trained by AdamW in bfloat16, on batches of 64 texts of 24 tokens;
further the ResNet-20 of `overhead.py`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from overhead import KEEPING, resnet20

ROUNDS, STEPS, WARM_UP = 3, 24, 6
WORDS, WIDTH, TOKENS, BATCH = 30522, 384, 24, 64


class Texts(nn.Module):
    """The mean of a transformer layer's outputs over embeddings of tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 12, 4 * WIDTH, 0.0, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        """Return `[batch, width]`."""
        return self.layer(self.words(ids)).mean(dim=1)


def texts() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the transformer, texts, and targets."""
    return Texts(), torch.randint(WORDS, (BATCH, TOKENS)), torch.randn(BATCH, WIDTH)


def images() -> tuple[nn.Module, Tensor, Tensor]:
    """Return the ResNet-20, images, and targets."""
    return resnet20(), torch.randn(BATCH, 3, 32, 32), torch.randn(BATCH, 100)


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor, Tensor]]] = {
    "one layer over 30,522 embeddings": texts,
    "ResNet-20": images,
}


def step_seconds(name: str) -> float:
    """Return the median time of a training step."""
    torch.manual_seed(0)
    model, inputs, targets = CASES[name]()
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            output = model(inputs)
        F.mse_loss(output.float(), targets).backward()
        optimizer.step()
        times.append(time.perf_counter() - began)
    return median(times[WARM_UP:])


def in_a_process(name: str, settings: dict[str, str]) -> float:
    """Return the same, of a process of its own with such an environment."""
    plain = {key: value for key, value in os.environ.items() if key not in KEEPING}
    command = [sys.executable, __file__, name]
    done = subprocess.run(command, env=plain | settings, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    """Print the table, or the time of a named case."""
    if len(sys.argv) > 1:
        print(step_seconds(sys.argv[1]))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads; milliseconds a step")
    for name in CASES:
        rounds = [(in_a_process(name, {}), in_a_process(name, KEEPING)) for _ in range(ROUNDS)]
        usual, keeping = (1e3 * median(side) for side in zip(*rounds, strict=True))
        ratio = median(b / a for a, b in rounds)
        print(f"{name:34} {usual:8.1f} default {keeping:8.1f} kept   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
