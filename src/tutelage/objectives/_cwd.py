"""Channel-wise distillation (CWD)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.layers.resolution import MakeProjector, projector, sizes
from tutelage.objectives._layers import LayerObjective, by_position, same_features
from tutelage.objectives._tensors import kl_divergence
from tutelage.schedules import Schedule, positive_schedule


def cwd(
    student: Tensor, teacher: Tensor, temperature: float = 4.0, mask: Tensor | None = None
) -> Tensor:
    """T²/C · Σ_c KL(softmax(v_c/T) ‖ softmax(z_c/T)), with the softmax over a channel's positions.

    v_c and z_c are channel c of the teacher and of the student, of C. Where a channel is high
    compared with its other positions counts, not how high it is: a constant that is added to a
    channel changes nothing. The mean over the batch is the authors' loss.

    Args:
        student: Feature z of the student, `[batch, channels, height, width]` or
            `[batch, tokens, channels]`.
        teacher: That of the teacher, v, of the same shape.
        temperature: T > 0. The higher, the more of the positions count.
        mask: Valid positions, of bool: `[batch, tokens]`, or `[batch, height, width]` of any size
            (see `layers.resolution`); the others are in neither softmax.

    Returns:
        `[batch]`, in nats (times T²), zero or more; 0 where no position is valid.

    Raises:
        ModelError: The shapes differ, or have no positions.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 1, 1, 2), torch.tensor([[[[2.0, 0.0]]]])
    >>> cwd(student, teacher, temperature=2.0)  # as soft_targets of two classes
    tensor([0.4438])
    """
    same_features(student, teacher)
    if not sizes(student):
        raise ModelError(
            "features must have positions, [batch, channels, height, width] or [batch, tokens, d], "
            f"got {list(student.shape)}; choose a layer before they are pooled or flattened"
        )
    log_q, log_p = (_log_softmax(each, temperature, mask) for each in (student, teacher))
    return kl_divergence(log_q, log_p).mean(dim=1) * temperature**2


def unbiased_projector(student: Tensor, teacher: Tensor) -> nn.Module:
    """Return `layers.resolution.projector` without its bias.

    >>> unbiased_projector(torch.zeros(2, 5, 3), torch.zeros(2, 5, 4))
    Linear(in_features=3, out_features=4, bias=False)
    """
    made = projector(student, teacher)
    if isinstance(made, (nn.Linear, nn.Conv2d)):
        made.register_parameter("bias", None)
    return made


class CWD(LayerObjective):
    """Channel-wise distillation: where each channel is active, as a distribution over positions.

    Shu, Liu, Gao, Yan and Shen 2021, "Channel-wise Knowledge Distillation for Dense Prediction",
    https://arxiv.org/abs/2011.13256. Formula: `tutelage.objectives.cwd`. For maps of logits name
    the layer that makes them, `{"classifier": "classifier"}`; each class is then a channel.
    Where the numbers of channels differ, a 1×1 convolution (for tokens a linear layer) maps the
    student's to the teacher's, as in `FeatureMatch`; without a bias, which would change nothing.
    Usual is T = 4; the authors' published configurations for logits have T = 1 and a weight of 5 or
    10.

    Args:
        layer_map: As in `LayerObjective`; it must be given.
        temperature: T > 0, a number or a schedule over training.
        projector: As in `FeatureMatch`.

    Shape:
        Features `[batch, channels, height, width]` or `[batch, tokens, channels]`.

    Raises:
        ArgumentError: The map is empty or has invalid layer paths, or `temperature` is not
            positive.

    >>> CWD({"classifier": "classifier"})
    CWD({'classifier': 'classifier'}, temperature=4)
    """

    formula = staticmethod(cwd)

    def __init__(
        self,
        layer_map: Mapping[str, str],
        temperature: float | Schedule = 4.0,
        projector: MakeProjector = unbiased_projector,
    ) -> None:
        super().__init__(layer_map, projector)
        advice = "4 is usual; the higher, the more of the positions count"
        self.temperature = positive_schedule("temperature", temperature, advice)


def _log_softmax(feature: Tensor, temperature: float, mask: Tensor | None) -> Tensor:
    """Return the logarithms of each channel's distribution, `[batch, channels, positions]`."""
    values, valid = by_position(feature, mask)
    values = values / temperature
    if valid is not None:
        # Not −∞, and far from overflow: the difference of two would be NaN.
        lowest = torch.finfo(values.dtype).min / 4
        values = values.masked_fill(~valid.unsqueeze(1), lowest)
    return F.log_softmax(values, dim=2)
