"""What a model says while it runs: its output (and later, its layers)."""

from tutelage.layers.observe import evaluating, observe

__all__ = ["evaluating", "observe"]
