"""Distil a scikit-learn ensemble into a small network, on a regression task.

    python examples/diabetes.py

The teacher is averaged over 300 trees; the network learns its values from the training inputs and
from as many again that nobody has measured: mixtures of two patients, for which only the teacher
knows an answer.
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
    """Teach a network what the trees say; return R² of trees and network on the test patients."""
    torch.manual_seed(0)
    train_x, train_y, test_x, test_y = patients()
    trees = GradientBoostingRegressor(
        n_estimators=300, learning_rate=0.03, max_depth=2, subsample=0.5, random_state=0
    ).fit(train_x.numpy(), train_y.numpy())

    share = torch.rand(len(train_x), 1)
    mixed = share * train_x + (1 - share) * train_x[torch.randperm(len(train_x))]
    inputs = torch.cat([train_x, mixed])
    values = torch.cat([train_y, torch.full((len(mixed),), torch.nan)])  # NaN: not measured

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
    # The same number of steps, on labels alone: half the examples, twice the epochs.
    measured = TensorDataset(train_x, train_y)
    tl.fit(control, train=measured, objective=tl.LabelRegression(), epochs=120, batch_size=32)

    said = torch.tensor(trees.predict(test_x.numpy()))
    taught, alone = (
        tl.evaluation.predict(each, TensorDataset(test_x)) for each in (student, control)
    )
    result = {
        "teacher": tl.evaluation.r2(said, test_y),
        "student": tl.evaluation.r2(taught, test_y),
        "labels alone": tl.evaluation.r2(alone, test_y),
        "student, of the teacher's values": tl.evaluation.r2(taught, said),
    }
    print("R² on the test patients:", {name: round(value, 3) for name, value in result.items()})
    return result


if __name__ == "__main__":
    main()
