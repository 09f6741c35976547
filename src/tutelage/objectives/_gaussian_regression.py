"""KL divergence between predicted normal distributions."""

from torch import Tensor

from tutelage.errors import ModelError
from tutelage.objectives._output_objective import OutputObjective
from tutelage.objectives._tensors import at_least_float32, same_shape


def gaussian_regression(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(N(μ_t, σ_t²) ‖ N(μ_s, σ_s²)), summed over the outputs.

    Equals ½[log σ_s² − log σ_t² + (σ_t² + (μ_t − μ_s)²)/σ_s² − 1]; for equal variances it is
    (μ_t − μ_s)²/2σ²: the squared error, in units of the teacher's own uncertainty.

    Args:
        student: `[batch, 2·outputs]`: the means μ_s, then the logarithms of the variances σ_s².
        teacher: The same of the teacher.

    Returns:
        `[batch]`, in nats, zero or more.

    Raises:
        ModelError: The two sides have different shapes, or an odd number of columns.

    >>> import torch
    >>> gaussian_regression(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 0.0]]))
    tensor([2.])
    """
    same_shape(student, teacher, "outputs")
    if student.shape[1] % 2:
        raise ModelError(
            "Gaussian outputs must be means and then log-variances, an even number of columns, "
            f"got {student.shape[1]}; let both models return both"
        )
    mean_s, log_var_s = at_least_float32(student).chunk(2, dim=1)
    mean_t, log_var_t = at_least_float32(teacher).chunk(2, dim=1)
    gap = log_var_s - log_var_t
    distance = (mean_t - mean_s).square() * (-log_var_s).exp()
    return (gap + (-gap).exp() + distance - 1).sum(dim=1) / 2


class GaussianRegression(OutputObjective):
    """KL between the normal distributions that teacher and student predict.

    Formula: `tutelage.objectives.gaussian_regression`. The prediction is the mean.
    """

    formula = staticmethod(gaussian_regression)
    output_kind = "values"

    def prediction(self, output: Tensor) -> Tensor:
        """Return the means, `[batch, outputs]`."""
        return output.chunk(2, dim=1)[0]
