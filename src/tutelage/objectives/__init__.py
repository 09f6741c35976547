"""Training objectives, a file for each method or kind, joined by `*` and `+` into weighted sums.

An objective has a formula, a pure function of tensors that returns one loss per
example, `[batch]`: `DKD` and `dkd`. All formulas take the student before the teacher, and compute
in float32 at least. They raise `ModelError` if the shapes of the two sides do not fit each other,
and `DataError` if labels have the wrong dtype, shape or range; an unlabelled example has loss 0.
Objectives raise `ArgumentError` for settings outside their range.
"""

from tutelage.objectives._attention_transfer import AttentionTransfer, attention_transfer
from tutelage.objectives._binary import BinaryLabels, BinaryTargets, binary_labels, binary_targets
from tutelage.objectives._cka import CKA, cka
from tutelage.objectives._crd import CRD, crd
from tutelage.objectives._cwd import CWD, cwd
from tutelage.objectives._dist import DIST, dist
from tutelage.objectives._divergences import (
    JensenShannon,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    TotalVariation,
    jensen_shannon,
    reverse_kl,
    skew_kl,
    skew_reverse_kl,
    total_variation,
)
from tutelage.objectives._dkd import DKD, dkd
from tutelage.objectives._feature_match import FeatureMatch, VkD, feature_match, vkd
from tutelage.objectives._formula import OutputObjective
from tutelage.objectives._hard_labels import HardLabels, hard_labels
from tutelage.objectives._layers import LayerObjective
from tutelage.objectives._logit_regression import (
    LogitRegression,
    LogitStandardization,
    logit_regression,
    logit_standardization,
)
from tutelage.objectives._minilmv2 import MiniLMv2, minilmv2
from tutelage.objectives._nkd import NKD, nkd
from tutelage.objectives._objective import (
    Objective,
    RowMean,
    Term,
    ValidationFeedback,
    WeightedSum,
    with_feedback,
)
from tutelage.objectives._ofa import OFA, ofa
from tutelage.objectives._own_loss import OwnLoss
from tutelage.objectives._regression import (
    BoundedRegression,
    GaussianRegression,
    LabelRegression,
    OutputRegression,
    bounded_regression,
    gaussian_regression,
    regression,
)
from tutelage.objectives._rkd import RKD, rkd
from tutelage.objectives._skd import SKD, skd
from tutelage.objectives._soft_targets import SoftTargets, soft_targets
from tutelage.objectives._spans import ALM, AlignedKL, aligned_kl, alm
from tutelage.objectives._wttm import WTTM, wttm

__all__ = [
    "ALM", "CKA", "CRD", "CWD", "DIST", "DKD", "NKD", "OFA", "RKD", "SKD", "WTTM", "AlignedKL",
    "AttentionTransfer", "BinaryLabels", "BinaryTargets", "BoundedRegression", "FeatureMatch",
    "GaussianRegression", "HardLabels", "JensenShannon", "LabelRegression", "LayerObjective",
    "LogitRegression", "LogitStandardization", "MiniLMv2", "Objective", "OutputObjective",
    "OutputRegression", "OwnLoss", "ReverseKL", "RowMean", "SkewKL", "SkewReverseKL", "SoftTargets",
    "Term", "TotalVariation", "ValidationFeedback", "VkD", "WeightedSum", "aligned_kl", "alm",
    "attention_transfer", "binary_labels", "binary_targets", "bounded_regression", "cka",
    "crd", "cwd", "dist", "dkd", "feature_match", "gaussian_regression",
    "hard_labels", "jensen_shannon", "logit_regression", "logit_standardization", "minilmv2", "nkd",
    "ofa", "regression", "reverse_kl", "rkd", "skd", "skew_kl", "skew_reverse_kl", "soft_targets",
    "total_variation", "vkd", "with_feedback", "wttm",
]  # fmt: skip
