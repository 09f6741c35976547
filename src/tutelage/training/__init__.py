"""The training loop on Accelerate: `distill` and `fit`."""

from tutelage.training.distill import distill
from tutelage.training.engine import Engine
from tutelage.training.fit import fit
from tutelage.training.monitor import Monitor
from tutelage.training.run import Run

__all__ = ["Engine", "Monitor", "Run", "distill", "fit"]
