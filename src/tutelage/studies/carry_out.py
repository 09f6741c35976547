"""Run trials, in parallel with other processes, until all are done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from tutelage.errors import NonFiniteError
from tutelage.files import write_json
from tutelage.identity import digest
from tutelage.studies import outputs
from tutelage.studies.folder import TrialFolder, exclusive
from tutelage.studies.keys import Keys
from tutelage.studies.outputs import Truth
from tutelage.studies.plan import StudyPlan, student_for
from tutelage.studies.returned import keep, kept
from tutelage.studies.trial import Planned, Trained, train, train_fidelity
from tutelage.teachers import Live, Teacher
from tutelage.training.checkpointer import end_for_good

_SECONDS_BETWEEN_LOOKS = 0.5

Tell = Callable[[str, int, int], None]
"""Receives what comes next, how many trials are done, and how many there are."""


@dataclass(frozen=True)
class Done:
    """A finished trial: what was written of it, and its student's outputs on both data sets."""

    planned: Planned
    record: dict[str, Any]
    val: Tensor | None
    test: Tensor | None

    @property
    def output(self) -> Tensor:
        """The student's outputs on test data, which all trials have that do not only tune."""
        return cast("Tensor", self.test)


class Trials:
    """Runs the trials of a study and keeps them on disk; `tell` is told how far it is."""

    def __init__(self, plan: StudyPlan, tell: Tell, val: Truth | None, test: Truth) -> None:
        self.plan, self.tell = plan, tell
        teacher = plan.teacher
        self._teacher = None if teacher is None else digest(teacher.fingerprint())
        self._domains: dict[str, str] = {}
        self.val = None if val is None else self._name("val", val)
        self.test = self._name("test", test)
        # By domains of validation data objectives may choose what to distil.
        judged = "" if val is None else val.fingerprint + self._domains[str(self.val)]
        self.keys = Keys(plan, judged)

    def all(self, wanted: Sequence[Planned], tuning: bool = False) -> list[Done]:
        """Run the trials that no other process has, wait for the others, and return all.

        Where they serve for `tuning`, to choose settings, test data is not used, and a non-finite
        loss is a result, not an error.
        """
        left = [each for each in wanted if not self._is_done(each, tuning)]
        while left:
            worked = False
            for planned in left:
                self.tell(
                    f"{planned.name}, seed {planned.seed}", len(wanted) - len(left), len(wanted)
                )
                worked = self._try(planned, tuning) or worked
                left = [each for each in left if not self._is_done(each, tuning)]
            if left and not worked:
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        return [self._load(each) for each in wanted]

    def _name(self, data: str, known: Truth) -> str:
        """Return the name of a data set, and note its domains, by which specialists are asked."""
        domains = "" if known.domains is None else f"-{digest(*known.domains)}"
        name = f"{data}-{known.fingerprint}"
        if self.plan.task.keeps_scores:  # their scores compare a student with the teacher
            name += f"-scores-{self._teacher}{domains}" if self._teacher else "-scores-alone"
        self._domains[name] = domains
        return name

    def student(self, planned: Planned) -> nn.Module:
        """Return a finished trial's student, from the folder of its run."""
        return self._train(planned, self._folder(planned)).student

    def teacher_outputs(self, name: str, data: object) -> Tensor | None:
        """Return the teacher's outputs on the data of a name (`self.val`, `self.test`), kept.

        None without a teacher, or with one that knows only some of the classes.
        """
        if self.plan.teacher is None:
            return None
        folder = self.plan.folder / "teacher"
        file = folder / f"{self._teacher}{self._domains[name]}-{name}.npy"
        with exclusive(folder):
            kept = outputs.load(file)
            if kept is None:
                kept = self._ask(self.plan.teacher, None, name, data)
                if kept is not None:
                    outputs.save(file, kept)
        return kept

    def _ask(
        self, model: Teacher, teacher: Teacher | None, name: str, data: object
    ) -> Tensor | None:
        kind = name.partition("-")[0]  # what the user called the data
        if not self.plan.task.keeps_scores:
            return outputs.ask(model, kind, data, self.plan.engine)
        own = model.module
        if own is None:
            own = student_for(self.plan.make_student, self.plan.seeds[0])
        return outputs.ask(model, kind, data, self.plan.engine, teacher, own)

    def _folder(self, planned: Planned) -> TrialFolder:
        return TrialFolder(self.plan.folder / "trials" / planned.key)

    def _data(self, tuning: bool) -> dict[str, object]:
        """Return the data that students are evaluated on, by name."""
        data = {} if self.val is None else {self.val: self.plan.val}
        return data if tuning else data | {self.test: self.plan.test}

    def _is_done(self, planned: Planned, tuning: bool) -> bool:
        folder = self._folder(planned)
        record = folder.record()
        if record is None:
            return False
        if "diverged" in record:
            return tuning
        evaluated = all(folder.outputs(each).exists() for each in self._data(tuning))
        return evaluated and (tuning or self._compared(folder))

    def _compared(self, folder: TrialFolder) -> bool:
        """Return whether the student was compared with the teacher on its training data."""
        return self._teacher is None or folder.fidelity(self._teacher).exists()

    def _try(self, planned: Planned, tuning: bool) -> bool:
        """Run a trial unless another process has it; return whether it was ours."""
        folder = self._folder(planned)
        with folder.claimed() as ours:
            if ours and not self._is_done(planned, tuning):
                self._carry_out(planned, folder, tuning)
            return ours

    def _carry_out(self, planned: Planned, folder: TrialFolder, tuning: bool) -> None:
        began = time.monotonic()
        try:
            trained = self._train(planned, folder)
        except NonFiniteError as error:
            if tuning:
                seconds = time.monotonic() - began
                folder.finish({"diverged": str(error), "seconds": seconds})
                return
            raise NonFiniteError(f"arm {planned.name!r}, seed {planned.seed}: {error}") from error
        student = Live(trained.student)
        for name, data in self._data(tuning).items():
            if not folder.outputs(name).exists():
                output = self._ask(student, self.plan.teacher, name, data)
                outputs.save(folder.outputs(name), cast("Tensor", output))
        if not (tuning or self._compared(folder)):
            found = train_fidelity(self.plan, planned, trained.student)
            write_json(folder.fidelity(str(self._teacher)), found)
        if "diverged" in (folder.record() or {"diverged": ""}):
            record = {"arm": planned.name, "seed": planned.seed, "seconds": trained.seconds}
            folder.finish(record | trained.record)
            end_for_good(folder.run)

    def _train(self, planned: Planned, folder: TrialFolder) -> Trained:
        if planned.arm.run is None:
            return train(self.plan, planned, folder.run)
        first = self.plan.first_student(planned.arm, planned.seed)
        found = kept(folder.student, first)
        if found is None:
            found = train(self.plan, planned, folder.run)
            keep(folder.student, found, first)
        return found

    def _load(self, planned: Planned) -> Done:
        folder = self._folder(planned)
        record = folder.record() or {}
        if self._teacher is not None and folder.fidelity(self._teacher).exists():
            text = folder.fidelity(self._teacher).read_text(encoding="utf-8")
            record["train"] = json.loads(text)
        val = None if self.val is None else outputs.load(folder.outputs(self.val))
        return Done(planned, record, val, outputs.load(folder.outputs(self.test)))
