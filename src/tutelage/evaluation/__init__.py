"""What a model is worth: its quality, its fidelity to the teacher, its cost."""

from tutelage.evaluation.cost import Cost, Latency, latencies, measure_cost
from tutelage.evaluation.interval import Interval, mean_interval
from tutelage.evaluation.metrics import Metric, accuracy, agreement, mse, r2
from tutelage.evaluation.outputs import predict

__all__ = [
    "Cost",
    "Interval",
    "Latency",
    "Metric",
    "accuracy",
    "agreement",
    "latencies",
    "mean_interval",
    "measure_cost",
    "mse",
    "predict",
    "r2",
]
