"""Checks and numerics that several formulas need."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError

_ENOUGH, _ROUNDING = 4, 1e-3


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 if it has fewer bits."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def full_precision(tensor: Tensor) -> AbstractContextManager[object]:
    """Return a context without autocast, which would round matrix products."""
    device = tensor.device.type
    on = torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def rounding(tensor: Tensor) -> float:
    """Return the relative spread below which values differ by rounding errors only."""
    return 32 * torch.finfo(tensor.dtype).eps


def mean_of_rows(values: Tensor) -> Tensor:
    """Return the mean of each row, `[batch]`."""
    # The gradient of a sum takes less memory and time than that of `mean`.
    return values.sum(dim=1) / max(values.shape[1], 1)


def kl_terms(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return p (log p − log q) elementwise; 0 where p is 0, whatever q is, as p log p → 0."""
    terms = F.kl_div(log_q, log_p, reduction="none", log_target=True)
    if can_sync(log_p) and log_p.numel() and log_p.amin().item() > -torch.inf:
        return terms  # one look is faster than a mask
    return terms.masked_fill(log_p == -torch.inf, 0)


def kl_divergence(log_q: Tensor, log_p: Tensor) -> Tensor:
    """Return KL(p ‖ q) = Σ p (log p − log q) over the last dimension; q is the student's."""
    return kl_terms(log_q, log_p).sum(dim=-1)


def scaled_by_max(tensor: Tensor, dim: int | tuple[int, ...]) -> Tensor:
    """Divide by the largest magnitude along `dim`, so that squares cannot overflow or vanish.

    For losses that do not depend on the scale: their gradient is the same if the divisor is taken
    for a constant. Zeros stay zeros.
    """
    largest = tensor.detach().abs().amax(dim=dim, keepdim=True)
    return tensor / torch.where(largest > 0, largest, 1)


def unit(vectors: Tensor) -> Tensor:
    """Return vectors along the first dimension after the batch, made of length 1; 0 stays 0.

    In float32 at least.
    """
    vectors = scaled_by_max(at_least_float32(vectors), dim=1)
    length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return vectors / torch.where(length > 0, length, 1)


def check_several_classes(logits: Tensor) -> None:
    """Refuse a single logit as class logits: its softmax is 1, whatever it is."""
    if logits.shape[1] < 2:  # noqa: PLR2004 - two classes
        raise ModelError(
            f"class logits must be of at least two classes, got {logits.shape[1]}; for a single "
            "logit that answers yes or no use BinaryLabels and BinaryTargets, or give the models "
            "an output for each class"
        )


def look_like_probabilities(output: Tensor) -> bool:
    """Tell whether all rows sum to 1, with several columns, and enough rows to exclude chance."""
    if output.ndim != 2 or len(output) < _ENOUGH or output.shape[1] < 2 or output.amin() < 0:  # noqa: PLR2004
        return False
    return bool(((output.sum(dim=1) - 1).abs() < _ROUNDING).all())


def same_classes(student: Tensor, teacher: Tensor) -> None:
    """Refuse class logits that are not of one shape, or of a single class."""
    same_shape(student, teacher, "classes")
    check_several_classes(student)


def same_shape(student: Tensor, teacher: Tensor | CoarseLogits, unit: str) -> None:
    """Refuse outputs that are not of one shape `[batch, n]`; `unit` says what the n columns are."""
    if isinstance(teacher, CoarseLogits):
        raise ModelError(
            f"this objective needs the teacher's outputs for all {unit}, got CoarseLogits, of some "
            "classes; give a teacher that knows all, label without `top_k` and `sampled_classes`, "
            "or learn classes by SoftTargets"
        )
    tables = student.ndim == teacher.ndim == 2  # noqa: PLR2004 - rows and columns
    if tables and student.shape == teacher.shape:
        return
    if tables and student.shape[0] == teacher.shape[0]:
        more = "; of a teacher with another tokenizer make a tl.teachers.Retokenized"
        more = more if unit == "classes" else ""
        raise ModelError(
            f"student and teacher must have the same number of {unit}, got "
            f"{student.shape[1]} (student) and {teacher.shape[1]} (teacher); change the student's "
            f"last layer, or reorder and select the teacher's columns{more}"
        )
    raise ModelError(
        f"student and teacher outputs must both be [batch, {unit}], got {list(student.shape)} "
        f"(student) and {list(teacher.shape)} (teacher); let the models return that shape"
    )


def directions(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return values minus their mean, made of length 1 along `dim`, and which of them exist.

    Values that are constant but for rounding have no direction: it is set to 0, without a gradient,
    which would explode.
    """
    mean = values.mean(dim=dim, keepdim=True)
    centred = values - mean
    # Not as vector_norm, which takes several times as long along the first of two dimensions.
    square = centred.square().sum(dim=dim, keepdim=True)
    level = values.shape[dim] * mean.detach().square()  # Σ values² = square + level
    exist = square > rounding(values) ** 2 * (square + level)
    return centred / torch.where(exist, square, torch.inf).sqrt(), exist


def can_sync(tensor: Tensor) -> bool:
    """Tell whether reading a value neither waits for a device nor breaks a compiled graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()


def value_check(name: str, check: Callable[..., None], schema: str) -> Callable[..., Tensor]:
    """Return a function that checks a tensor's values on the CPU and returns the tensor.

    It does so in compiled code too, where an index out of range would end the process without a
    traceback: there the check is an operator, which the compiler does not trace. `schema` has the
    arguments of `check` and a returned tensor, in PyTorch's notation.
    """

    def body(values: Tensor, *others: Any) -> Tensor:
        check(values, *others)
        return values.clone()  # an operator must not return its input

    operator = torch.library.custom_op(f"tutelage::{name}", body, mutates_args=(), schema=schema)
    operator.register_fake(lambda values, *_: torch.empty_like(values))

    def checked(values: Tensor, *others: Any) -> Tensor:
        if values.device.type != "cpu":
            return values
        if torch.compiler.is_compiling():
            return operator(values, *others)
        check(values, *others)
        return values

    return checked
