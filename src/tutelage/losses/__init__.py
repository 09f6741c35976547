"""Pure functions of tensors that return one value per example, `[batch]`; the caller reduces."""

from tutelage.losses.alignment_match import alignment_match
from tutelage.losses.attention_transfer import attention_transfer
from tutelage.losses.bounded_regression import bounded_regression
from tutelage.losses.coarse_targets import coarse_soft_targets
from tutelage.losses.contrastive_match import contrastive_match
from tutelage.losses.correlation_match import correlation_match
from tutelage.losses.decoupled_targets import decoupled_targets
from tutelage.losses.feature_distance import feature_distance
from tutelage.losses.gaussian import gaussian_divergence
from tutelage.losses.hard_labels import hard_labels
from tutelage.losses.heterogeneous_targets import heterogeneous_targets
from tutelage.losses.logit_regression import logit_regression
from tutelage.losses.normalized_targets import normalized_targets
from tutelage.losses.regression import regression
from tutelage.losses.relation_match import relation_match
from tutelage.losses.self_attention_relations import self_attention_relations
from tutelage.losses.soft_targets import soft_targets
from tutelage.losses.standardized_distance import standardized_distance
from tutelage.losses.standardized_targets import standardized_targets
from tutelage.losses.transformed_targets import transformed_targets

__all__ = [
    "alignment_match",
    "attention_transfer",
    "bounded_regression",
    "coarse_soft_targets",
    "contrastive_match",
    "correlation_match",
    "decoupled_targets",
    "feature_distance",
    "gaussian_divergence",
    "hard_labels",
    "heterogeneous_targets",
    "logit_regression",
    "normalized_targets",
    "regression",
    "relation_match",
    "self_attention_relations",
    "soft_targets",
    "standardized_distance",
    "standardized_targets",
    "transformed_targets",
]
