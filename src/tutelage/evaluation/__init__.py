"""Evaluation of a model: its quality, calibration, fidelity to the teacher, and cost.

The metrics of each task are those of `tutelage.tasks`.
"""

from tutelage.evaluation.cost import Cost, Latency, latencies, measure_cost
from tutelage.evaluation.detection import (
    AveragePrecision,
    MeanAveragePrecision,
    mean_average_precision,
)
from tutelage.evaluation.entities import Entity, EntityF1, entities, entity_f1, tag_sentences
from tutelage.evaluation.evaluate import Evaluation, evaluate, predict
from tutelage.evaluation.intervals import (
    Interval,
    NonInferiority,
    jackknife,
    mean_interval,
    non_inferiority,
    paired_interval,
    pseudo_values,
    seeds_needed,
)
from tutelage.evaluation.language import (
    GenerationSpeed,
    acceptance_rate,
    bits_per_byte,
    generation_speed,
    perplexity,
    speculative_speedup,
)
from tutelage.evaluation.measure import divergence, measure
from tutelage.evaluation.segmentation import (
    MeanIoU,
    confusion_by_example,
    iou_by_class,
    mean_iou,
    mean_iou_of,
)
from tutelage.evaluation.variants import Variant, variants
from tutelage.tasks.binary import binary_agreement, binary_metrics, by_label
from tutelage.tasks.calibration import (
    Calibration,
    Reliability,
    calibration,
    fit_temperature,
    reliability,
)
from tutelage.tasks.classes import (
    accuracy,
    agreement,
    by_class,
    class_similarity,
    mean_kl,
    similarity_correlation,
)
from tutelage.tasks.language import BitsPerByte, Perplexity
from tutelage.tasks.metrics import (
    ClassMetric,
    CountedMetric,
    Metric,
    evaluate_metric,
)
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.token_scores import TokenScores, token_scores
from tutelage.tasks.values import mse, r2

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
    "TokenScores",
    "Variant",
    "acceptance_rate",
    "accuracy",
    "agreement",
    "binary_agreement",
    "binary_metrics",
    "bits_per_byte",
    "by_class",
    "by_label",
    "calibration",
    "class_similarity",
    "confusion_by_example",
    "divergence",
    "entities",
    "entity_f1",
    "evaluate",
    "evaluate_metric",
    "fit_temperature",
    "generation_speed",
    "iou_by_class",
    "jackknife",
    "latencies",
    "mean_average_precision",
    "mean_interval",
    "mean_iou",
    "mean_iou_of",
    "mean_kl",
    "measure",
    "measure_cost",
    "mse",
    "non_inferiority",
    "paired_interval",
    "perplexity",
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
