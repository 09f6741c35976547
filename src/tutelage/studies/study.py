"""`study`: arms against controls, over paired seeds, with everything that the claim rests on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from torch import nn

from tutelage._checks import not_negative, whole_number
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.evaluation import Metric
from tutelage.objectives import Objective
from tutelage.studies.answers import Truth, truth
from tutelage.studies.arm import Arm, as_arm, usual_controls
from tutelage.studies.carry_out import Done, Trials
from tutelage.studies.choose import all_trials, choose
from tutelage.studies.conclude import Finished, Words, conclude
from tutelage.studies.folder import exclusive
from tutelage.studies.plan import Common, StudyPlan
from tutelage.studies.progress import study_progress
from tutelage.studies.results import StudyResults, write_results
from tutelage.studies.score import Scorer
from tutelage.studies.verdict import verdict
from tutelage.teachers import Teacher, as_teacher
from tutelage.training import Engine, Monitor
from tutelage.training.settings import MakeOptimizer, MakeScheduler


@dataclass(frozen=True)
class Study:
    """A finished study.

    Args:
        results: Everything found, as plain data.
        out: The study's folder, if it has one.
        finished: The trials that it rests on.
    """

    results: StudyResults
    out: Path | None
    finished: Finished = field(repr=False)

    def student(self, arm: str | None = None, seed: int | None = None) -> nn.Module:
        """Return a trained student, in eval mode.

        Args:
            arm: Of this arm; None for the one that the verdict speaks of.
            seed: Of this seed; None for the first.

        Raises:
            ArgumentError: The study has no such arm or seed.
        """
        name = self.results.subject if arm is None else arm
        known = {
            (each.planned.name, each.planned.seed): each.planned
            for trials in self.finished.done.values()
            for each in trials
        }
        place = (name, self.results.seeds[0] if seed is None else seed)
        if place not in known:
            raise ArgumentError(
                f"a study's students are those of arms {list(self.finished.done)} and seeds "
                f"{list(self.results.seeds)}, got arm {place[0]!r} and seed {place[1]!r}"
            )
        return self.finished.trials.student(known[place])

    @property
    def verdict(self) -> str:
        """What came out, in words."""
        return verdict(self.results)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained page, the same as Markdown, and as JSON; return the page's path.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the study's folder, or here
                if it has none.

        Raises:
            RunFolderError: A file cannot be written.
        """
        from tutelage.studies.page import write_study_page  # noqa: PLC0415 - loads matplotlib

        folder = Path() if self.out is None else self.out
        return write_study_page(
            self.results, folder / "report.html" if path is None else Path(path)
        )


def study(  # noqa: PLR0913 - one verb; each option is a question that a reviewer asks
    teacher: nn.Module | Teacher | None,
    student: Callable[[], nn.Module] | nn.Module,
    *,
    train: object,
    test: object,
    arms: Mapping[str, Arm | Objective | Callable[..., object]],
    val: object | None = None,
    controls: Mapping[str, Arm | Objective | Callable[..., object]] | None = None,
    seeds: int | Sequence[int] = 5,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int = 64,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    engine: Engine | None = None,
    keep_best: bool = True,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    sweep_seeds: int = 1,
    metrics: Mapping[str, Metric] | None = None,
    monitor: Monitor | str | None = None,
    margin: float | None = None,
    subject: str | None = None,
    variants: bool = False,
    title: str = "Study",
    class_names: Sequence[str] = (),
    axis: str = "",
    out: str | Path | None = None,
    progress: bool = True,
) -> Study:
    """Compare ways of teaching one student, with controls, over paired seeds.

    All arms of a seed begin with the same weights, see their data in the same order and take the
    same number of steps (to half a pass over their data). Every choice is made on `val`; `test`
    is only measured on. The same call made again goes on where it stopped, after a kill too; the
    same call made by several processes at once, with one `out`, shares the trials among them.

    Args:
        teacher: Whom the arms learn from; None for a study without a teacher.
        student: A function that makes a fresh student (called under the trial's seed), or a
            module, of which each trial gets a copy.
        train: Training data as for `distill`, or a function from a seed to such.
        test: Data that no choice is made on, in a fixed order.
        arms: By name: an objective, an `Arm`, or a function from a `Trial` to a trained module.
        val: Data for the choice of the best epoch, of swept settings, and of the temperature that
            calibrates.
        controls: What the arms are compared with; None for the usual: the same student from labels
            alone, and from smoothed labels. They see the same data, augmentation included.
        seeds: How many repetitions (then 0, 1, …), or which.
        epochs: Passes over `train`, from which the steps of all arms follow.
        steps: Optimiser steps, in place of `epochs`.
        batch_size: Examples in a batch.
        optimizer: As for `distill`.
        scheduler: As for `distill`.
        engine: As for `distill`.
        keep_best: Whether training keeps the best epoch on `val` rather than the last.
        sweep: Values that every arm and control is to try, such as
            `{"learning_rate": [0.1, 0.03, 0.01]}`; an arm's own sweep is added to it, and what an
            arm sets itself it does not sweep over.
        sweep_seeds: With how many of the seeds each setting is tried.
        metrics: Figures of your own, as for `distill`.
        monitor: The figure that decides; None for accuracy, mean squared error, or, without
            labels, the likeness to the teacher.
        margin: What the student may lose against its teacher, in that figure, and still count as
            good as it (state it before you look); None for no such test.
        subject: The arm that the verdict speaks of, named beforehand; None for the best on `val`,
            without it for the first.
        variants: Whether to measure cheaper forms of the subject's student too: compiled, in
            bfloat16, in int8, in ONNX Runtime.
        title: Of the report.
        class_names: For the report, in the order of the logits.
        axis: For the report: what the arms' `at` is, such as "temperature".
        out: The study's folder; None to keep nothing.
        progress: Whether to show a line of progress (on a terminal only).

    Returns:
        The study; `study.report()` writes its page.

    Raises:
        ArgumentError: An argument is outside its range.
        TutelageError: As `distill`.
    """
    whole_number("sweep_seeds", sweep_seeds, 1, "1 tries each setting once")
    if margin is not None:
        not_negative("margin", margin, "it is what may be lost, such as 0.01 of accuracy")
    _check(arms, subject, margin, teacher)
    known = truth("test", test)
    ours = {name: as_arm(name, arm) for name, arm in arms.items()}
    values = _predicts_values(ours, known)
    all_arms, control_names = _all_arms(ours, controls, sweep or {}, values)
    _check_against(all_arms, control_names)
    plan = StudyPlan(
        teacher=None if teacher is None else as_teacher(teacher),
        make_student=student,
        values=values,
        train=train,
        val=val,
        test=test,
        arms=all_arms,
        controls=control_names,
        seeds=_seeds(seeds),
        common=Common(
            epochs=epochs,
            steps=steps,
            batch_size=batch_size,
            optimizer=optimizer,
            scheduler=scheduler,
            engine=engine or Engine(),
            keep_best=keep_best,
        ),
        metrics=metrics or {},
        monitor=Monitor(monitor) if isinstance(monitor, str) else monitor,
        margin=margin,
        folder=_folder(out),
    )
    with study_progress(progress) as tell:
        known_val = None if val is None else truth("val", val)
        trials = Trials(plan, tell, known_val, known)
        if out is None:  # its students stay as long as the study does
            finalize(trials, rmtree, plan.folder, ignore_errors=True)
        scorer = _scorer(plan, trials, known_val, known)
        scorer.check_monitor()
        _check_names(class_names, scorer)
        finished = _carry_out(plan, trials, scorer, sweep_seeds)
        with exclusive(plan.folder):  # one process at a time measures, or they disturb each other
            results = conclude(finished, Words(title, axis, tuple(class_names), subject), variants)
            write_results(results, plan.folder / "results.json")
    return Study(results, None if out is None else plan.folder, finished)


def _scorer(plan: StudyPlan, trials: Trials, val: Truth | None, test: Truth) -> Scorer:
    """Ask the teacher, and return what gives figures."""
    on_test = trials.teacher_answers(trials.test, plan.test)
    on_val = None if trials.val is None else trials.teacher_answers(trials.val, plan.val)
    return Scorer(plan, val, test, on_val, on_test)


def _carry_out(plan: StudyPlan, trials: Trials, scorer: Scorer, sweep_seeds: int) -> Finished:
    """Tune, and carry all trials out."""
    chosen = choose(plan, trials, scorer, sweep_seeds)
    done: dict[str, list[Done]] = {}
    for each in trials.all(all_trials(plan, trials, chosen)):
        done.setdefault(each.planned.name, []).append(each)
    return Finished(plan, trials, scorer, chosen, done)


def _all_arms(
    ours: Mapping[str, Arm],
    controls: Mapping[str, object] | None,
    sweep: Mapping[str, Any],
    values: bool,
) -> tuple[dict[str, Arm], tuple[str, ...]]:
    """Return arms and controls by name, all with the common sweep, and the controls' names.

    What an arm sets itself it does not sweep over.
    """
    if controls is None:
        theirs = usual_controls(values)
    else:
        theirs = {name: as_arm(name, arm) for name, arm in controls.items()}
    twice = sorted(ours.keys() & theirs.keys())
    if twice:
        raise ArgumentError(
            f"arms and controls must have different names, got {twice} in both; rename one, or "
            "pass controls={} for none"
        )
    if not ours:
        raise ArgumentError("`arms` must have at least one arm, got none; name an objective")
    both = {**theirs, **ours}
    return {name: _sweeping(arm, sweep) for name, arm in both.items()}, tuple(theirs)


def _sweeping(arm: Arm, sweep: Mapping[str, Any]) -> Arm:
    common = {name: each for name, each in sweep.items() if getattr(arm, name, None) is None}
    return replace(arm, sweep={**common, **arm.sweep})


def _check(
    arms: Mapping[str, object], subject: str | None, margin: float | None, teacher: object
) -> None:
    if subject is not None and subject not in arms:
        raise ArgumentError(
            f"`subject` must be one of the arms {list(arms)}, got {subject!r}; name one of them, "
            "or leave it out"
        )
    if margin is not None and teacher is None:
        raise ArgumentError(
            "`margin` is what may be lost against the teacher, got none; give a teacher, or leave "
            "the margin out"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ArgumentError(
            "a study's processes must each be started alone, got one of several under torchrun or "
            "its like; start the same program several times with one `out`, and they share trials"
        )


def _check_against(arms: Mapping[str, Arm], controls: Sequence[str]) -> None:
    for name, arm in arms.items():
        if arm.against is not None and arm.against not in controls:
            raise ArgumentError(
                f"arm {name!r} must be compared `against` one of the controls {list(controls)}, "
                f"got {arm.against!r}; name one of these, or leave it out"
            )


def _check_names(class_names: Sequence[str], scorer: Scorer) -> None:
    output = scorer.teacher_test
    if class_names and output is not None and len(class_names) != output.shape[-1]:
        raise ArgumentError(
            f"`class_names` must name the {output.shape[-1]} logits, got {len(class_names)}; give "
            "one for each, in their order"
        )


def _predicts_values(arms: Mapping[str, Arm], test: Truth) -> bool:
    """Tell regression from classification: by the objectives, without any by the labels."""
    own = [arm.objective for arm in arms.values() if arm.objective is not None]
    swept = [each for arm in arms.values() for each in arm.sweep.get("objective", ())]
    if own or swept:
        return any(each.predicts_values for each in (*own, *swept))
    return test.labels is not None and test.labels.is_floating_point()


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        chosen = tuple(
            whole_number("seeds", each, 0, "each is any number from 0 on") for each in seeds
        )
        if not chosen or len(set(chosen)) < len(chosen):
            raise ArgumentError(
                f"`seeds` must be different numbers, got {list(seeds)}; or say how many, such as 5"
            )
        return chosen
    return tuple(range(whole_number("seeds", seeds, 1, "5 is a good number")))


def _folder(out: str | Path | None) -> Path:
    if out is None:
        return Path(mkdtemp(prefix="tutelage-study-"))
    folder = Path(out).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"`out` must be a folder that can be written, got {error}; choose another"
        ) from error
    return folder
