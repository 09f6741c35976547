"""Does the teacher help, and by how much? A study with controls, paired seeds and a report.

python examples/study.py
"""

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset, random_split

import tutelage as tl


def make_student() -> nn.Module:
    """Return an untrained student; each seed's weights are the same in all arms."""
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def main(epochs: int = 30, seeds: int = 5) -> tl.Study:
    """Train a teacher on digits; compare three methods with two controls."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    whole = TensorDataset(images, torch.tensor(labels))
    train, val, test = random_split(whole, [900, 300, 597])

    teacher = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    tl.fit(teacher, train=train, val=val, epochs=20)

    study = tl.study(
        teacher,
        make_student,
        train=train,
        val=val,
        test=test,
        arms={
            "both": 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(4),
            "soft targets": tl.Arm(
                objective=tl.SoftTargets(4),
                sweep={"objective": [tl.SoftTargets(each) for each in (1, 4, 8)]},
            ),
            "logits": tl.LogitRegression(),
        },
        sweep={"learning_rate": [1e-3, 1e-2]},
        training=tl.Training(optimizer=partial(torch.optim.AdamW, lr=1e-3)),
        epochs=epochs,
        seeds=seeds,
        margin=0.01,
        report=tl.ReportOptions(title="Digits: what does the teacher add?"),
    )
    print(study.verdict)
    return study


if __name__ == "__main__":
    print(main().report("study.html"))
