"""Networks and data of pitch.yaml: 64 ms of sound, and the pitch among 360, 20 cents apart.

The networks are those of torchcrepe ("CREPE: A Convolutional Representation for Pitch Estimation",
Kim et al. 2018, https://arxiv.org/abs/1802.06182), but return logits. Sounds are tones, chords,
voices and noise; FRAMES is how many are made for training.
"""

import os
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

RATE, FRAME, PITCHES = 16_000, 1024, 360
LOWEST, STEP = 1997.3794084376191, 20.0  # in cents above 10 Hz
TIME = (np.arange(FRAME) - FRAME / 2) / RATE
Random = np.random.Generator


class Crepe(nn.Module):
    """Six convolutions over raw samples `[batch, 1024]`; logits `[batch, 360]` of the pitches."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        for at, (inputs, outputs) in enumerate(pairwise((1, *widths)), 1):
            kernel, stride = (512, 4) if at == 1 else (64, 1)
            conv = nn.Conv2d(inputs, outputs, (kernel, 1), (stride, 1))
            self.add_module(f"conv{at}", conv)
            self.add_module(f"conv{at}_BN", nn.BatchNorm2d(outputs, eps=0.0010000000474974513))
        self.layers = len(widths)
        self.classifier = nn.Linear(4 * widths[-1], PITCHES)

    def forward(self, samples: Tensor) -> Tensor:
        """Return logits; loudness and offset do not matter."""
        found = samples - samples.mean(1, keepdim=True)
        found = (found / found.std(1, keepdim=True).clamp(min=1e-10))[:, None, :, None]
        for at in range(1, self.layers + 1):
            found = F.pad(found, (0, 0, 254, 254) if at == 1 else (0, 0, 31, 32))
            found = self.get_submodule(f"conv{at}")(found).relu()
            found = F.max_pool2d(self.get_submodule(f"conv{at}_BN")(found), (2, 1))
        return self.classifier(found.permute(0, 2, 1, 3).flatten(1))


def full() -> Crepe:
    """Return the network of 22 million parameters."""
    return Crepe(1024, 128, 128, 128, 256, 512)


def tiny() -> Crepe:
    """Return the network of half a million."""
    return Crepe(128, 16, 16, 16, 32, 64)


def frequency(logits: Tensor) -> Tensor:
    """Return the pitch in Hz: the mean over nine pitches around the most likely one."""
    best = logits.argmax(1, keepdim=True)
    at = torch.arange(PITCHES, device=logits.device)
    weights = logits.sigmoid() * ((at - best).abs() <= 4)
    cents = LOWEST + STEP * (weights * at).sum(1) / weights.sum(1)
    return 10 * 2 ** (cents / 1200)


def tone(draw: Random, low: float = 40, high: float = 1500) -> NDArray[np.float64]:
    """Return partials of one pitch, which may glide, each weaker than the one before."""
    pitch = np.exp(draw.uniform(np.log(low), np.log(high)))
    number = np.arange(1, max(2, int(RATE / 2.2 / pitch)))[:, None]
    strength = number ** -draw.uniform(0.3, 2.5) * draw.uniform(0.2, 1, number.shape)
    glide = pitch * draw.normal(0, 0.5) * (draw.random() < 0.5)
    phase = number * (pitch * TIME + glide * TIME**2 / 2) + draw.random(number.shape)
    return (strength * np.sin(2 * np.pi * phase)).sum(0)


def voice(draw: Random) -> NDArray[np.float64]:
    """Return a tone whose partials are strong near three resonances, as a vowel's are."""
    spectrum = np.fft.rfft(tone(draw, 70, 500))
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE)
    peaks = draw.uniform((300, 900, 2200), (900, 2200, 3400))
    gains = np.exp(-(((hertz[:, None] - peaks) / draw.uniform(80, 300, 3)) ** 2))
    return np.fft.irfft(spectrum * (0.02 + gains.sum(1)), FRAME)


def noise(draw: Random) -> NDArray[np.float64]:
    """Return noise, from white to brown."""
    hertz = np.fft.rfftfreq(FRAME, 1 / RATE) + RATE / FRAME
    spectrum = np.fft.rfft(draw.normal(size=FRAME)) * hertz ** -draw.uniform(0, 1)
    return np.fft.irfft(spectrum, FRAME)


def mixed(sound: NDArray[np.float64], draw: Random, decibels: float) -> NDArray[np.float64]:
    """Return a sound with noise that is as many decibels weaker."""
    other = noise(draw)
    return sound / sound.std() + other / other.std() * 10 ** (-decibels / 20)


def sound(draw: Random) -> NDArray[np.float64]:
    """Return a frame: of ten, five are voices, three tones, one is a chord and one is noise."""
    kind = draw.random()
    if kind < 0.1:
        return noise(draw)
    if kind < 0.2:
        return mixed(np.sum([tone(draw) for _ in range(draw.integers(2, 4))], axis=0), draw, 30)
    return mixed(tone(draw) if kind < 0.5 else voice(draw), draw, draw.uniform(-5, 30))


def sounds() -> dict[str, TensorDataset]:
    """Return frames without labels, the same ones at every call."""
    draw, count = np.random.default_rng(0), int(os.environ.get("FRAMES", "4000"))
    sizes = {"train": count, "val": max(8, count // 10)}
    return {
        name: TensorDataset(torch.from_numpy(np.stack([sound(draw) for _ in range(size)])).float())
        for name, size in sizes.items()
    }
