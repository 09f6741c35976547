"""`compress`: from a teacher and data to the exported student, with a proof on test data."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from tutelage._checks import by_name, folder_path, integer, not_negative
from tutelage.compression.amounts import BYTES, COUNTS, POINTS, TIMES, amount
from tutelage.compression.candidates import Candidate, Measured, read_or_measure, worthwhile
from tutelage.compression.families import depths, parts, with_fewer_tokens
from tutelage.compression.search import Score, Search
from tutelage.data import Transform, randomness
from tutelage.errors import ArgumentError, DataError, RunFolderError
from tutelage.evaluation import Metric
from tutelage.evaluation.intervals import Groups, listed
from tutelage.exporting import Exported, Precision, check_precision, export
from tutelage.files import writing
from tutelage.objectives import Objective
from tutelage.reports.verdict import shown, verdict
from tutelage.results.record import (
    CandidateRecord,
    Record,
    SearchRecord,
    write_record,
)
from tutelage.studies import Arm, ReportOptions, Study, Training, study
from tutelage.studies.eval_data import EvalData, read_eval_data
from tutelage.studies.overlap import refuse_overlaps
from tutelage.tasks import infer_task
from tutelage.teachers import AnyTeacher, Stored
from tutelage.training import Monitor, label
from tutelage.training.monitor import as_monitor

_LOG = logging.getLogger("tutelage.compression")
_FIRST_STEPS = 500
_FAR = 3.0  # standard errors
_UNSEEN = -math.log(0.025)  # divided by N: what none of N examples may show of a difference, 97.5 %


@dataclass(frozen=True, repr=False)
class Compressed:
    """The result of `compress`.

    Args:
        name: The chosen candidate: a student, in int8 with `, int8` behind its name.
        student: The trained student that was exported, in eval mode.
        study: Its confirmation on test data; `study.results.search` has what was tried.
        exported: The file.
        out: The folder.
    """

    name: str
    student: nn.Module
    study: Study
    exported: Exported
    out: Path

    def report(self, path: str | Path | None = None) -> Path:
        """Write one self-contained HTML report, with Markdown and JSON beside it; return its path.

        Args:
            path: Where, ending in `.html`; None for `report.html` in the folder.

        Raises:
            RunFolderError: A file cannot be written.
        """
        return self.study.report(self.out / "report.html" if path is None else path)

    def __str__(self) -> str:
        """What was chosen, and how it compares with the teacher."""
        return f"{verdict(self.study.results)}\n{self.exported}"

    __repr__ = __str__


def compress(  # noqa: PLR0913 - one verb; each option is a question of its user
    teacher: AnyTeacher,
    *,
    train: object,
    val: object,
    test: object,
    objective: Objective,
    students: Mapping[str, Callable[[], nn.Module] | nn.Module] | None = None,
    margin: float | str | None = None,
    latency: float | str | None = None,
    parameters: float | str | None = None,
    file_size: float | str | None = None,
    budget: float | str = "1h",
    steps: int = _FIRST_STEPS,
    seeds: int = 3,
    precisions: Sequence[Precision] = ("float32", "int8"),
    training: Training | None = None,
    metrics: Mapping[str, Metric] | None = None,
    monitor: Monitor | str | None = None,
    groups: Groups | None = None,
    transform: Transform | None = None,
    store: bool = True,
    allow_overlap: bool = False,
    report: ReportOptions | None = None,
    describe: Callable[[nn.Module, Path], Mapping[str, str]] | None = None,
    out: str | Path,
) -> Compressed:
    """Find the fastest student that loses no more than a margin, or the best within limits.

    The teacher is asked once about the training data. All candidates are exported and timed before
    they are trained. Then they are trained in rounds, each with four times as many steps as the one
    before, and compared with the teacher on `val`: as soon as one of them is within the margin (the
    lower end of its 95 % interval over examples), only faster ones are trained for longer, at most
    half of them in each round. The chosen one is trained anew from several seeds and compared with
    the teacher on `test`, which chooses nothing, by a test of non-inferiority; see `study`. Killed
    at any moment, the same call resumes.

    Args:
        teacher: As for `distill`.
        train: Training data as for `distill`, with or without labels.
        val: Labelled data by which a student is chosen. It should be new to the teacher too: on its
            own training data a teacher is better than it is, and no student within the margin.
        test: Labelled data for the proof alone, new to the teacher.
        objective: Of the training, such as `SoftTargets(1)`.
        students: By name, functions that make a fresh student each, or modules that are copied: of
            several depths, widths or families. None for the teacher with fewer of its layers, or of
            its channels where it has no repeated layers, as most convolutional networks; all of
            their parameters are trained. For texts, where `parameters` or `file_size` is given,
            also without the tokens that do not occur in `train`.
        margin: The largest acceptable loss against the teacher in the deciding metric, such as
            0.005 of accuracy, or "0.5 points". Without it, `latency`, `parameters` or `file_size`
            must be given.
        latency: The longest time for one example, in seconds or as text: "5ms", or "0.25x" of the
            teacher's, with one of both as exported.
        parameters: The largest number of parameters, or as text: "5M", "0.1x".
        file_size: The largest file, in bytes or as text: "10MB", "0.25x".
        budget: Time for the search and the proof together, in seconds or as text: "30m", "2h". A
            round that would exceed it is not begun.
        steps: Optimizer steps of the first round.
        seeds: How many trainings the proof rests on.
        precisions: In which each student is a candidate, see `export`. One in int8 is trained as it
            is in float32, judged as its file computes, and left out if that is not a tenth faster.
        training: Optimizer, batch size, processes and the like; without a scheduler, the cosine.
            Its `steps` and `keep_best` are not used.
        metrics: Metrics of your own, as for `distill`.
        monitor: The deciding metric, as for `study`.
        groups: As for `study`, of `test`.
        transform: As for `distill`; the teacher then runs in each step.
        store: Whether the teacher's outputs for `train` are stored first, where there is no
            `transform`; not possible for streams.
        allow_overlap: As for `study`.
        report: Title and class names of the report.
        describe: Callable: (student, folder) → texts that the file carries by name, as `metadata`
            of `export`; it may write what goes with the student into the folder.
        out: Folder for everything: stores, trials, the report and `student.onnx`.

    Returns:
        The chosen student, its proof and its file.

    Raises:
        ArgumentError: An argument is outside its range, or no candidate is within the limits.
        ModelError: No candidate can be exported.
        TutelageError: As `label` and `study`.
    """
    limits = {"latency": latency, "parameters": parameters, "file_size": file_size}
    if margin is None and all(each is None for each in limits.values()):
        raise ArgumentError(
            "`compress` must have a `margin`, `latency`, `parameters` or `file_size`, got none; "
            "write margin=0.005 for the fastest student that loses at most 0.005 of accuracy"
        )
    if isinstance(margin, str):
        margin = amount("margin", margin, POINTS)
    if margin is not None:
        margin = not_negative("margin", margin, "it is what may be lost, such as 0.01 of accuracy")
    seconds = amount("budget", budget, TIMES)
    integer("steps", steps, 1, "it counts the optimizer steps of the first round")
    integer("seeds", seeds, 2, "one training shows nothing of the others")
    folder = folder_path(out)
    with writing(folder, RunFolderError):
        folder.mkdir(parents=True, exist_ok=True)
    given = Training() if training is None else training
    given = replace(given, scheduler=given.scheduler or CosineAnnealingLR)
    judged = _judged(train, {"val": val, "test": test}, given.batch_size, allow_overlap)
    to_be_small = parameters is not None or file_size is not None
    makers = _makers(teacher, students, train if to_be_small else None, val)
    itself = next(iter(makers)) if students is None else None  # with all layers, or channels
    candidates = _candidates(makers, precisions, itself)
    decides = as_monitor(monitor, metrics)
    usual = decides is None or decides.name == "accuracy"
    notes = _too_few(judged, margin, objective, groups) if margin and usual else []
    found = read_or_measure(folder / "costs.json", makers, candidates, teacher, val)
    costs = found.candidates
    if file_size is None:
        own = (itself, found.teacher) if itself and found.teacher else None
        costs = {name: costs[name] for name in worthwhile(costs, candidates, own)}
    allowed = _within(costs, found.teacher, limits)
    source: AnyTeacher = teacher
    if store and transform is None and not isinstance(teacher, (str, Path, Stored)):
        source = Stored(label(teacher, train, out=folder / "targets", fields=objective))
    shared = {"train": train, "margin": margin, "metrics": metrics, "monitor": monitor}
    compare = partial(
        _compare,
        makers,
        candidates,
        {"objective": objective, "teacher": source, "transform": transform},
        partial(study, teacher, controls={}, allow_overlap=allow_overlap, **shared),
    )

    def one_round(names: Sequence[str], steps: int, number: int) -> Record:
        in_steps = replace(given, steps=steps, keep_best=False)
        out = folder / "rounds" / f"{number + 1}, {steps} steps"
        return compare(names, test=val, seeds=[0], training=in_steps, out=out).results

    search = Search(
        {name: costs[name] for name in allowed},
        {name: each.student for name, each in candidates.items()},
        margin,
        one_round,
        seconds,
        seeds,
        folder / "search.json",
    )
    chosen = search.run(steps)
    proof = compare(
        [chosen],
        test=test,
        val=val,
        seeds=range(1, seeds + 1),
        training=replace(given, steps=search.scores[chosen][-1].steps),
        groups=groups,
        report=report or ReportOptions(title="Compression"),
        out=folder / "proof",
    )
    best, seed = candidates[chosen], _best_seed(proof.results)
    student = proof.student(best.student, seed)
    metadata = None if describe is None else describe(student, folder)
    with randomness.preserved():  # as the study exported it
        randomness.seed_everything(seed or 0)
        exported = export(
            student, train, folder / "student.onnx", precision=best.precision, metadata=metadata
        )
    costs[chosen] = replace(costs[chosen], file_bytes=exported.file_bytes)  # with its metadata
    results = replace(
        proof.results,
        notes=(*proof.results.notes, *notes, *_seen_by_teacher(search.teacher, proof.results)),
        search=_record(search, costs, found.teacher, chosen),
    )
    write_record(results, folder / "results.json")
    return Compressed(chosen, student, replace(proof, results=results), exported, folder)


def _compare(
    makers: Mapping[str, Callable[[], nn.Module] | nn.Module],
    candidates: Mapping[str, Candidate],
    in_common: Mapping[str, Any],
    carry_out: Callable[..., Study],
    names: Sequence[str],
    **settings: Any,
) -> Study:
    """Train the students of candidates, and compare them with the teacher as files.

    Args:
        makers: What makes each student.
        candidates: By name.
        in_common: What all arms have in common.
        carry_out: `study`, given what all studies have in common.
        names: Of candidates; the first is the primary arm.
        settings: What this study has alone.

    Raises:
        DataError: The teacher has no outputs to compare with.
    """
    chosen = {name: candidates[name] for name in names}
    students = dict.fromkeys(each.student for each in chosen.values())
    arms = {name: Arm(student=makers[name], **in_common) for name in students}
    for name, each in chosen.items():
        if name not in arms:
            arms[name] = Arm(of=each.student, precision=each.precision)
    first = makers[chosen[names[0]].student]
    found = carry_out(first, arms=arms, primary=names[0], **settings)
    if not found.results.against_teacher:
        raise DataError(
            "the teacher must have outputs for `val`, so that students can be compared with "
            "it, got none; give a store of these too: tl.teachers.Stored(train, val, test)"
        )
    return found


def _makers(
    teacher: AnyTeacher,
    students: Mapping[str, Callable[[], nn.Module] | nn.Module] | None,
    train: object | None,
    val: object,
) -> dict[str, Callable[[], nn.Module] | nn.Module]:
    """Return what makes each student, by name; with `train` also those with only its tokens.

    `val` tells whether students that are parts of the teacher run.
    """
    example = "{'small': lambda: nn.Linear(8, 3)}"
    if students is not None:
        found = by_name("students", students, example)
    else:
        found = parts(teacher, val)
        if train is not None and (pruned := with_fewer_tokens(teacher, train)) is not None:
            shallower = depths(pruned).items()
            found |= {f"{name}, fewer tokens": make for name, make in shallower}
    if not found:
        raise ArgumentError(f"`students` must name at least one, got none; such as {example}")
    return dict(found)


def _candidates(
    makers: Mapping[str, object], precisions: Sequence[Precision], teacher: str | None
) -> dict[str, Candidate]:
    """Return each student in each precision, by name; the `teacher` itself only in others."""
    if isinstance(precisions, str) or not precisions:
        raise ArgumentError(
            f"`precisions` must be a list such as ['float32', 'int8'], got {precisions!r}"
        )
    for each in precisions:
        check_precision(each)
    every = [
        Candidate(name, kind)
        for name in makers
        for kind in dict.fromkeys(precisions)
        if (name, kind) != (teacher, "float32")
    ]
    if not every:
        raise ArgumentError(
            "`students` must be given for a teacher that has no fewer layers to try, got none; "
            "name some, or try precisions=['float32', 'int8']"
        )
    found = {str(each): each for each in every}
    if len(found) < len(every):
        raise ArgumentError(
            f"`students` must not be named as others in a precision, got {[*makers]}; rename some"
        )
    return found


def _judged(
    train: object, judged: Mapping[str, object], batch_size: int, allow_overlap: bool
) -> list[EvalData]:
    """Return validation and test data.

    Raises:
        DataError: They have no labels, or examples in common.
    """
    read = [read_eval_data(name, each, batch_size=batch_size) for name, each in judged.items()]
    for each in read:
        if not each.has_labels:
            raise DataError(
                f"`{each.name}` must be labelled, so that students can be compared with the "
                "teacher, got no labels; label it"
            )
    refuse_overlaps(train, read, allow_overlap)
    return read


def _too_few(
    judged: Sequence[EvalData], margin: float, objective: Objective, groups: Groups | None
) -> list[str]:
    """Say so where accuracies on so few examples cannot show that students are within the margin.

    With c = 97.5 % a difference that none of N examples shows may be as large as −ln(1−c)/N.
    """
    task = infer_task([objective], labels=judged[-1].labels)
    notes = []
    for each in judged:
        units = each.examples
        if each.name == "test" and groups is not None:
            units = len(set(listed(groups)))
        needed = math.ceil(_UNSEEN / margin)
        one_answer = isinstance(each.labels, Tensor) and each.labels.ndim == 1
        if task.name != "classes" or not one_answer or units >= needed:
            continue
        notes.append(
            f"`{each.name}` has {units} examples. With fewer than {needed} no student is shown to "
            f"be within a margin of {margin:g} of accuracy unless it is better than its teacher: "
            f"give more, or a margin above {_UNSEEN / units:.2g}."
        )
        _LOG.warning(notes[-1])
    return notes


def _within(
    costs: Mapping[str, Measured], teacher: Measured | None, limits: Mapping[str, Any]
) -> list[str]:
    """Return the candidates within the limits.

    Raises:
        ArgumentError: There is none.
    """
    units = {"latency": TIMES, "parameters": COUNTS, "file_size": BYTES}
    kinds = {
        "latency": lambda each: each.seconds,
        "parameters": lambda each: each.parameters,
        "file_size": lambda each: each.file_bytes,
    }
    found = list(costs)
    for name, given in limits.items():
        if given is None:
            continue
        cost = kinds[name]
        of_teacher = None if teacher is None else cost(teacher)
        if of_teacher is None and str(given).strip().endswith("x"):
            raise ArgumentError(
                f"`{name}` must be an amount in its own unit, got {given!r}, and that of the "
                f"teacher is not known; write one of {', '.join(filter(None, units[name]))} for x"
            )
        most = amount(name, given, units[name], of_teacher)
        found = [each for each in found if cost(costs[each]) <= most]
        if not found:
            least = min(map(cost, costs.values()))
            raise ArgumentError(
                f"`{name}` must leave at least one of the students, got {given!r} = {most:.3g}, "
                f"and the least is {least:.3g}; allow more, or add smaller students"
            )
    return found


def _record(
    search: Search, costs: Mapping[str, Measured], teacher: Measured | None, chosen: str
) -> SearchRecord:
    candidates = tuple(
        CandidateRecord(
            name,
            cost.parameters,
            cost.file_bytes,
            cost.latencies,
            **_scored(search.scores.get(name, ())),
            is_chosen=name == chosen,
        )
        for name, cost in costs.items()
    )
    return SearchRecord(
        candidates,
        latencies=() if teacher is None else teacher.latencies,
        looks=sum(map(len, search.scores.values())),
        rounds=search.rounds,
        seconds=search.seconds,
        within=search.passes(chosen),
    )


def _scored(scores: Sequence[Score]) -> dict[str, Any]:
    if not scores:
        return {}
    *before, last = scores
    return vars(last) | {
        "low": last.low if math.isfinite(last.low) else None,
        "before": before[-1].gain if before else None,
    }


def _seen_by_teacher(on_val: float, results: Record) -> list[str]:
    """Say so where a teacher is so much better on `val` that it was probably trained on it."""
    metric, teacher, sizes = results.metric, results.teacher, results.examples
    if metric is None or teacher is None or not metric.is_fraction or not metric.higher:
        return []
    on_test = teacher.metrics[metric.name]
    variance = sum(on_test * (1 - on_test) / sizes[name] for name in ("val", "test"))
    if on_val - on_test < _FAR * math.sqrt(variance):
        return []
    note = (
        f"The teacher has {shown(on_val, metric)} on `val` and {shown(on_test, metric)} on `test`, "
        "as if it had been trained on `val`. Students were compared there with a teacher that is "
        "better than on new data, so that a faster one may be within the margin: give `val` that "
        "is new to it."
    )
    _LOG.warning(note)
    return [note]


def _best_seed(record: Record) -> int | None:
    """Return the seed whose student is the best on validation data."""
    metric, trials = record.metric, record.arm(record.primary).trials
    known = [each for each in trials if each.val is not None]
    if metric is None or not known:
        return trials[0].seed
    sign = 1 if metric.higher else -1
    return max(known, key=lambda each: sign * (each.val or 0.0)).seed
