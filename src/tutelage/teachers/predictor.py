"""A teacher that is a function of arrays, such as a model of scikit-learn or ONNX Runtime."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tutelage._checks import inner_fraction
from tutelage.errors import ArgumentError, ModelError, TutelageError
from tutelage.identity import identity
from tutelage.nested import describe, first_tensor
from tutelage.objectives._objective import OutputKind
from tutelage.objectives._tensors import look_like_probabilities
from tutelage.signals import Batch, Signals
from tutelage.teachers._teacher import Teacher
from tutelage.wants import Fields

_ROUNDING, _FAR = 1e-3, 1e-2


class Predictor(Teacher):
    """A callable that takes inputs `[batch, …]` as a numpy array and returns outputs.

    Texts, a list of str in the batch, are given to it as an array of str.

    Args:
        predict: Such as `model.predict` (values, `[batch]` or `[batch, outputs]`) or
            `model.predict_proba` (probabilities, `[batch, classes]`).
        probabilities: Whether the outputs are probabilities, which sum to 1; their logarithms are
            then the logits (softmax of log p is p).
        floor: Least probability before the logarithm is taken, in (0, 1): a tree may return exactly
            0.
        binary: Whether the probabilities are those of binary labels being true, `[batch, labels]`
            or `[batch]`; log p − log(1 − p) are then the logits (its sigmoid is p), with 1 − p of
            at least `floor` too.

    Raises:
        ArgumentError: `floor` does not lie between 0 and 1, or `binary` is without `probabilities`.

    >>> double = Predictor(lambda inputs: inputs[:, 0] * 2)
    >>> double.signals(Batch(torch.tensor([[1.0], [3.0]])), Fields(output=True)).output
    tensor([[2.],
            [6.]])
    """

    traceable = False  # the function may be of another library

    def __init__(
        self,
        predict: Callable[[NDArray[np.generic]], ArrayLike],
        probabilities: bool = False,
        floor: float = 1e-6,
        binary: bool = False,
    ) -> None:
        self.predict = predict
        self.probabilities = probabilities
        advice = "it is the smallest probability whose logarithm is taken"
        self.floor = inner_fraction("floor", floor, advice)
        if binary and not probabilities:
            raise ArgumentError(
                "`binary` says of which kind probabilities are, got probabilities=False; set that "
                "to True, or leave `binary` out: logits are as the objective reads them"
            )
        self.binary = binary
        self._device: torch.device | None = None  # of outputs for texts, within `ready`

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the callable's output, in float32 on the device of the inputs."""
        if not fields.output:
            return Signals()
        output = self._predict(batch.inputs)
        if self.probabilities:
            output = self._logits(output)
        elif look_like_probabilities(output):
            raise ModelError(
                "the teacher must return logits or values where probabilities=False, got rows of "
                "non-negative numbers that sum to 1; pass probabilities=True"
            )
        texts = _are_texts(batch.inputs)
        return Signals(output.to(self._device if texts else first_tensor(batch.inputs).device))

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Return outputs for texts on `device`; those for tensors are on the tensors' device."""
        before, self._device = self._device, device
        try:
            yield
        finally:
            self._device = before

    def check_kind(self, kind: OutputKind | None) -> None:
        """Refuse probabilities of classes as those of binary labels, and the reverse."""
        if self.probabilities and kind == ("classes" if self.binary else "binary"):
            raise ArgumentError(
                f"the Predictor's probabilities must be of the objective's kind ({kind}), got "
                f"binary={self.binary}; set `binary` to {not self.binary} if they are, or choose "
                "another objective"
            )

    def fingerprint(self) -> str:
        """Return the callable's own `fingerprint()`, or its name and identity, and the settings."""
        found = callable_fingerprint(self.predict)
        kind = "binary probabilities" if self.binary else "probabilities"
        return f"{found}, {kind} from {self.floor}" if self.probabilities else found

    def _predict(self, inputs: Any) -> Tensor:
        try:
            array = _array(inputs)
            output = np.asarray(self.predict(array), dtype=np.float32)
        except TutelageError:
            raise
        except Exception as error:
            raise ModelError(
                f"the teacher ({getattr(self.predict, '__qualname__', self.predict)}) refused its "
                f"inputs {describe(inputs)} with {type(error).__name__}: {error}; give it the "
                "inputs that it was fitted on"
            ) from error
        if output.ndim not in (1, 2) or len(output) != len(array):
            raise ModelError(
                f"the teacher must return [{len(array)}] or [{len(array)}, outputs] values, got "
                f"shape {list(output.shape)}; wrap it in a function that does"
            )
        return torch.from_numpy(output.reshape(len(array), -1).copy())

    def _logits(self, probabilities: Tensor) -> Tensor:
        low, high = probabilities.min().item(), probabilities.max().item()
        if not (low >= 0 and high <= 1 + _ROUNDING):  # also true for NaN
            raise ModelError(
                f"the teacher's probabilities must lie in [0, 1], got {low:g} to {high:g}; pass "
                "probabilities=False where it returns logits or values"
            )
        sums = probabilities.sum(dim=1)
        several = probabilities.shape[1] > 1 and not self.binary
        if several and bool(((sums - 1).abs() > _FAR).any()):
            raise ModelError(
                "the teacher's probabilities of classes must sum to 1 in each row, got sums from "
                f"{sums.min():.3g} to {sums.max():.3g}; pass binary=True where they are those of "
                "binary labels"
            )
        if self.binary:
            # In double, where 1 − floor is not rounded to 1.
            return probabilities.double().logit(eps=self.floor).float()
        return probabilities.clamp(min=self.floor).log()


def _are_texts(inputs: Any) -> bool:
    listed = isinstance(inputs, (list, tuple)) and len(inputs) > 0
    return listed and all(isinstance(each, str) for each in inputs)


def _array(inputs: Any) -> NDArray[np.generic]:
    """Return a batch's inputs as an array of its own, since `predict` may overwrite it."""
    if _are_texts(inputs):
        return np.array(inputs, dtype=object)
    tensor = first_tensor(inputs)
    if not isinstance(inputs, Tensor) and len(inputs) > 1:
        raise ModelError(
            "a Predictor takes inputs that are one tensor, or texts, got "
            f"{describe(inputs)}; join them into one, or write a Teacher of your own"
        )
    return tensor.detach().cpu().numpy().copy()


def callable_fingerprint(function: object) -> str:
    """Return a callable's own `fingerprint()`, or its name and identity."""
    own = getattr(function, "fingerprint", None)
    if callable(own):
        return str(own())
    return f"{getattr(function, '__qualname__', type(function).__name__)} {identity(function)}"
