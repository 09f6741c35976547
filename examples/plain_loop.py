"""`Distiller` in a training loop of your own: one batch in, losses out.

python examples/plain_loop.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tutelage as tl

EPOCHS = 10


def main() -> dict[str, float]:
    """Distil a teacher of random weights: the student comes to agree with it."""
    torch.manual_seed(0)
    images = torch.tensor(load_digits(return_X_y=True)[0], dtype=torch.float32) / 4
    loader = DataLoader(TensorDataset(images), batch_size=64, shuffle=True)
    teacher, student = nn.Linear(64, 10), nn.Linear(64, 10)

    # A cooling temperature reads `progress`, which a loop of your own has to say.
    objective = tl.SoftTargets(tl.schedules.Cosine(4, 1))
    distiller = tl.Distiller(student, teacher, objective)
    optimizer = torch.optim.Adam(distiller.parameters(), lr=0.01)
    for epoch in range(EPOCHS):
        for raw in loader:
            losses = distiller(tl.Batch.of(raw, progress=epoch / EPOCHS))
            optimizer.zero_grad()
            losses.total.backward()
            optimizer.step()

    agreement = tl.evaluation.agreement(student(images), teacher(images))
    print(f"agreement with the teacher {agreement:.3f}")
    return {"agreement": agreement}


if __name__ == "__main__":
    main()
