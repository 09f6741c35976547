"""`study`: arms against controls, over paired seeds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from torch import nn

from tutelage._checks import by_name, folder_path, integer, not_negative
from tutelage.errors import ArgumentError, RunFolderError
from tutelage.evaluation import Metric
from tutelage.evaluation.intervals import Groups, listed
from tutelage.files import claimed, writing
from tutelage.objectives import Objective
from tutelage.reports.numbers import counted
from tutelage.reports.verdict import verdict
from tutelage.results.record import TEACHER, Record, write_record
from tutelage.studies.arm import Arm, as_arm, readings, with_trainings
from tutelage.studies.conclude import Finished, ReportOptions, conclude
from tutelage.studies.controls import built_in_controls
from tutelage.studies.eval_data import read_eval_data
from tutelage.studies.overlap import check_overlaps
from tutelage.studies.plan import StudyPlan, Training, student_for
from tutelage.studies.processes import shared
from tutelage.studies.score import Scorer
from tutelage.studies.search import choose
from tutelage.studies.sweep import as_sweep, joined
from tutelage.studies.trials import ProgressCallback, StudyTrial, Trials
from tutelage.tasks import infer_task
from tutelage.tasks.metrics import keeps_whole, needs_logits
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
        found = next((each for each in done.get(name, ()) if each.seed == number), None)
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
    training = Training() if training is None else training
    words = ReportOptions() if report is None else report
    for name, given, kind in (
        ("training", training, Training),
        ("report", words, ReportOptions),
        ("allow_overlap", allow_overlap, bool),  # a text such as "no" would be taken for a yes
    ):
        if not isinstance(given, kind):
            raise ArgumentError(
                f"`{name}` must be a {kind.__name__}, got {type(given).__name__}; pass "
                f"{'True or False' if kind is bool else f'tl.{kind.__name__}(...)'}"
            )
    if margin is not None:
        margin = not_negative("margin", margin, "it is what may be lost, such as 0.01 of accuracy")
    own_metrics = by_name("metrics", metrics or {}, "{'mine': function}")
    ours = _arms("arms", arms)
    _check_options(ours, primary, margin, teacher)
    numbers = _seeds(seeds)
    theirs = {} if controls is None else _arms("controls", controls)
    first, others = (readings(each.values()) for each in (ours, theirs))
    kinds = {each.output_kind for each in first + others}
    whole = keeps_whole(kinds, own_metrics)
    make = None if kinds - {None, "classes"} else partial(student_for, student, numbers[0])
    read = partial(read_eval_data, student=make, whole=whole, batch_size=training.batch_size)
    known = read("test", test)
    grouped = _groups(groups, known.examples)
    task = infer_task(first, others, known.labels, language=known.of_tokens)
    task.check_names(own_metrics)
    if task.keeps_scores:
        _check_scored(own_metrics, words)
    notes = ()
    if controls is None:
        theirs, notes = built_in_controls(ours, task, train, epochs, numbers[0])
    plan = StudyPlan(
        teacher=None if teacher is None else as_teacher(teacher),
        make_student=student,
        task=task,
        train=train,
        val=None if val is None else replace(read("val", val), task=task),
        test=replace(known, task=task),
        arms=_all_arms(ours, theirs, sweep or {}),
        controls=tuple(theirs),
        seeds=numbers,
        epochs=epochs,
        training=training,
        metrics=own_metrics,
        monitor=as_monitor(monitor, own_metrics),
        margin=margin,
        groups=grouped,
        whole=whole,
        folder=_folder(out),
    )
    with _progress(progress) as tell:
        trials = Trials(plan, tell)
        if out is None:  # its students stay as long as the study does
            finalize(trials, rmtree, plan.folder, ignore_errors=True)
        overlaps = check_overlaps(plan, allow_overlap)
        scorer = _scorer(trials)
        scorer.check_monitor()
        _check_names(words.class_names, scorer)
        with shared(partial(_help, plan), training.processes):
            finished = _carry_out(trials, scorer)
        # One process at a time measures, or they disturb each other.
        with claimed(plan.folder, RunFolderError, wait=True):
            results = conclude(finished, words, primary)
            results = replace(results, overlaps=overlaps, notes=(*notes, *results.notes))
            write_record(results, plan.folder / "results.json")
    return Study(results, None if out is None else plan.folder, finished)


def _scorer(trials: Trials) -> Scorer:
    """Compute the teacher's outputs, and return what computes metrics."""
    plan = trials.plan
    on_test = trials.teacher_outputs(plan.test)
    return Scorer(plan, trials.teacher_outputs(plan.val), on_test)


def _help(plan: StudyPlan) -> None:
    """Carry out trials in another process."""
    trials = Trials(plan, _silent)
    _carry_out(trials, _scorer(trials))


def _carry_out(trials: Trials, scorer: Scorer) -> Finished:
    """Tune, and carry all trials out, seed by seed."""
    plan, chosen = trials.plan, choose(trials, scorer)
    wanted = [
        trials.trial(name, chosen[name].setting, seed) for seed in plan.seeds for name in plan.arms
    ]
    done: dict[str, list[StudyTrial]] = {}
    for each in trials.carried_out(wanted):
        done.setdefault(each.name, []).append(each)
    return Finished(trials, scorer, chosen, done)


@contextmanager
def _progress(shown: bool) -> Iterator[ProgressCallback]:
    """Yield a function that shows the progress, on a terminal only."""
    console = Console(stderr=True)
    if not (shown and console.is_terminal):
        yield _silent
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Refreshed when told and not by a thread, which would take turns with the training.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("")

        def tell(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=of, refresh=True)

        yield tell


def _silent(what: str, done: int, of: int) -> None:
    """Show nothing."""


def _arms(name: str, given: object) -> dict[str, Arm]:
    """Return arms, or controls, by name."""
    named = by_name(name, given, "{'soft targets': tl.SoftTargets(4)}")
    return {each: as_arm(each, arm) for each, arm in named.items()}


def _all_arms(
    ours: Mapping[str, Arm], theirs: Mapping[str, Arm], sweep: Mapping[str, Any]
) -> dict[str, Arm]:
    """Return controls and arms by name, all with the common sweep.

    What an arm sets itself it does not sweep over.
    """
    twice = sorted(ours.keys() & theirs.keys())
    if twice:
        raise ArgumentError(
            f"arms and controls must have different names, got {twice} in both; rename one, or "
            "pass controls={} for none"
        )
    common, found = as_sweep(sweep), {}
    for name, arm in with_trainings({**theirs, **ours}).items():
        if name == TEACHER:  # the teacher's own row in the report
            raise ArgumentError(
                f"arms and controls must not be named {TEACHER!r}, got one that is; rename it"
            )
        if arm.against is not None and arm.against not in theirs:
            raise ArgumentError(
                f"arm {name!r} must be compared `against` one of the controls {list(theirs)}, "
                f"got {arm.against!r}; name one of these, or leave it out"
            )
        unset = {key: each for key, each in common.items() if getattr(arm, key, None) is None}
        if arm.stages or "stages" in arm.sweep:
            unset.pop("epochs", None)  # which the stages have
        found[name] = replace(arm, sweep=joined(replace(common, grid=unset), arm.sweep))
    return found


def _check_options(
    arms: Mapping[str, object], primary: str | None, margin: float | None, teacher: object
) -> None:
    """Refuse options that do not go together, and to be one of several processes of a trainer."""
    if not arms:
        raise ArgumentError("`arms` must have at least one arm, got none; name an objective")
    if primary is not None and primary not in arms:
        raise ArgumentError(
            f"`primary` must be one of the arms {list(arms)}, got {primary!r}; name one of them, "
            "or leave it out"
        )
    if margin is not None and teacher is None:
        raise ArgumentError(
            "`margin` is what may be lost against the teacher, got none; give a teacher, or leave "
            "the margin out"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ArgumentError(
            "a study's processes must each be started alone, got one of several under torchrun; "
            "start the same program several times with one `out`, and they share trials"
        )


def _check_scored(metrics: Mapping[str, Metric], report: ReportOptions) -> None:
    """Refuse what a study of language models cannot do, since it keeps no logits."""
    if reading := needs_logits(metrics):
        raise ArgumentError(
            "a study of language models keeps scores of tokens and no logits, which would not fit "
            f"into memory, got metrics {reading} that read logits; leave them out, or give metrics "
            "with `reads_scores = True`, such as tl.evaluation.Perplexity()"
        )
    names = ("variants", "words", "class_names")
    if given := [name for name in names if getattr(report, name)]:
        raise ArgumentError(
            f"the report of language models has no {', '.join(given)}, got some; leave that out"
        )


def _check_names(class_names: Sequence[str], scorer: Scorer) -> None:
    """Refuse names of classes that are not as many as the teacher's logits."""
    output = scorer.teacher_test
    if output is None or not scorer.plan.task.is_classified:
        return  # how many classes there are is not known
    if class_names and len(class_names) != output.shape[-1]:
        raise ArgumentError(
            f"`class_names` must name the {output.shape[-1]} logits, got {len(class_names)}; give "
            "one for each, in their order"
        )


def _groups(groups: Groups | None, examples: int) -> Sequence[Any] | None:
    """Return the group of each test example."""
    if groups is None:
        return None
    if len(groups) != examples:
        raise ArgumentError(
            f"`groups` must give the group of each of {examples} test examples, got "
            f"{len(groups)}; write one for each, in their order"
        )
    found = listed(groups)
    if len(set(found)) < 2:  # noqa: PLR2004 - one has no spread
        raise ArgumentError(
            "`groups` must tell at least two groups of test examples apart, got one; leave it out "
            "if examples are independent"
        )
    return found


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return the seeds for what a user gives: how many, or which."""
    if isinstance(seeds, Sequence) and not isinstance(seeds, str):
        chosen = tuple(integer("seeds", each, 0, "each is an integer from 0 on") for each in seeds)
        if not chosen or len(set(chosen)) < len(chosen):
            raise ArgumentError(
                f"`seeds` must be different numbers, got {list(seeds)}; or say how many, such as 5"
            )
        return chosen
    return tuple(range(integer("seeds", seeds, 1, "5 is a good number")))


def _folder(out: str | Path | None) -> Path:
    """Return the folder of the study, made if need be; without one, a temporary folder."""
    if out is None:
        return Path(mkdtemp(prefix="tutelage-study-"))
    folder = folder_path(out)
    with writing(folder, RunFolderError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder
