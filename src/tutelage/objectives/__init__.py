"""What a student is asked for: one idea per file, joined by `*` and `+` into a weighted sum."""

from tutelage.objectives._objective import Objective, Term, WeightedSum
from tutelage.objectives.alignment_match import AlignmentMatch
from tutelage.objectives.attention_transfer import AttentionTransfer
from tutelage.objectives.bounded_regression import BoundedRegression
from tutelage.objectives.compiled import Compiled
from tutelage.objectives.contrastive_match import ContrastiveMatch
from tutelage.objectives.correlation_match import CorrelationMatch
from tutelage.objectives.decoupled_targets import DecoupledTargets
from tutelage.objectives.feature_match import FeatureMatch
from tutelage.objectives.gaussian_regression import GaussianRegression
from tutelage.objectives.groupings import by_class, by_domain
from tutelage.objectives.hard_labels import HardLabels
from tutelage.objectives.heterogeneous_targets import HeterogeneousTargets
from tutelage.objectives.label_regression import LabelRegression
from tutelage.objectives.logit_regression import LogitRegression
from tutelage.objectives.normalized_targets import NormalizedTargets
from tutelage.objectives.orthogonal_match import OrthogonalMatch
from tutelage.objectives.output_regression import OutputRegression
from tutelage.objectives.relation_match import RelationMatch
from tutelage.objectives.selective import Selective
from tutelage.objectives.self_attention_relations import SelfAttentionRelations
from tutelage.objectives.soft_targets import SoftTargets
from tutelage.objectives.standardized_targets import StandardizedTargets
from tutelage.objectives.transformed_targets import TransformedTargets

__all__ = [
    "AlignmentMatch",
    "AttentionTransfer",
    "BoundedRegression",
    "Compiled",
    "ContrastiveMatch",
    "CorrelationMatch",
    "DecoupledTargets",
    "FeatureMatch",
    "GaussianRegression",
    "HardLabels",
    "HeterogeneousTargets",
    "LabelRegression",
    "LogitRegression",
    "NormalizedTargets",
    "Objective",
    "OrthogonalMatch",
    "OutputRegression",
    "RelationMatch",
    "Selective",
    "SelfAttentionRelations",
    "SoftTargets",
    "StandardizedTargets",
    "Term",
    "TransformedTargets",
    "WeightedSum",
    "by_class",
    "by_domain",
]
