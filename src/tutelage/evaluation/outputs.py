"""All outputs of a model on a data set."""

from typing import cast

from torch import Tensor, nn

from tutelage.data import as_source
from tutelage.evaluation.evaluate import evaluate


def predict(model: nn.Module, data: object, batch_size: int = 256) -> Tensor:
    """Return a model's outputs on a data set, `[examples, …]`, on the CPU.

    The model runs in eval mode without gradients and is left in its former mode; the global random
    state is left as it was.

    Args:
        model: Any module.
        data: A data set (taken in its order) or a `DataLoader`.
        batch_size: Examples at a time, for a data set.

    Raises:
        DataError: The data is empty.
        ModelError: The model refuses the inputs.
    """
    source = as_source("data", data, batch_size, shuffle=False)
    found = evaluate(model, None, None, source).outputs.student
    return cast("Tensor", found)
