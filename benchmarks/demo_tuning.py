"""How the demo's student settings were chosen: for the control, on training images only.

    python benchmarks/demo_tuning.py

Each seed holds out a quarter of the 1,200 training images, takes 200 of the other 900 with their
labels, trains the control on them and measures it on the held-out 300. The 597 test images are not
used. The seeds are not those of the demo.
"""

import itertools
from functools import partial
from statistics import fmean, stdev

import torch
from sklearn.model_selection import train_test_split
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import TensorDataset

import tutelage as tl
from tutelage.demo.digits import digits, draw, make_student

STEPS, RATES, DECAYS, SEEDS = (600, 1200), (0.005, 0.01, 0.02), (0.3, 1.0), range(1000, 1016)


def control(steps: int, rate: float, decay: float, seed: int) -> float:
    """Return the control's accuracy on held-out images, in per cent."""
    content = digits()
    images, labels = content.train_images, content.train_labels
    rest, held_out = train_test_split(
        range(len(labels)), test_size=300, stratify=labels.numpy(), random_state=seed
    )
    chosen = torch.tensor(rest)[draw(labels[rest], 200, seed).labelled]
    torch.manual_seed(seed)
    student = make_student()
    tl.fit(
        student,
        train=TensorDataset(images[chosen], labels[chosen]),
        epochs=steps // 4,
        batch_size=50,
        seed=seed,
        optimizer=partial(torch.optim.AdamW, lr=rate, weight_decay=decay),
        scheduler=CosineAnnealingLR,
        engine=tl.Engine(device="cpu", progress=False),
    )
    output = tl.evaluation.predict(student, TensorDataset(images[held_out]))
    return 100 * tl.evaluation.accuracy(output, labels[held_out])


def main() -> None:
    """Print mean and standard error for each setting."""
    torch.set_num_threads(1)
    print("steps rate decay accuracy")
    for setting in itertools.product(STEPS, RATES, DECAYS):
        found = [control(*setting, seed) for seed in SEEDS]
        error = stdev(found) / len(found) ** 0.5
        print(*setting, f"{fmean(found):.2f} ± {error:.2f} (s.e.)", flush=True)


if __name__ == "__main__":
    main()
