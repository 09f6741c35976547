"""Distil your own classifier: replace `teacher`, `student` and the data with yours.

python examples/digits.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset, random_split

import tutelage as tl


def main() -> float:
    """Train a teacher on digits, distil it, return the student's accuracy."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    train, val = random_split(TensorDataset(images, torch.tensor(labels)), [1400, 397])

    teacher = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    tl.fit(teacher, train=train, val=val, epochs=20)

    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    run = tl.distill(
        teacher,
        student,
        train=train,
        val=val,
        objective=0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(temperature=4),
        epochs=30,
    )
    best = run.history[run.best_epoch - 1]
    print(f"student: accuracy {best['val/accuracy']:.3f}, agreement {best['val/agreement']:.3f}")
    return best["val/accuracy"]


if __name__ == "__main__":
    main()
