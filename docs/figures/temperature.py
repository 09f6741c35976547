"""The figure and the table of docs/temperature.md.

python docs/figures/temperature.py
"""

from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl

TEMPERATURES = (1.0, 2.0, 4.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
SHOWN = (1.0, 4.0, 20.0)
COLOURS = ("#0072B2", "#E69F00", "#009E73")  # Okabe and Ito's, for colour-blind readers
LOOK = {"svg.hashsalt": "tutelage", "svg.fonttype": "none", "font.family": "sans-serif"}


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    """Return the gradient of the summed loss."""
    return torch.autograd.grad(loss.sum(), logits)[0]


def relative_errors(examples: int = 2000, classes: int = 10, spread: float = 3.0) -> list[float]:
    """Return the relative distance of the gradients of T²·KL and logit regression, for each T."""
    generator = torch.Generator().manual_seed(0)
    shape = (examples, classes)
    logits, targets = (
        spread * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    logits.requires_grad_()
    limit = gradient(tl.objectives.logit_regression(logits, targets), logits)
    errors = []
    for temperature in TEMPERATURES:
        found = gradient(tl.objectives.soft_targets(logits, targets, temperature), logits)
        errors.append(((found - limit).norm() / limit.norm()).item())
    return errors


def ambiguous_digit() -> tuple[np.ndarray, Tensor]:
    """Train a teacher on digits; return an ambiguous image, and its logits."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    train = TensorDataset(images[:1200], torch.tensor(labels[:1200]))
    teacher = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10))
    tl.fit(teacher, train=train, epochs=30)
    logits = tl.evaluation.predict(teacher, TensorDataset(images[1200:]))
    # The most probable class has a probability of about 0.9 at T = 1.
    row = int((logits.softmax(1).amax(1) - 0.9).abs().argmin())
    return pixels[1200 + row].reshape(8, 8), logits[row]


def draw_limit(axes: Axes, errors: list[float]) -> None:
    """Draw the distance from the limit over the temperature."""
    axes.loglog(TEMPERATURES, errors, "o-", color=COLOURS[0], label="measured")
    axes.loglog(TEMPERATURES, [2 / t for t in TEMPERATURES], "--", color="#555555", label="2/T")
    axes.set(xlabel="temperature T", ylabel="relative distance of the gradients")
    axes.set_title("Soft targets tend to logit regression", fontsize=10)
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)


def draw_digit(axes: Axes, image: np.ndarray, logits: Tensor) -> None:
    """Draw the teacher's probabilities for one image at several temperatures."""
    for number, (temperature, colour) in enumerate(zip(SHOWN, COLOURS, strict=True)):
        at = np.arange(10) + 0.27 * (number - 1)
        probabilities = (logits / temperature).softmax(0)
        axes.bar(at, probabilities, 0.25, color=colour, label=f"T = {temperature:g}")
    axes.set(xlabel="class", ylabel="the teacher's probability", xticks=range(10))
    axes.set_title("Soft targets for one image", fontsize=10)
    axes.legend(frameon=False, loc="upper left")
    inset = axes.inset_axes((0.42, 0.52, 0.3, 0.4))
    inset.imshow(image, cmap="gray_r")
    inset.set(xticks=[], yticks=[])


def main() -> None:
    """Print the table and draw the figure."""
    errors = relative_errors()
    image, logits = ambiguous_digit()
    print("| T | relative distance | 2/T |\n|---:|---:|---:|")
    for temperature, error in zip(TEMPERATURES, errors, strict=True):
        print(f"| {temperature:g} | {error:.4f} | {2 / temperature:.4f} |")
    for temperature in SHOWN:
        targets = (logits / temperature).softmax(0)
        print(f"T = {temperature:g}:", " ".join(f"{each:.3f}" for each in targets))
    with rc_context(LOOK):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        digit, limit = figure.subplots(1, 2)
        draw_digit(digit, image, logits)
        draw_limit(limit, errors)
        path = Path(__file__).with_suffix(".svg")
        figure.savefig(path, metadata={"Date": None}, facecolor="white")


if __name__ == "__main__":
    main()
