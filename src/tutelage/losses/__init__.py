"""Pure functions of tensors that return one value per example, `[batch]`; the caller reduces."""

from tutelage.losses.bounded_regression import bounded_regression
from tutelage.losses.gaussian import gaussian_divergence
from tutelage.losses.hard_labels import hard_labels
from tutelage.losses.logit_regression import logit_regression
from tutelage.losses.regression import regression
from tutelage.losses.soft_targets import soft_targets

__all__ = [
    "bounded_regression",
    "gaussian_divergence",
    "hard_labels",
    "logit_regression",
    "regression",
    "soft_targets",
]
