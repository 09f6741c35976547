"""What a model is worth: its quality, its fidelity to the teacher, its cost."""

from tutelage.evaluation.cost import Cost, Latency, latencies, measure_cost
from tutelage.evaluation.figures import label_figures, usual_figures
from tutelage.evaluation.interval import Interval, mean_interval
from tutelage.evaluation.metrics import Metric, accuracy, agreement, mse, r2
from tutelage.evaluation.outputs import predict
from tutelage.evaluation.paired import (
    NonInferiority,
    bootstrap_interval,
    non_inferiority,
    seeds_needed,
)

__all__ = [
    "Cost",
    "Interval",
    "Latency",
    "Metric",
    "NonInferiority",
    "accuracy",
    "agreement",
    "bootstrap_interval",
    "label_figures",
    "latencies",
    "mean_interval",
    "measure_cost",
    "mse",
    "non_inferiority",
    "predict",
    "r2",
    "seeds_needed",
    "usual_figures",
]
