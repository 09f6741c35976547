"""Trials: each is an arm at one setting with one seed, trained once and kept in a folder.

Any number of processes may fill the folder of a study together:

```
out/
├── results.json              the record, once all trials are done
├── report.html, .md          the same for readers
├── teacher/                  the teacher's outputs
└── trials/KEY/
    ├── run/                  the training: checkpoints, log, student
    ├── student.pt            the student of an arm that is a function
    ├── student-int8.onnx     the student as its arms with a `precision` have it
    ├── outputs-DATA.npy      the student's outputs on validation and test data; of a file with
    │                         its precision
    ├── fidelity-TEACHER.json fidelity to the teacher on its training data
    └── trial.json            written last: the trial is done
```
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tutelage.data import LoaderSource, Shard, as_source, randomness
from tutelage.errors import ModelError, NonFiniteError, RunFolderError
from tutelage.evaluation import divergence, measure
from tutelage.exporting import OnnxModel, export
from tutelage.files import claimed, write_json, write_whole
from tutelage.identity import declared_data, digest, identity, model_identity
from tutelage.studies.arm import Arm, Trial
from tutelage.studies.eval_data import EvalData
from tutelage.studies.plan import StudyPlan, seeded
from tutelage.teachers import Live, Teacher
from tutelage.training import Run, distill, fit
from tutelage.training.checkpointer import end_for_good, load, save
from tutelage.training.notices import without_notices

_SECONDS_BETWEEN_LOOKS = 0.5

ProgressCallback = Callable[[str, int, int], None]
"""Receives what comes next, how many trials are done, and how many there are."""


@dataclass(frozen=True)
class StudyTrial:
    """An arm at one setting of its sweep with one seed.

    Args:
        name: Of the arm.
        arm: At the setting.
        setting: The swept values.
        seed: Of the repetition.
        folder: Its own.
        record: Of a finished trial, plain data: seconds, steps, epochs, the log of each epoch, and
            as `train` the fidelity to the teacher; "diverged" where its loss was not finite. For an
            arm that is a function those of the run that it returns.
        val: A finished trial's outputs on validation data, as they are kept; None without.
        test: On test data; None of a trial that only tunes.
    """

    name: str
    arm: Arm
    setting: Mapping[str, Any]
    seed: int
    folder: Path
    record: Mapping[str, Any] = field(default_factory=dict)
    val: Tensor | None = None
    test: Tensor | None = None

    @property
    def file(self) -> Path:
        """What is known of the finished trial."""
        return self.folder / "trial.json"

    @property
    def suffix(self) -> str:
        """Ends the names of what is kept of the student in the precision of the arm."""
        return "" if self.arm.precision is None else f"-{self.arm.precision}"

    @property
    def output(self) -> Tensor:
        """The student's outputs on test data, which all trials have that do not only tune."""
        return cast("Tensor", self.test)


class Trials:
    """Runs the trials of a study and keeps them on disk; `tell` is told how far it is.

    A trial's folder is named by all that decides its result and can be declared: teacher, first
    weights, data, objective, settings. So a trial is never mistaken for that of another study in
    the same folder; one whose settings were changed is simply another trial.
    """

    def __init__(self, plan: StudyPlan, tell: ProgressCallback) -> None:
        self.plan, self.tell = plan, tell
        self._teacher = None if plan.teacher is None else digest(plan.teacher.fingerprint())
        self._seen: dict[tuple[int, int | None], tuple[object, str]] = {}
        self._same: dict[str, list[Mapping[str, Any]]] = {}

    def trial(self, name: str, setting: Mapping[str, Any], seed: int) -> StudyTrial:
        """Return a trial of an arm, as it is planned."""
        plan, arm = self.plan, self.plan.arms[name].at_setting(setting)
        train, teacher = plan.train_data(arm, seed), plan.teacher_of(arm)
        learns = arm.run is not None or plan.needs_teacher(arm)
        given = plan.teacher if arm.teacher is None else arm.teacher
        data = plan.train if arm.train is None else arm.train
        objective = arm.stages or plan.reading(arm)
        parts = (
            self._once(given, teacher.fingerprint) if teacher is not None and learns else "",
            identity(plan.first_student(arm, seed)),
            # Data that a function makes are different for each seed, and are not held.
            self._once(
                data, lambda: self._data_identity(train), None if seeded(data) is None else seed
            ),
            # By domains of validation data objectives may choose what to distil.
            plan.val.fingerprint if plan.val and plan.training.keep_best else "",
            identity(objective if arm.run is None else (arm.run, dict(setting))),
            identity(plan.settings(arm, seed, train)),
        )
        slug = re.sub(r"[^A-Za-z0-9]+", "-", arm.of or name).strip("-").lower() or "arm"
        key = f"{slug}-seed{seed}-{digest(*parts)}"
        # Functions go by their names, so the settings of one sweep may have equal keys.
        same = self._same.setdefault(key, [])
        number = next((at for at, each in enumerate(same) if _are_one(setting, each)), len(same))
        if number == len(same):
            same.append(setting)
        folder = plan.folder / "trials" / (f"{key}-{number + 1}" if number else key)
        return StudyTrial(name, arm, dict(setting), seed, folder)

    def carried_out(self, wanted: Sequence[StudyTrial], tuning: bool = False) -> list[StudyTrial]:
        """Run the trials that no other process has, wait for the others, and return all, finished.

        Where they serve for `tuning`, to choose settings, test data is not used, and a non-finite
        loss is a result, not an error.
        """
        left = [each for each in wanted if not self._is_done(each, tuning)]
        while left:
            worked = False
            for trial in left:
                self.tell(f"{trial.name}, seed {trial.seed}", len(wanted) - len(left), len(wanted))
                with claimed(trial.folder, RunFolderError) as ours:
                    worked = worked or ours
                    if ours and not self._is_done(trial, tuning):
                        self._carry_out(trial, tuning)
                left = [each for each in left if not self._is_done(each, tuning)]
            if left and not worked:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        return [self._finished(each) for each in wanted]

    def student(self, trial: StudyTrial) -> nn.Module:
        """Return a finished trial's student, from the folder of its run, in its precision."""
        return self.in_precision(trial, self.trained(trial))

    def trained(self, trial: StudyTrial) -> nn.Module:
        """Return a finished trial's student as a module of PyTorch."""
        return self._trained(trial)[0]

    def in_precision(self, trial: StudyTrial, student: nn.Module) -> nn.Module:
        """Return the trained student in the precision of the trial's arm."""
        precision, file = trial.arm.precision, trial.folder / f"student{trial.suffix}.onnx"
        if precision is None:
            return student
        if not file.exists():
            data = self.plan.train_data(trial.arm, trial.seed)
            with randomness.preserved():
                randomness.seed_everything(trial.seed)  # by which a loader may choose examples
                export(student, data, file, precision=precision)
        return OnnxModel(student, file.read_bytes())

    def teacher_outputs(self, data: EvalData | None) -> Tensor | None:
        """Return the teacher's outputs on validation or test data, kept on disk.

        None without a teacher or data, or with a teacher that knows only some of the classes.
        """
        if self.plan.teacher is None or data is None:
            return None
        folder = self.plan.folder / "teacher"
        file = folder / f"{self._teacher}-{self._file_name(data)}.npy"
        with claimed(folder, RunFolderError, wait=True):
            kept = _read_outputs(file)
            if kept is None:
                kept = self._outputs(self.plan.teacher, data)
                if kept is not None:
                    _write_outputs(file, kept)
        return kept

    def _once(self, value: object, look: Callable[[], str], seed: int | None = None) -> str:
        """Return what `look` finds, once for each data set, or seed of it, and each teacher."""
        key = id(value), seed
        if key not in self._seen:
            self._seen[key] = (value, look())  # held, so that no other value gets its id
        return self._seen[key][1]

    def _data_identity(self, data: object) -> str:
        source = as_source("train", data, self.plan.training.batch_size)
        return digest(f"{source.description} {declared_data(data)}")

    def _file_name(self, data: EvalData) -> str:
        scores = ""
        if self.plan.task.keeps_scores:  # which compare a student with the teacher
            scores = f"-scores-{self._teacher or 'alone'}"
        grid = "-grid" if data.has_maps and not self.plan.whole else ""
        return f"{data.name}-{data.fingerprint}{scores}{grid}"

    def _outputs_file(self, trial: StudyTrial, data: EvalData) -> Path:
        return trial.folder / f"outputs-{self._file_name(data)}{trial.suffix}.npy"

    def _fidelity_file(self, trial: StudyTrial) -> Path | None:
        if self._teacher is None:
            return None
        return trial.folder / f"fidelity-{self._teacher}{trial.suffix}.json"

    def _outputs(
        self, model: Teacher, data: EvalData, teacher: Teacher | None = None
    ) -> Tensor | None:
        """Return a model's outputs on data as they are kept: `[examples, …]`, float32, on the CPU.

        None for a teacher that knows only some of the classes. Of language models they are scores,
        also against a `teacher`.
        """
        model = model.for_data(data.name, data.data)
        teacher = None if teacher is None else teacher.for_data(data.name, data.data)
        return self.plan.task.pack(self.plan.outputs(model, data.name, data.data, teacher))

    def _evaluated_on(self, tuning: bool) -> list[EvalData]:
        return [each for each in (self.plan.val, None if tuning else self.plan.test) if each]

    def _is_done(self, trial: StudyTrial, tuning: bool) -> bool:
        record = _read_json(trial.file)
        if record is None or "diverged" in record:
            return record is not None and tuning
        files = [self._outputs_file(trial, each) for each in self._evaluated_on(tuning)]
        files += [] if tuning else [self._fidelity_file(trial)]
        return all(each is None or each.exists() for each in files)

    def _carry_out(self, trial: StudyTrial, tuning: bool) -> None:
        """Train the student, or resume, and evaluate it; the trial is this process's alone."""
        began, fidelity = time.monotonic(), self._fidelity_file(trial)
        try:
            student, record = self._trained(trial)
            student = self.in_precision(trial, student)
        except NonFiniteError as error:
            if not tuning:
                raise NonFiniteError(f"arm {trial.name!r}, seed {trial.seed}: {error}") from error
            seconds = time.monotonic() - began
            write_json(trial.file, {"diverged": str(error), "seconds": seconds})
            return
        for data in self._evaluated_on(tuning):
            file = self._outputs_file(trial, data)
            if not file.exists():
                teacher = self.plan.teacher if self.plan.task.keeps_scores else None
                output = self._outputs(Live(student), data, teacher)
                _write_outputs(file, cast("Tensor", output))
        if fidelity is not None and not tuning and not fidelity.exists():
            write_json(fidelity, self._fidelity(trial, student))
        known = _read_json(trial.file)
        if known is None or "diverged" in known:  # not a trial that tuning has finished
            write_json(trial.file, {"arm": trial.name, "seed": trial.seed} | record)
            end_for_good(trial.folder / "run")

    def _trained(self, trial: StudyTrial) -> tuple[nn.Module, dict[str, Any]]:
        """Return the trained student and what is known of its training, resuming if need be.

        A function may train by hand, in a way that no call of ours can resume or repeat exactly. So
        the student that it returned is kept, if its weights in an untrained student make the same
        model: not one of another architecture, or with other tensors outside its state.
        """
        if trial.arm.run is None:
            return train(self.plan, trial)
        file = trial.folder / "student.pt"
        first, kept = self.plan.first_student(trial.arm, trial.seed), load(file)
        if kept is not None:
            first.load_state_dict(kept["student"])
            return first.eval(), kept["record"]
        student, record = train(self.plan, trial)
        weights = student.state_dict()
        if _beside_weights(student) == _beside_weights(first) and all(
            isinstance(each, Tensor) for each in weights.values()
        ):
            save(file, {"student": weights, "record": record})
        return student, record

    def _fidelity(self, trial: StudyTrial, student: nn.Module) -> dict[str, float]:
        """Return a student's fidelity to the study's teacher on a sample of its training data."""
        plan = self.plan
        if not plan.task.teacher_metrics:
            return {}
        data = plan.train_data(trial.arm, trial.seed)
        found = plan.outputs_on_sample(student, "train", data, plan.task.fidelity_sample)
        if found is None or (found[0].teacher is None and found[0].scores is None):
            return {}
        reading, compared = plan.reading(trial.arm), replace(found[0], labels=None, domains=None)
        return measure(reading, compared) | divergence(reading, compared)

    def _finished(self, trial: StudyTrial) -> StudyTrial:
        record, fidelity = _read_json(trial.file) or {}, self._fidelity_file(trial)
        if fidelity is not None and fidelity.exists():
            record["train"] = _read_json(fidelity)
        val, test = (
            None if data is None else _read_outputs(self._outputs_file(trial, data))
            for data in (self.plan.val, self.plan.test)
        )
        return replace(trial, record=record, val=val, test=test)


def train(plan: StudyPlan, trial: StudyTrial) -> tuple[nn.Module, dict[str, Any]]:
    """Train a trial's student, or resume its run; return it in eval mode, and its record.

    Raises:
        TutelageError: As `distill`; ModelError too if a function returns no module.
    """
    began, arm, out = time.monotonic(), trial.arm, trial.folder / "run"
    data = plan.train_data(arm, trial.seed)
    if isinstance(data, DataLoader):  # so that all arms of a seed see the same order
        LoaderSource("train", data, Shard()).reseed(trial.seed)
    settings = plan.settings(arm, trial.seed, data)
    student, teacher = plan.first_student(arm, trial.seed), plan.teacher_of(arm)
    val = plan.val.data if plan.val and plan.training.keep_best else None
    own = {"train": data, "val": val, "out": out}
    with without_notices():  # a study says itself which of its trials are finished
        if arm.run is not None:
            given = Trial(
                trial.seed, student, teacher, data, val, out, settings, dict(trial.setting)
            )
            with randomness.preserved():
                randomness.seed_everything(trial.seed)
                found: Any = arm.run(given)
        elif arm.stages:
            settings.pop("epochs")
            found = distill(teacher, student, **own, stages=arm.stages, **settings)
        elif plan.needs_teacher(arm):
            found = distill(teacher, student, **own, objective=plan.reading(arm), **settings)
        else:
            found = fit(student, **own, objective=plan.reading(arm), **settings)
    record: dict[str, Any] = {}
    before = 0.0
    if isinstance(found, Run):
        last = found.history[-1]
        before = last.get("seconds", 0.0)  # of a run that was resumed
        record = {
            "steps": last["step"],
            "epochs": found.settings["epochs"],
            "best_epoch": found.best_epoch,
            "history": found.history,
        }
        found = found.student
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"arm {trial.name!r} must return a trained torch.nn.Module (or a Run), got "
            f"{type(found).__name__}; end its function with `return run.student`"
        )
    return found.eval(), {"seconds": max(before, time.monotonic() - began)} | record


def _are_one(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return all(one[name] is other.get(name) or not callable(one[name]) for name in one)


def _beside_weights(model: nn.Module) -> tuple[str, str]:
    """Return a text of its form, and one of the tensors outside its state."""
    state = model.state_dict().keys()
    buffers = [each for name, each in model.named_buffers() if name not in state]
    plain = [each for module in model.modules() for each in vars(module).values()]
    outside = [*buffers, *(each for each in plain if isinstance(each, Tensor))]
    return model_identity(model, weights=False), identity(outside)


def _read_json(path: Path) -> dict[str, Any] | None:
    """Read a file, which is written whole or not at all; None if there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _write_outputs(path: Path, outputs: Tensor) -> None:
    """Write outputs as a `.npy` file, atomically."""

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.save(file, outputs.numpy(), allow_pickle=False)

    write_whole(path, write)


def _read_outputs(path: Path) -> Tensor | None:
    """Read outputs, from the disk where they are used; None if there are none."""
    if not path.exists():
        return None
    return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
