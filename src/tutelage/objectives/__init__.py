"""What a student is asked for: one idea per file, joined by `*` and `+` into a weighted sum."""

from tutelage.objectives._objective import Objective, Term, WeightedSum
from tutelage.objectives.attention_transfer import AttentionTransfer
from tutelage.objectives.bounded_regression import BoundedRegression
from tutelage.objectives.cka import CKA
from tutelage.objectives.compiled import Compiled
from tutelage.objectives.crd import CRD
from tutelage.objectives.dist import DIST
from tutelage.objectives.dkd import DKD
from tutelage.objectives.feature_match import FeatureMatch
from tutelage.objectives.gaussian_regression import GaussianRegression
from tutelage.objectives.groupings import by_class, by_domain
from tutelage.objectives.hard_labels import HardLabels
from tutelage.objectives.label_regression import LabelRegression
from tutelage.objectives.logit_regression import LogitRegression
from tutelage.objectives.logit_standardization import LogitStandardization
from tutelage.objectives.minilmv2 import MiniLMv2
from tutelage.objectives.nkd import NKD
from tutelage.objectives.ofa import OFA
from tutelage.objectives.output_regression import OutputRegression
from tutelage.objectives.rkd import RKD
from tutelage.objectives.selective import Selective
from tutelage.objectives.soft_targets import SoftTargets
from tutelage.objectives.vkd import VkD
from tutelage.objectives.wttm import WTTM

__all__ = [
    "CKA",
    "CRD",
    "DIST",
    "DKD",
    "NKD",
    "OFA",
    "RKD",
    "WTTM",
    "AttentionTransfer",
    "BoundedRegression",
    "Compiled",
    "FeatureMatch",
    "GaussianRegression",
    "HardLabels",
    "LabelRegression",
    "LogitRegression",
    "LogitStandardization",
    "MiniLMv2",
    "Objective",
    "OutputRegression",
    "Selective",
    "SoftTargets",
    "Term",
    "VkD",
    "WeightedSum",
    "by_class",
    "by_domain",
]
