"""Specialists against one generalist as teachers, on real domains.

    TUTELAGE_DATA=... python benchmarks/domains.py [turns] [appearance] [intents]

`turns`: MNIST turned by quarters of a circle. `appearance`: plain, inverted, noisy and blurred
MNIST. `intents`: five groups of a bank's intents, polarity and subjectivity, with classes of their
own (domain_intents.py). Few labels and many unlabelled inputs in each domain; one smaller student
for all, which does not know the domain. Without a name all are run.

First examples/compare_specialists.py trains specialists and a generalist of the same size for the
same number of steps, on the labels of each seed. Then a study distils each of them into the student
on labelled and unlabelled inputs, with targets that are stored once, against the same student
trained on labels. The rows of students choose among the same number of settings on validation
examples, and so do both kinds of teachers. All keep the last epoch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import domain_intents
import domain_views
import tutelage as tl
from domain_tables import ALL, Scores, by_domain, models
from mnist import RUNS, adamw, warm_cosine
from remembered import timed
from tutelage.studies import Trial
from tutelage.teachers import Specialist, Specialists, Teacher

sys.path.append(str(Path(__file__).parents[1] / "examples"))
from compare_specialists import Comparison, compare

SEEDS = range(5, 10)
"""Seeds 0 to 4, with other test images, served to choose the lengths that are tried on views."""
SPECIALISTS, GENERALIST = "specialists", "generalist"
FROM = {which: f"student, distilled from the {which}" for which in (SPECIALISTS, GENERALIST)}
LABELS, SMOOTHED = "student, labels only", "student, smoothed labels"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Domains, models and the settings that are tried.

    Args:
        name: For files.
        sample: From whether unlabelled inputs are wanted and a seed to training data.
        val: Validation data.
        test: Test data.
        classes: Of each domain; None where all have the same.
        big: Makes a specialist, or the generalist.
        small: Makes a student.
        precision: Of training and evaluation.
        batches: Examples in a batch of a teacher's and of a student's training.
        rates: Learning rates of a teacher and of a student.
        teacher_epochs: Over the labelled data.
        student_epochs: Over labelled and unlabelled data; those of students that learn from labels
            follow from equal steps.
    """

    name: str
    sample: Callable[[bool, int], tl.data.Domains]
    val: tl.data.Domains
    test: tl.data.Domains
    classes: Mapping[str, Sequence[int]] | None
    big: Callable[[], nn.Module]
    small: Callable[[], nn.Module]
    precision: str
    batches: tuple[int, int]
    rates: tuple[Sequence[float], Sequence[float]]
    teacher_epochs: Sequence[int]
    student_epochs: Sequence[int]

    @property
    def engine(self) -> tl.Engine:
        """What all is trained on."""
        return tl.Engine(
            device="cpu", precision=self.precision, progress=False, checkpoint_seconds=120
        )

    def training(self, batch_size: int) -> tl.Training:
        """Return the settings of teachers or of students."""
        return tl.Training(
            batch_size=batch_size,
            optimizer=adamw(1e-3, 0.05),
            scheduler=warm_cosine,
            engine=self.engine,
            keep_best=False,
        )


def views(kind: str) -> Task:
    """Return the task of views of MNIST."""
    return Task(
        name=kind,
        sample=partial(domain_views.sample, kind),
        val=domain_views.held_out(kind, "val"),
        test=domain_views.held_out(kind, "test"),
        classes=None,
        big=partial(domain_views.cnn, 32),
        small=partial(domain_views.cnn, 8),
        precision="fp32",
        batches=(32, 64),
        rates=((1e-3, 3e-3, 1e-2), (1e-3, 3e-3, 1e-2)),
        teacher_epochs=(60, 180),
        student_epochs=(12, 48),
    )


def intents() -> Task:
    """Return the task of intents, polarity and subjectivity."""
    return Task(
        name="intents",
        sample=domain_intents.sample,
        val=domain_intents.held_out("val"),
        test=domain_intents.held_out("test"),
        classes=domain_intents.classes(),
        big=domain_intents.Upper,
        small=domain_intents.small,
        precision="bf16",
        batches=(16, 32),
        rates=((2e-4, 6e-4), (5e-4, 1.5e-3)),
        teacher_epochs=(3, 9, 27),
        student_epochs=(3, 12),
    )


TASKS: dict[str, Callable[[], Task]] = {
    "turns": partial(views, "turns"),
    "appearance": partial(views, "appearance"),
    "intents": intents,
}


@dataclass(frozen=True)
class WithinDomains:
    """Accuracy among the classes of an example's domain, as the mean over domains.

    Args:
        classes: Of each domain; None for the accuracy among all.
    """

    classes: Mapping[str, Sequence[int]] | None

    def __call__(self, output: Tensor, labels: Tensor) -> float:
        """Return the accuracy."""
        if self.classes is None:
            return tl.evaluation.accuracy(output, labels)
        return fmean(
            right(output[rows], labels[rows], own).mean().item()
            for own in self.classes.values()
            for rows in [torch.isin(labels, torch.tensor(own))]
            if rows.any()
        )


def right(output: Tensor, labels: Tensor, classes: Sequence[int] | None) -> Tensor:
    """Return 1 for each correct prediction among some of the classes, else 0; None for all."""
    if classes is None:
        return (output.argmax(dim=1) == labels).double()
    return (torch.tensor(classes)[output[:, list(classes)].argmax(dim=1)] == labels).double()


class Columns(nn.Module):
    """A model's logits of some classes.

    Args:
        model: With logits for all.
        classes: Which.
    """

    def __init__(self, model: nn.Module, classes: Sequence[int]) -> None:
        super().__init__()
        self.model, self.classes = model, list(classes)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits, in the order of `classes`."""
        return self.model(inputs)[:, self.classes]


def compared(task: Task) -> Comparison:
    """Train specialists and generalists, and compare them on validation data."""
    return compare(
        task.big,
        train=partial(task.sample, False),
        val=task.val,
        epochs=task.teacher_epochs[-1],
        training=task.training(task.batches[0]),
        sweep={"learning_rate": task.rates[0], "epochs": task.teacher_epochs},
        seeds=SEEDS,
        out=RUNS / f"domains-{task.name}-teachers",
    )


def members(found: Comparison, which: str, seed: int) -> dict[str, nn.Module]:
    """Return the model for each domain: its specialist, or the generalist."""
    own = found.specialists(seed)
    return own if which == SPECIALISTS else dict.fromkeys(own, found.generalist(seed))


def store_targets(task: Task, found: Comparison) -> Path:
    """Store the targets of both kinds of teachers for each seed's inputs; return the folder.

    Both know the domain of an input: where domains have classes of their own, their targets are
    distributions over these.
    """
    folder = RUNS / f"domains-{task.name}-targets"
    for seed in SEEDS:
        for which in FROM:
            teachers: dict[str, nn.Module | Teacher] = {}
            for name, model in members(found, which, seed).items():
                teachers[name] = model
                if task.classes is not None:
                    own, number = task.classes[name], sum(map(len, task.classes.values()))
                    teachers[name] = Specialist(Columns(model, own), own, False, number)
            tl.label(
                Specialists(teachers),
                task.sample(True, seed),
                out=folder / f"{which}-{seed}",
                top_k=None if task.classes is None else max(map(len, task.classes.values())),
                engine=task.engine,
            )
    return folder


def distilled(trial: Trial, folder: Path, which: str) -> tl.Run:
    """Distil stored targets into the student."""
    return tl.distill(
        folder / f"{which}-{trial.seed}", trial.student, train=trial.train,
        objective=tl.SoftTargets(1), out=trial.out, **trial.settings,
    )  # fmt: skip


def students(task: Task, folder: Path) -> tl.Study:
    """Compare students of both kinds of teachers with students trained on labels."""
    train, labelled = (partial(task.sample, each) for each in (True, False))
    each_epoch = [-(-len(data(0)) // task.batches[1]) for data in (train, labelled)]
    lengths = [round(each * each_epoch[0] / each_epoch[1]) for each in task.student_epochs]
    return tl.study(
        None,
        task.small,
        train=train,
        val=task.val,
        test=task.test,
        arms={
            name: tl.Arm(
                run=partial(distilled, folder=folder, which=which),
                sweep={"epochs": task.student_epochs},
            )
            for which, name in FROM.items()
        },
        controls={
            LABELS: tl.Arm(train=labelled, sweep={"epochs": lengths}),
            SMOOTHED: tl.Arm(
                objective=tl.HardLabels(0.1), train=labelled, sweep={"epochs": lengths}
            ),
        },
        primary=FROM[SPECIALISTS],
        seeds=SEEDS,
        epochs=task.student_epochs[-1],
        training=task.training(task.batches[1]),
        sweep={"learning_rate": task.rates[1]},
        metrics={"within_domains": WithinDomains(task.classes)},
        monitor=tl.Monitor("within_domains", higher_is_better=True),
        report=tl.ReportOptions(title=f"Specialists against a generalist: {task.name}"),
        out=RUNS / f"domains-{task.name}",
    )


def scores(task: Task, model: nn.Module | Mapping[str, nn.Module]) -> Scores:
    """Return what one model, or one for each domain, predicts correctly of the test data."""
    found = {}
    for name, own in task.test.sets.items():
        one = model if isinstance(model, nn.Module) else model[name]
        classes = None if task.classes is None else task.classes[name]
        assert isinstance(own, TensorDataset)
        found[name] = right(tl.evaluation.predict(one, own), own.tensors[1], classes)
    return found


def show(task: Task, found: Comparison, study: tl.Study) -> None:
    """Print the accuracy of all models, and by domain what specialists gain."""
    rows: dict[str, list[Scores]] = {
        arm.name: [scores(task, study.student(arm.name, seed)) for seed in SEEDS]
        for arm in study.results.arms
    }
    teachers = {SPECIALISTS: "the specialists themselves", GENERALIST: "the generalist itself"}
    for which, name in teachers.items():
        rows[name] = [scores(task, members(found, which, seed)) for seed in SEEDS]
    arms = {arm.name: arm for arm in study.results.arms}
    arms |= {teachers[arm.name]: arm for arm in found.study.results.arms}
    chosen = {name: arm.settings["chosen"] for name, arm in arms.items()}
    models(rows, FROM[SPECIALISTS], chosen)
    if task.classes is not None:
        for arm in study.results.arms:
            print(f"{arm.name}, among all classes: {100 * fmean(arm.values('accuracy')):.1f}")
    pairs = [(rows[each[SPECIALISTS]], rows[each[GENERALIST]]) for each in (teachers, FROM)]
    before: dict[Any, Any] = {**found.by_domain, ALL: found.difference}
    by_domain(before, pairs)
    print(f"\n{study.report()}", flush=True)


def main() -> None:
    """Run the named tasks, or all."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    parser = argparse.ArgumentParser()
    parser.add_argument("tasks", nargs="*", choices=[*TASKS, []], default=[])
    names = parser.parse_args().tasks or list(TASKS)
    for name in names:  # which of the teachers are better is known before anything is distilled
        with timed(f"{name}, teachers"):
            print(f"\n{name}: {compared(TASKS[name]()).advice}", flush=True)
    for name in names:
        with timed(f"{name}, students"):
            task = TASKS[name]()
            found = compared(task)
            show(task, found, students(task, store_targets(task, found)))


if __name__ == "__main__":
    main()
