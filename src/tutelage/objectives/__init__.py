"""What a student is asked for: one idea per file, joined by `*` and `+` into a weighted sum."""

from tutelage.objectives._objective import Objective, Term, WeightedSum
from tutelage.objectives.bounded_regression import BoundedRegression
from tutelage.objectives.gaussian_regression import GaussianRegression
from tutelage.objectives.hard_labels import HardLabels
from tutelage.objectives.label_regression import LabelRegression
from tutelage.objectives.logit_regression import LogitRegression
from tutelage.objectives.output_regression import OutputRegression
from tutelage.objectives.soft_targets import SoftTargets

__all__ = [
    "BoundedRegression",
    "GaussianRegression",
    "HardLabels",
    "LabelRegression",
    "LogitRegression",
    "Objective",
    "OutputRegression",
    "SoftTargets",
    "Term",
    "WeightedSum",
]
