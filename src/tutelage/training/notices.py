"""What a run shows: a progress bar, and lines of log where its result is doubtful or not new."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from tutelage.distiller import Distiller, Losses
from tutelage.training.monitor import COUNTED, FEW, Monitor

FEW_STEPS = 200
_CERTAIN = 0.999
_shown = ContextVar("shown", default=True)


@contextmanager
def progress_bar(shown: bool, total: int | None) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that shows how much is done, and a text; on a terminal only."""
    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}")
    quiet = not (shown and console.is_terminal)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=quiet, refresh_per_second=4
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


@contextmanager
def without_notices() -> Iterator[None]:
    """Log none of these, where runs are the caller's own, as in studies."""
    token = _shown.set(False)
    try:
        yield
    finally:
        _shown.reset(token)


def _warn(message: str, *values: object) -> None:
    """Log a line, once for all processes."""
    if _shown.get() and os.environ.get("RANK", "0") == "0":
        logging.getLogger("tutelage").warning(message, *values)


def warn_returned(checkpoint: Path) -> None:
    """Log that a finished run is returned."""
    ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(checkpoint.stat().st_mtime))
    _warn(
        "The run in %s was finished on %s and is returned; fresh=True trains anew.",
        checkpoint.parent,
        ended,
    )


def warn_few_steps(steps: int | None) -> None:
    """Log that a run is short."""
    if steps is not None and steps < FEW_STEPS:
        _warn(
            "This run has %d optimizer steps, and students seldom learn much in fewer than %d; "
            "more `epochs` or a smaller `batch_size` give more.",
            steps, FEW_STEPS,
        )  # fmt: skip


def warn_early_end(name: str, given: int, steps: int) -> None:
    """Log that a schedule of the learning rate ends, or turns back, before the training does."""
    _warn(
        "The scheduler has %s=%d, and the run has %d optimizer steps, after each of which it is "
        "stepped; without %s it is the number of all steps.",
        name, given, steps, name,
    )  # fmt: skip


def warn_few_examples(examples: int, metrics: Collection[str], monitor: Monitor) -> None:
    """Log that validation data is too small to compare epochs, or models, by a fraction of it."""
    if examples < FEW and not {*COUNTED}.isdisjoint(metrics):
        _warn(
            "Validation has %d examples, which tell models apart only if they differ by more than "
            "about %.0f points; the best epoch is chosen by the %s.",
            examples, 100 / max(examples, 1) ** 0.5, monitor.name,
        )  # fmt: skip


def warn_certain_teacher(distiller: Distiller, losses: Losses) -> None:
    """Log that a teacher's probabilities are one-hot on a batch of training rows."""
    terms = [term.objective for term in distiller.objective.terms()]
    learning = [each for each in terms if each.wants.teacher.output]
    temperatures = [each.temperature for each in learning if hasattr(each, "temperature")]
    output = losses.teacher.output
    if not learning or len(temperatures) < len(learning) or not isinstance(output, Tensor):
        return  # others learn logits, features or labels
    if output.ndim != 2 or output.shape[1] < 2 or learning[0].output_kind != "classes":  # noqa: PLR2004
        return
    temperature = max(each(0.0) if callable(each) else each for each in temperatures)
    certainty = (output.float() / temperature).softmax(1).amax(1).mean().item()
    if certainty > _CERTAIN:
        _warn(
            "The teacher is certain of the first training rows (its largest probability is %.4f on "
            "average), so that the student learns little but labels from it: use rows that the "
            "teacher was not trained on, or a higher temperature.",
            certainty,
        )  # fmt: skip


def warn_missing_gradients(distiller: Distiller) -> None:
    """Log that most of a student whose output is used got no gradient in the first step."""
    wants = distiller.objective.wants.student
    if not (wants.output or wants.loss):
        return
    trained = [pair for pair in distiller.student.named_parameters() if pair[1].requires_grad]
    missing = [(name, each.numel()) for name, each in trained if each.grad is None]
    lacking, total = sum(size for _, size in missing), sum(each.numel() for _, each in trained)
    if 2 * lacking > total:
        _warn(
            "Of %d parameters of the student that are to be trained, %d got no gradient in the "
            "first step, such as those of %r: its forward pass leaves them out, or runs them under "
            "torch.no_grad or detached. Freeze them if they are to stay as they are.",
            total, lacking, missing[0][0],
        )  # fmt: skip
