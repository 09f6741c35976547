"""The training loop on Accelerate: `distill`, at once or in stages, and `fit`."""

from tutelage.training.distill import distill
from tutelage.training.engine import Engine
from tutelage.training.fit import fit
from tutelage.training.monitor import Monitor
from tutelage.training.run import Run
from tutelage.training.stage import Stage, blockwise

__all__ = ["Engine", "Monitor", "Run", "Stage", "blockwise", "distill", "fit"]
