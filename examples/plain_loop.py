"""`Distiller` in a training loop of your own: one batch in, losses out.

python examples/plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

import tutelage as tl

EPOCHS = 20


def main() -> dict[str, float]:
    """Distil a classifier of digits; return the student's accuracy and its agreement with it."""
    torch.manual_seed(0)
    pixels, classes = load_digits(return_X_y=True)
    images, labels = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(classes)
    train, test = random_split(TensorDataset(images, labels), [1400, 397])
    teacher = nn.Sequential(nn.Linear(64, 512), nn.ReLU(), nn.Linear(512, 10))
    tl.fit(teacher, train=train, epochs=20)

    # A decreasing temperature reads `progress`, which your own loop passes on.
    objective = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(tl.schedules.Cosine(4, 1))
    student = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    distiller = tl.Distiller(student, teacher, objective)
    optimizer = torch.optim.Adam(distiller.parameters(), lr=0.01)
    loader = DataLoader(train, batch_size=64, shuffle=True)
    for epoch in range(EPOCHS):
        for raw in loader:
            losses = distiller(tl.Batch.of(raw, progress=epoch / EPOCHS))
            optimizer.zero_grad()
            losses.total.backward()
            optimizer.step()

    inputs, truth = test[:]
    targets, outputs = teacher(inputs), student(inputs)
    found = {
        "teacher": tl.evaluation.accuracy(targets, truth),
        "student": tl.evaluation.accuracy(outputs, truth),
        "agreement": tl.evaluation.agreement(outputs, targets),
    }
    print({name: round(value, 3) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
