"""Several yes-or-no labels of each image, most of them missing: a student learns from a teacher.

Each digit has four properties. Of the training images' labels only one in ten is known, one by one;
the teacher was trained where all are known.

python examples/multi_label.py
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import tutelage as tl

PROPERTIES = {
    "has a loop": {0, 6, 8, 9},
    "is odd": {1, 3, 5, 7, 9},
    "is above 4": {5, 6, 7, 8, 9},
    "is prime": {2, 3, 5, 7},
}


def network(width: int) -> nn.Module:
    """Return a network with a logit for each property."""
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, len(PROPERTIES)))


def main() -> dict[str, float]:
    """Return the average precision on test images of the teacher and of two students."""
    torch.manual_seed(0)
    pixels, digits = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    labels = torch.tensor([[digit in each for each in PROPERTIES.values()] for digit in digits])
    labels, order = labels.long(), torch.randperm(len(images))
    ours, theirs, test = order[:500], order[500:1300], order[1300:]

    teacher = network(256)
    known = TensorDataset(images[theirs], labels[theirs])
    tl.fit(teacher, train=known, objective=tl.BinaryLabels(), epochs=30)

    missing = torch.rand(len(ours), len(PROPERTIES)) > 0.1
    train = TensorDataset(images[ours], labels[ours].masked_fill(missing, -100))
    student = network(16)
    alone = network(16)
    alone.load_state_dict(student.state_dict())
    tl.fit(alone, train=train, objective=tl.BinaryLabels(), epochs=60)
    tl.distill(
        teacher,
        student,
        train=train,
        objective=0.1 * tl.BinaryLabels() + 0.9 * tl.BinaryTargets(temperature=2),
        epochs=60,
    )
    models = {"teacher": teacher, "student": student, "labels only": alone}
    result = {}
    for name, model in models.items():
        output = tl.evaluation.predict(model, images[test])
        metrics = tl.evaluation.binary_metrics(output, labels[test])
        result[name] = metrics["average_precision"]
        print(name, {key: round(value, 3) for key, value in metrics.items()})
    return result


if __name__ == "__main__":
    main()
