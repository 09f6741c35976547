"""Half the layers of a teacher: copied from it, distilled block by block, then as a whole.

python examples/layer_by_layer.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset, random_split

import tutelage as tl


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `[batch, width]`."""
        return inputs + self.body(inputs)


def main(epochs: int = 10) -> dict[str, float]:
    """Return the accuracies of the teacher, of half its layers, and of these distilled."""
    torch.manual_seed(0)
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32) / 16
    train, val = random_split(TensorDataset(images, torch.tensor(labels)), [1400, 397])
    blocks = nn.Sequential(*[Block(64) for _ in range(6)])
    teacher = nn.Sequential(blocks, nn.Linear(64, 10))
    tl.fit(teacher, train=train, val=val, epochs=20)

    student, layer_map = tl.students.every_nth_layer(teacher, n=2)
    objective = 0.1 * tl.HardLabels() + 0.9 * tl.SoftTargets(temperature=4)
    stages = [*tl.blockwise(layer_map, epochs=2), tl.Stage(objective, epochs=epochs, name="output")]
    inputs, truth = (torch.stack(each) for each in zip(*[val[i] for i in range(397)], strict=True))
    result = {
        "teacher": tl.evaluation.accuracy(teacher(inputs), truth),
        "half": tl.evaluation.accuracy(student(inputs), truth),
    }
    run = tl.distill(teacher, student, train=train, val=val, stages=stages)
    result["half, distilled"] = tl.evaluation.accuracy(run.student(inputs), truth)
    print({name: round(value, 3) for name, value in result.items()})
    return result


if __name__ == "__main__":
    main()
