"""The option that regression objectives share: squared error, or Huber's."""

from tutelage._checks import positive
from tutelage.objectives._objective import Objective


class HuberOption(Objective):
    """An objective whose error is squared (`huber_delta=None`) or Huber's."""

    predicts_values = True

    def __init__(self, huber_delta: float | None = None) -> None:
        super().__init__()
        advice = "it is the error at which squares turn into straight lines; None for squares"
        self.huber_delta = (
            None if huber_delta is None else positive("huber_delta", huber_delta, advice)
        )

    def extra_repr(self) -> str:
        """Show the threshold where there is one."""
        return "" if self.huber_delta is None else f"huber_delta={self.huber_delta:g}"
