"""Learn from the teacher only where it is better than the student: an objective that adapts.

After each epoch both sides are compared on the validation data, domain by domain. A domain is
closed while the student is better there: its soft targets have weight 0. The idea is the expert
selection of Xiang, Ding and Han 2020, "Learning From Multiple Experts",
https://arxiv.org/abs/2001.01536, whose weights fall slowly. Here the teacher knows one of two
domains, and is wrong in the other.

python examples/selective.py
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import tutelage as tl

LEAD = "lead/"  # of the student; the report shows metrics of this name together


class Selective(tl.SoftTargets):
    """Soft targets, with weight 0 for domains in which the student is better than its teacher."""

    rowwise = False  # the domain decides, too

    def __init__(self, temperature: float | tl.schedules.Schedule = 4.0) -> None:
        super().__init__(temperature)
        self.closed: frozenset[str] = frozenset()

    def groups(self, batch: tl.Batch) -> list[str]:
        """Return the domain of each example."""
        return [str(each) for each in batch.domain or ()]

    def forward(self, student: tl.Signals, teacher: tl.Signals, batch: tl.Batch) -> Tensor:
        """Return the divergences, `[batch]`; 0 for examples of closed domains."""
        values = super().forward(student, teacher, batch)
        closed = torch.tensor([each in self.closed for each in self.groups(batch)])
        return values.masked_fill(closed.to(values.device), 0)

    def validation_metrics(
        self, student: tl.Signals, teacher: tl.Signals, batch: tl.Batch
    ) -> dict[str, float]:
        """Return by how much the student's accuracy is above the teacher's in each domain."""
        right = [side.logits.argmax(dim=1) == batch.labels for side in (student, teacher)]
        lead, groups = right[0].double() - right[1].double(), self.groups(batch)
        return {
            f"{LEAD}{name}": lead[torch.tensor([each == name for each in groups])].mean().item()
            for name in sorted(set(groups))
        }

    def update(self, metrics: Mapping[str, float]) -> None:
        """Close the domains in which the student is better, and open the others."""
        leads = {name.removeprefix(LEAD): value for name, value in metrics.items() if LEAD in name}
        self.closed = frozenset(name for name, lead in leads.items() if lead > 0)

    def get_extra_state(self) -> dict[str, Any]:
        """Return which domains are closed, so that a resumed run goes on with them."""
        return {"closed": sorted(self.closed)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore which domains are closed."""
        self.closed = frozenset(state["closed"])


class HalfKnowing(nn.Module):
    """A teacher that is right where the last input is 1, and wrong where it is −1."""

    def __init__(self, rule: Tensor) -> None:
        super().__init__()
        self.rule = nn.Buffer(rule)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        return 9 * inputs[:, 4:] * (inputs[:, :4] @ self.rule.T)


def two_domains(rule: Tensor, rows: int = 60) -> Any:
    """Return examples of a domain that the teacher knows, and of one that it does not."""
    sets = {}
    for name, mark in {"known": 1.0, "strange": -1.0}.items():
        inputs = torch.randn(rows, 4)
        marked = torch.cat([inputs, torch.full((rows, 1), mark)], dim=1)
        sets[name] = TensorDataset(marked, (inputs @ rule.T).argmax(dim=1))
    return tl.data.domains(sets)


def main() -> dict[str, float]:
    """Distil with and without the selection; return the accuracies in the strange domain."""
    torch.manual_seed(0)
    rule = torch.randn(3, 4)
    train, val, first = two_domains(rule), two_domains(rule), nn.Linear(5, 3).state_dict()
    found = {}
    for name, soft in {"always": tl.SoftTargets(1), "selective": Selective(1)}.items():
        student = nn.Linear(5, 3)
        student.load_state_dict(first)
        run = tl.distill(
            HalfKnowing(rule), student, train=train, val=val, epochs=4, batch_size=16,
            objective=tl.HardLabels() + 2 * soft,
            optimizer=partial(torch.optim.SGD, lr=0.2, momentum=0.9),
        )  # fmt: skip
        found[name] = run.history[-1]["val/accuracy/strange"]
    print({name: round(value, 3) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
