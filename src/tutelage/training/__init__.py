"""The training loop on Accelerate: `distill`, at once or in stages, `fit` and `fine_tune`."""

from tutelage.training.distill import distill
from tutelage.training.engine import Engine
from tutelage.training.fine_tune import fine_tune
from tutelage.training.fit import fit
from tutelage.training.label import label
from tutelage.training.monitor import Monitor
from tutelage.training.run import Run
from tutelage.training.stage import Stage, blockwise

__all__ = ["Engine", "Monitor", "Run", "Stage", "blockwise", "distill", "fine_tune", "fit", "label"]
