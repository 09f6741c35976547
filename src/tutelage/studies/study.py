"""`study`: arms against controls, over paired seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Any
from weakref import finalize

from torch import nn

from tutelage._checks import by_name, not_negative
from tutelage.errors import ArgumentError
from tutelage.evaluation import Metric
from tutelage.evaluation.intervals import Groups, listed
from tutelage.objectives import Objective
from tutelage.reports import Record, write_record
from tutelage.reports.numbers import counted
from tutelage.reports.verdict import verdict
from tutelage.studies.arm import Arm, readings
from tutelage.studies.carry_out import Done, Trials
from tutelage.studies.choose import all_trials, choose
from tutelage.studies.collect import Finished
from tutelage.studies.conclude import ReportOptions, conclude
from tutelage.studies.controls import built_in_controls
from tutelage.studies.folder import exclusive
from tutelage.studies.outputs import Truth, notes_on, truth
from tutelage.studies.overlap import check_overlaps
from tutelage.studies.plan import StudyPlan, Training, student_for
from tutelage.studies.prepare import (
    all_arms,
    arms_of,
    check_against,
    check_for_tokens,
    check_groups,
    check_kinds,
    check_names,
    check_options,
    folder_of,
    seeds_of,
)
from tutelage.studies.processes import shared
from tutelage.studies.progress import silent, study_progress
from tutelage.studies.score import Scorer
from tutelage.teachers import AnyTeacher, as_teacher
from tutelage.training import Monitor
from tutelage.training.monitor import as_monitor


@dataclass(frozen=True, repr=False)
class Study:
    """A finished study.

    Args:
        results: The record, as plain data.
        out: The study's folder, if it has one.
        finished: Its trials.
    """

    results: Record
    out: Path | None
    finished: Finished

    def student(self, arm: str | None = None, seed: int | None = None) -> nn.Module:
        """Return a trained student, in eval mode.

        Args:
            arm: Of this arm; None for the primary one.
            seed: Of this seed; None for the first.

        Raises:
            ArgumentError: The study has no such arm or seed.
        """
        done, seeds = self.finished.done, self.results.seeds
        name = self.results.primary if arm is None else arm
        number = seeds[0] if seed is None else seed
        planned = (each.planned for each in done.get(name, ()) if each.planned.seed == number)
        found = next(planned, None)
        if found is None:
            raise ArgumentError(
                f"a study's students are those of arms {list(done)} and seeds {list(seeds)}, got "
                f"arm {name!r} and seed {number!r}"
            )
        return self.finished.trials.student(found)

    def __str__(self) -> str:
        """What was compared, and the verdict."""
        record = self.results
        where = "" if self.out is None else f", in {self.out}"
        return (
            f"{record.title}: {counted(len(record.arms) - len(record.controls), 'arm')}, "
            f"{counted(len(record.controls), 'control')}, {counted(len(record.seeds), 'seed')}"
            f"{where}\n{self.verdict}"
        )

    __repr__ = __str__

    @property
    def verdict(self) -> str:
        """The result in words."""
        return verdict(self.results)

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML report, with Markdown and JSON beside it; return its path.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the study's folder, or here
                if it has none.

        Raises:
            RunFolderError: A file cannot be written.
        """
        from tutelage.reports.report import report_record  # noqa: PLC0415 - loads matplotlib

        folder = Path() if self.out is None else self.out
        return report_record(self.results, folder / "report.html" if path is None else Path(path))


def study(  # noqa: PLR0913 - one verb; each option is a question that a reviewer asks
    teacher: AnyTeacher | None,
    student: Callable[[], nn.Module] | nn.Module,
    *,
    train: object,
    test: object,
    arms: Mapping[str, Arm | Objective | Callable[..., object]],
    val: object | None = None,
    controls: Mapping[str, Arm | Objective | Callable[..., object]] | None = None,
    seeds: int | Sequence[int] = 5,
    epochs: int | None = None,
    training: Training | None = None,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    metrics: Mapping[str, Metric] | None = None,
    monitor: Monitor | str | None = None,
    margin: float | None = None,
    groups: Groups | None = None,
    primary: str | None = None,
    allow_overlap: bool = False,
    report: ReportOptions | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Study:
    """Compare methods of training one student, with controls, over paired seeds.

    All arms of a seed begin with the same weights, see their data in the same order and take the
    same number of steps, within half an epoch. Everything is selected on `val`; `test`
    is held out. After a kill, the same call resumes. Several processes that make the same call with
    one `out` share the trials.

    Args:
        teacher: As for `distill`; None for a study without a teacher. A store must cover `val` and
            `test` too: `tl.teachers.Stored(store, val_store, test_store)`.
        student: A function that makes a fresh student (called under the trial's seed), or a
            module, of which each trial gets a copy.
        train: Training data as for `distill`, or a function from a seed to such.
        test: Held-out data, in a fixed order.
        arms: By name: an objective, an `Arm`, or a function from a `Trial` to a trained module.
        val: Data to select the best epoch, swept settings and the calibration temperature.
        controls: What the arms are compared with; None for the baseline (the same student trained
            on labels only), the same with smoothed labels, and the baseline with each transform,
            training data, batch size and greater length that an arm has of its own.
        seeds: How many seeds (then 0, 1, …), or which.
        epochs: Passes over `train`, from which the steps of all arms follow.
        training: Other common settings: steps in place of `epochs`, batch size, optimizer,
            scheduler, engine.
        sweep: Values that every arm and control tries, such as
            `{"learning_rate": [0.1, 0.03, 0.01]}`, or a `Sweep` to try some of them at random, or
            values beyond them. An arm's own sweep is added; what an arm sets is not swept.
        metrics: Metrics of your own, as for `distill`.
        monitor: The deciding metric; None for accuracy, for language models perplexity, for several
            binary labels average precision, for values mean squared error, or, without labels, the
            agreement with the teacher or the distance from it.
        margin: Acceptable loss against the teacher in that metric, for a test of non-inferiority
            (state it beforehand); None for no such test.
        groups: The group of each test example, such as its document or patient, if examples of one
            group are not independent: intervals then rest on the number of groups.
        primary: The arm that the verdict is about, named beforehand; None for the best on `val`,
            without `val` for the first.
        allow_overlap: Whether to continue if two of `train`, `val` and `test` have more examples in
            common than duplicates explain; the report then states how many.
        report: Title, class names and axis of the report; whether to measure cheaper variants of
            the primary arm's student too.
        out: The study's folder; None to keep nothing.
        progress: Whether to show a progress bar (on a terminal only).

    Returns:
        The study; `study.report()` writes its HTML report.

    Raises:
        ArgumentError: An argument is outside its range.
        DataError: Two of `train`, `val` and `test` have examples in common.
        TutelageError: As `distill`.
    """
    training, words = training or Training(), report or ReportOptions()
    check_kinds(training, words, allow_overlap)
    if margin is not None:
        not_negative("margin", margin, "it is what may be lost, such as 0.01 of accuracy")
    own_metrics = by_name("metrics", metrics or {}, "{'mine': function}")
    ours = arms_of("arms", arms)
    check_options(ours, primary, margin, teacher)
    numbers = seeds_of(seeds)
    theirs = {} if controls is None else arms_of("controls", controls)
    told, others = (readings(each.values()) for each in (ours, theirs))
    language = {each.output_kind for each in told + others} <= {None, "classes"}
    make = partial(student_for, student, numbers[0]) if language else None
    known = truth("test", test, make)
    check_groups(groups, known)
    task = known.task(told, others)
    task.check_names(own_metrics)
    if task.keeps_scores:
        check_for_tokens(own_metrics, words)
    notes = ()
    if controls is None:
        theirs, notes = built_in_controls(ours, task, train, epochs, numbers[0])
    every_arm = all_arms(ours, theirs, sweep or {})
    check_against(every_arm, tuple(theirs))
    plan = StudyPlan(
        teacher=None if teacher is None else as_teacher(teacher),
        make_student=student,
        task=task,
        train=train,
        val=val,
        test=test,
        arms=every_arm,
        controls=tuple(theirs),
        seeds=numbers,
        epochs=epochs,
        training=training,
        metrics=own_metrics,
        monitor=as_monitor(monitor, own_metrics),
        margin=margin,
        groups=None if groups is None else listed(groups),
        folder=folder_of(out),
    )
    with study_progress(progress) as tell:
        known_val = None if val is None else truth("val", val, make)
        trials = Trials(plan, tell, known_val, known)
        if out is None:  # its students stay as long as the study does
            finalize(trials, rmtree, plan.folder, ignore_errors=True)
        overlaps = check_overlaps(plan, known_val, known, allow_overlap)
        scorer = _scorer(trials, known_val, known)
        scorer.check_monitor()
        check_names(words.class_names, scorer)
        with shared(partial(_help, plan, known_val, known), training.processes):
            finished = _carry_out(trials, scorer)
        with exclusive(plan.folder):  # one process at a time measures, or they disturb each other
            results = conclude(finished, words, primary)
            several = "label_accuracy" in results.arm(results.primary).metrics
            notes = (*notes, *notes_on(known, several))
            results = replace(results, overlaps=overlaps, notes=notes)
            write_record(results, plan.folder / "results.json")
    return Study(results, None if out is None else plan.folder, finished)


def _scorer(trials: Trials, val: Truth | None, test: Truth) -> Scorer:
    """Compute the teacher's outputs, and return what computes metrics."""
    plan = trials.plan
    on_test = trials.teacher_outputs(trials.test, plan.test)
    on_val = None if trials.val is None else trials.teacher_outputs(trials.val, plan.val)
    return Scorer(plan, val, test, on_val, on_test)


def _help(plan: StudyPlan, val: Truth | None, test: Truth) -> None:
    """Carry out trials in another process."""
    trials = Trials(plan, silent, val, test)
    _carry_out(trials, _scorer(trials, val, test))


def _carry_out(trials: Trials, scorer: Scorer) -> Finished:
    """Tune, and carry all trials out."""
    chosen = choose(trials, scorer)
    done: dict[str, list[Done]] = {}
    for each in trials.all(all_trials(trials, chosen)):
        done.setdefault(each.planned.name, []).append(each)
    return Finished(trials, scorer, chosen, done)
