"""Cross-entropy with the true classes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from tutelage.losses._labels import check_label_range, check_label_shapes, in_range
from tutelage.losses._tensors import at_least_float32
from tutelage.signals import UNLABELLED


def hard_labels(student: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy with the true class: −Σ_i y_i log softmax(z)_i, y one-hot or smoothed.

    With smoothing s over N classes, y is (1 − s) + s/N at the true class and s/N elsewhere
    (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567).

    Args:
        student: Student logits z, `[batch, classes]`.
        labels: Class ids from 0 to classes − 1, `[batch]`, integers; −100 means no label.
        smoothing: s in [0, 1].

    Returns:
        `[batch]`, in nats; 0 where there is no label.

    Raises:
        DataError: The labels have the wrong dtype, shape or range (the range is checked on the
            CPU only, where reading it does not wait for a device).
        ModelError: The logits are not `[batch, classes]`.

    >>> import torch
    >>> hard_labels(torch.zeros(2, 4), torch.tensor([1, -100]))
    tensor([1.3863, 0.0000])
    """
    check_label_shapes(student, labels)
    if torch.compiler.is_compiling():  # what is compiled raises no IndexError
        labels = in_range(labels, student.shape[1])
    try:
        return F.cross_entropy(
            at_least_float32(student),
            labels.long(),
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=smoothing,
        )
    except IndexError:  # on the CPU, PyTorch looks at the range on its way
        check_label_range(labels, student.shape[1])
        raise
