"""Do specialists pay? One for each domain against one generalist, before anything is distilled.

Both kinds of teachers are trained on the same labels, for the same total number of steps, over
several seeds, and compared on validation examples, each judged by the specialist of its domain. The
domains here are handwritten digits; in some of them the pixels stand in another order.

python examples/compare_specialists.py
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import Dataset, Subset, TensorDataset

import tutelage as tl
from tutelage.data.sets import Domains
from tutelage.evaluation import Interval

SPECIALISTS, GENERALIST = "specialists", "generalist"
EXCLUDED = -1e4  # the logit of a class that an example's domain does not have


class Numbered(Dataset[Any]):
    """The examples of a domain with its number as a second input: `((input, number), label)`."""

    def __init__(self, examples: Any, number: int) -> None:
        self.examples, self.number = examples, number

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        inputs, label = self.examples[index]
        return (inputs, torch.tensor(self.number)), label


def numbered(data: Domains) -> Domains:
    """Return data whose examples tell the number of their domain."""
    sets = enumerate(data.sets.items())
    return tl.data.domains({name: Numbered(own, number) for number, (name, own) in sets})


def plain(data: Domains, number: int | None = None) -> Any:
    """Return numbered data as they were, or those of one domain alone."""
    sets: Mapping[Any, Any] = {name: own.examples for name, own in data.sets.items()}
    return tl.data.domains(sets) if number is None else list(sets.values())[number]


class Routed(nn.Module):
    """A model for each domain, which chooses among the classes of the example's domain.

    Else specialists would seem better only for knowing it. `classes` are `[domains, classes]`.
    """

    def __init__(self, members: Sequence[nn.Module], classes: Tensor | None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.classes = classes

    def forward(self, inputs: Tensor, number: Tensor) -> Tensor:
        """Return each example's output from the model of its domain."""
        found = torch.stack([self.members[each](inputs) for each in range(len(self.members))])
        output = found[number, torch.arange(len(number), device=number.device)]
        if self.classes is None:
            return output
        return output.masked_fill(~self.classes.to(output.device)[number], EXCLUDED)


def train_specialists(trial: tl.Trial, *, objective: Any, classes: Tensor | None) -> nn.Module:
    """Train one model for each domain, all together for as many steps as the generalist."""
    train: Any = trial.train
    size, epochs = trial.settings["batch_size"], trial.settings["epochs"]
    total, members = epochs * -(-len(train) // size), []
    for number, numbered_set in enumerate(train.sets.values()):
        steps = total * len(numbered_set) / len(train)
        own = max(1, round(steps / -(-len(numbered_set) // size)))
        settings = {**trial.settings, "epochs": own, "objective": objective}
        out, data = trial.out / str(number), plain(train, number)
        members.append(tl.fit(deepcopy(trial.student), train=data, out=out, **settings).student)
    return Routed(members, classes)


def train_generalist(trial: tl.Trial, *, objective: Any, classes: Tensor | None) -> nn.Module:
    """Train one model on the examples of all domains."""
    train: Any = trial.train
    settings = {**trial.settings, "objective": objective, "out": trial.out}
    model = tl.fit(trial.student, train=plain(train), **settings).student
    return Routed([model] * len(train.sets), classes)


@dataclass(frozen=True)
class Comparison:
    """Specialists against a generalist of the same size and steps; above zero they are better.

    Args:
        difference: Over all measured examples, with its 95 % interval over seeds and examples.
        by_domain: Of each domain, with intervals that hold together (Bonferroni); None where one
            cannot be had.
        study: With the arms "specialists" and "generalist".
    """

    difference: Interval | None
    by_domain: Mapping[Any, Interval | None]
    study: tl.Study

    def specialists(self, seed: int | None = None) -> dict[Any, nn.Module]:
        """Return the trained specialists by domain, a teacher for `distill`."""
        trained: Any = self.study.student(SPECIALISTS, seed)
        return dict(zip(self.by_domain, trained.members, strict=True))

    def generalist(self, seed: int | None = None) -> nn.Module:
        """Return the trained generalist."""
        trained: Any = self.study.student(GENERALIST, seed)
        return trained.members[0]

    @property
    def advice(self) -> str:
        """Whom to distil from."""
        whole = side(self.difference)
        kept = [name for name, each in self.by_domain.items() if side(each) > -(whole > 0)]
        if len(kept) == len(self.by_domain):
            return "Distil from the specialists, routed by domain."
        if kept:
            return f"Distil from the specialists of {kept}, and from the generalist in the others."
        return "Distil from the generalist."


def side(found: Interval | None) -> int:
    """Return 1 or −1 where an interval lies above or below zero, else 0."""
    return 0 if found is None else (found.low > 0) - (found.high < 0)


def compare(
    make_model: Callable[[], nn.Module],
    *,
    train: Domains | Callable[[int], Domains],
    val: Domains,
    objective: Any = None,
    training: tl.Training | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    out: str | Path | None = None,
    **options: Any,
) -> Comparison:
    """Train specialists and generalists over several seeds, and compare them on `val`.

    Args:
        make_model: Makes a model with an output for every class of all domains.
        train: Labelled examples from `tl.data.domains`, or a function from a seed to such.
        val: Held-out labelled examples of the same domains.
        objective: One without a teacher; None for `HardLabels()`.
        training: As for `tl.study`; the last epoch is kept.
        sweep: Values that both try; every second example of a domain then chooses, and only the
            others measure.
        out: A folder to resume from.
        options: As for `tl.study`: epochs, seeds, progress.
    """
    objective = objective or tl.HardLabels()
    first = train(0) if callable(train) else train
    common = {"objective": objective, "classes": classes_of(first, val)}
    halves = [
        numbered(tl.data.domains({
            name: Subset(own, range(start, len(own), 2)) for name, own in val.sets.items()
        }))
        for start in (0, 1)
    ]  # fmt: skip
    study = tl.study(
        None,
        make_model,
        train=partial(draw, train) if callable(train) else numbered(train),
        val=halves[0] if sweep else None,
        test=halves[1] if sweep else numbered(val),
        arms={SPECIALISTS: tl.Arm(run=partial(train_specialists, **common), reads=objective)},
        controls={GENERALIST: tl.Arm(run=partial(train_generalist, **common), reads=objective)},
        training=replace(training or tl.Training(), keep_best=False),
        sweep=sweep,
        report=tl.ReportOptions(title="Specialists against a generalist"),
        out=out,
        **options,
    )
    record = study.results
    parts = {each.name: each.interval for each in record.parts if each.kind == "domain"}
    by_domain = {name: parts.get(str(name)) for name in val.sets}
    return Comparison(record.comparisons[0].interval, by_domain, study)


def draw(train: Callable[[int], Domains], seed: int) -> Domains:
    """Return the numbered examples of a seed."""
    return numbered(train(seed))


def classes_of(train: Domains, val: Domains) -> Tensor | None:
    """Return which classes each domain has, `[domains, classes]`; None where all have the same."""
    found = [
        {int(label) for data in (train, val) for _, label in data.sets[name]} for name in val.sets
    ]
    number = 1 + max(map(max, found))
    table = torch.tensor([[each in own for each in range(number)] for own in found])
    return None if bool((table == table[0]).all()) else table


def digits(first: int, last: int, turned: Sequence[str]) -> Domains:
    """Return digits as three domains, in some of them with the pixels in the opposite order."""
    pixels, labels = load_digits(return_X_y=True)
    inputs, classes = torch.tensor(pixels, dtype=torch.float32) / 16, torch.tensor(labels)
    sets = {}
    for number, name in enumerate(("photo", "sketch", "scan")):
        rows = slice(first + number, last, 3)
        own = inputs[rows].flip(1) if name in turned else inputs[rows]
        sets[name] = TensorDataset(own, classes[rows])
    return tl.data.domains(sets)


def network() -> nn.Module:
    """Return a small classifier of 8 × 8 pixels."""
    return nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))


def main(epochs: int = 10, seeds: int = 3) -> dict[str, float]:
    """Compare where domains contradict each other, and where they agree; return the differences."""
    found = {}
    for what, turned in {"turned": ["sketch"], "alike": []}.items():
        compared = compare(
            network, train=digits(0, 450, turned), val=digits(450, 1797, turned), epochs=epochs,
            seeds=seeds, training=tl.Training(batch_size=16), progress=False,
        )  # fmt: skip
        print(what, compared.difference, compared.advice)
        found[what] = 0.0 if compared.difference is None else compared.difference.mean
    return found


if __name__ == "__main__":
    main()
