"""Distil a scikit-learn ensemble into a small network, on a regression task.

    python examples/diabetes.py

The teacher is an ensemble of 300 trees. The network is distilled on the training inputs and on as
many mixtures of two patients, for which there is no label, only the teacher's prediction.
"""

import copy

import numpy as np
import torch
from sklearn.datasets import load_diabetes
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl


def patients() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return training inputs and progression, test inputs and progression, in standard units."""
    inputs, values = (np.asarray(part) for part in load_diabetes(return_X_y=True))
    inputs = (inputs - inputs.mean(0)) / inputs.std(0)
    values = (values - values.mean()) / values.std()
    parts = train_test_split(inputs, values, test_size=0.25, random_state=0)
    train_x, test_x, train_y, test_y = (torch.tensor(each, dtype=torch.float32) for each in parts)
    return train_x, train_y, test_x, test_y


def main() -> dict[str, float]:
    """Distil trees into a network; return the R² of both on the test patients."""
    torch.manual_seed(0)
    train_x, train_y, test_x, test_y = patients()
    trees = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.03, max_depth=2, subsample=0.5, random_state=0
    ).fit(train_x.numpy(), train_y.numpy())

    weight = torch.rand(len(train_x), 1)
    mixed = weight * train_x + (1 - weight) * train_x[torch.randperm(len(train_x))]
    inputs = torch.cat([train_x, mixed])
    values = torch.cat([train_y, torch.full((len(mixed),), torch.nan)])  # NaN: unlabelled

    student = nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))
    control = copy.deepcopy(student)
    tl.distill(
        tl.teachers.Predictor(trees.predict),
        student,
        train=TensorDataset(inputs, values),
        objective=0.1 * tl.LabelRegression() + 0.9 * tl.OutputRegression(),
        epochs=60,
        batch_size=32,
    )
    # The same number of steps on labels only: half the examples, twice the epochs.
    labelled = TensorDataset(train_x, train_y)
    tl.fit(control, train=labelled, objective=tl.LabelRegression(), epochs=120, batch_size=32)

    targets = torch.tensor(trees.predict(test_x.numpy()))
    distilled, baseline = (
        tl.evaluation.predict(each, TensorDataset(test_x)) for each in (student, control)
    )
    result = {
        "teacher": tl.evaluation.r2(targets, test_y),
        "student": tl.evaluation.r2(distilled, test_y),
        "labels only": tl.evaluation.r2(baseline, test_y),
        "student, to the teacher's predictions": tl.evaluation.r2(distilled, targets),
    }
    print("R² on the test patients:", {name: round(value, 3) for name, value in result.items()})
    return result


if __name__ == "__main__":
    main()
