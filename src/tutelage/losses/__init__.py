"""Pure functions of tensors that return one value per example, `[batch]`; the caller reduces."""

from tutelage.losses.attention_transfer import attention_transfer
from tutelage.losses.bounded_regression import bounded_regression
from tutelage.losses.cka import cka
from tutelage.losses.coarse_targets import coarse_soft_targets
from tutelage.losses.crd import crd
from tutelage.losses.dist import dist
from tutelage.losses.dkd import dkd
from tutelage.losses.feature_match import feature_match
from tutelage.losses.gaussian_regression import gaussian_regression
from tutelage.losses.hard_labels import hard_labels
from tutelage.losses.logit_regression import logit_regression
from tutelage.losses.logit_standardization import logit_standardization
from tutelage.losses.minilmv2 import minilmv2
from tutelage.losses.nkd import nkd
from tutelage.losses.ofa import ofa
from tutelage.losses.regression import regression
from tutelage.losses.rkd import rkd
from tutelage.losses.soft_targets import soft_targets
from tutelage.losses.vkd import vkd
from tutelage.losses.wttm import wttm

__all__ = [
    "attention_transfer",
    "bounded_regression",
    "cka",
    "coarse_soft_targets",
    "crd",
    "dist",
    "dkd",
    "feature_match",
    "gaussian_regression",
    "hard_labels",
    "logit_regression",
    "logit_standardization",
    "minilmv2",
    "nkd",
    "ofa",
    "regression",
    "rkd",
    "soft_targets",
    "vkd",
    "wttm",
]
