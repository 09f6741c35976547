"""Evaluation of a model: its quality, calibration, fidelity to the teacher, and cost."""

from tutelage.evaluation.binary import binary_agreement, binary_metrics, by_label
from tutelage.evaluation.binary_calibration import (
    binary_calibration,
    binary_calibration_error,
    binary_reliability,
)
from tutelage.evaluation.breakdown import by_class, by_group
from tutelage.evaluation.calibration import (
    Calibration,
    Reliability,
    calibration,
    calibration_error,
    negative_log_likelihood,
    reliability,
)
from tutelage.evaluation.cost import Cost, measure_cost
from tutelage.evaluation.detection import (
    AveragePrecision,
    MeanAveragePrecision,
    mean_average_precision,
)
from tutelage.evaluation.entities import Entity, EntityF1, entities, entity_f1, tag_sentences
from tutelage.evaluation.evaluate import (
    Evaluation,
    Outputs,
    evaluate,
    measure,
    predict,
)
from tutelage.evaluation.fidelity import divergence, mean_kl
from tutelage.evaluation.intervals import (
    Interval,
    NonInferiority,
    mean_interval,
    non_inferiority,
    paired_interval,
    seeds_needed,
)
from tutelage.evaluation.jackknife import jackknife, pseudo_values
from tutelage.evaluation.language import (
    GenerationSpeed,
    acceptance_rate,
    bits_per_byte,
    generation_speed,
    perplexity,
    speculative_speedup,
)
from tutelage.evaluation.latency import Latency, latencies
from tutelage.evaluation.metrics import (
    ClassMetric,
    CountedMetric,
    Metric,
    ScoreMetric,
    accuracy,
    agreement,
    evaluate_metric,
    mse,
    r2,
)
from tutelage.evaluation.resemblance import class_similarity, similarity_correlation
from tutelage.evaluation.segmentation import (
    MeanIoU,
    confusion_by_example,
    confusion_matrix,
    iou_by_class,
    mean_iou,
    mean_iou_of,
    pixel_accuracy,
)
from tutelage.evaluation.standard import check_metric_names, label_metrics
from tutelage.evaluation.temperature import fit_temperature
from tutelage.evaluation.token_metrics import BitsPerByte, Perplexity
from tutelage.evaluation.token_scores import TokenScores, token_scores
from tutelage.evaluation.variants import Variant, variants

__all__ = [
    "AveragePrecision",
    "BitsPerByte",
    "Calibration",
    "ClassMetric",
    "Cost",
    "CountedMetric",
    "Entity",
    "EntityF1",
    "Evaluation",
    "GenerationSpeed",
    "Interval",
    "Latency",
    "MeanAveragePrecision",
    "MeanIoU",
    "Metric",
    "NonInferiority",
    "Outputs",
    "Perplexity",
    "Reliability",
    "ScoreMetric",
    "TokenScores",
    "Variant",
    "acceptance_rate",
    "accuracy",
    "agreement",
    "binary_agreement",
    "binary_calibration",
    "binary_calibration_error",
    "binary_metrics",
    "binary_reliability",
    "bits_per_byte",
    "by_class",
    "by_group",
    "by_label",
    "calibration",
    "calibration_error",
    "check_metric_names",
    "class_similarity",
    "confusion_by_example",
    "confusion_matrix",
    "divergence",
    "entities",
    "entity_f1",
    "evaluate",
    "evaluate_metric",
    "fit_temperature",
    "generation_speed",
    "iou_by_class",
    "jackknife",
    "label_metrics",
    "latencies",
    "mean_average_precision",
    "mean_interval",
    "mean_iou",
    "mean_iou_of",
    "mean_kl",
    "measure",
    "measure_cost",
    "mse",
    "negative_log_likelihood",
    "non_inferiority",
    "paired_interval",
    "perplexity",
    "pixel_accuracy",
    "predict",
    "pseudo_values",
    "r2",
    "reliability",
    "seeds_needed",
    "similarity_correlation",
    "speculative_speedup",
    "tag_sentences",
    "token_scores",
    "variants",
]
