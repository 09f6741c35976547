"""Which view is shown at present, where worker processes see it too."""

import torch


class CurrentView:
    """The present view, in memory that worker processes share, so that persistent ones see it."""

    def __init__(self) -> None:
        self._view = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, torch.Tensor]) -> None:
        self._view = state["_view"].share_memory_()  # what comes to a worker is shared already

    def __repr__(self) -> str:
        return "view"  # the same whichever it is: it is no setting of the data set

    def get(self) -> int:
        """Return it."""
        return int(self._view)

    def set(self, view: int) -> None:
        """Show another."""
        self._view.fill_(view)
