"""The training loop on Accelerate: `distill`, at once or in stages, `fit` and `fine_tune`."""

from tutelage.training.distill import distill, fine_tune, fit
from tutelage.training.engine import Engine
from tutelage.training.label import label
from tutelage.training.monitor import Monitor
from tutelage.training.run import Run
from tutelage.training.stages import Stage, blockwise

__all__ = ["Engine", "Monitor", "Run", "Stage", "blockwise", "distill", "fine_tune", "fit", "label"]
