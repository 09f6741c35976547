"""Carry out trials, side by side with other processes, until all are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from tutelage.errors import NonFiniteError
from tutelage.studies import answers
from tutelage.studies.describe import digest
from tutelage.studies.folder import TrialFolder, exclusive
from tutelage.studies.keys import Keys
from tutelage.studies.plan import StudyPlan
from tutelage.studies.trial import Planned, train, train_fidelity
from tutelage.teachers import Live, Teacher

_SECONDS_BETWEEN_LOOKS = 0.5

Tell = Callable[[str, int, int], None]
"""Is told what comes next, how many trials are done, and of how many."""


@dataclass(frozen=True)
class Done:
    """A finished trial.

    Args:
        planned: Which.
        record: What was written of it.
        val: The student's outputs on validation data, if there is any.
        test: On test data.
    """

    planned: Planned
    record: dict[str, Any]
    val: Tensor | None
    test: Tensor | None


class Trials:
    """Carries out the trials of a study and remembers them on disk.

    Args:
        plan: The study.
        tell: Told how far it is.
    """

    def __init__(self, plan: StudyPlan, tell: Tell) -> None:
        self.plan, self.tell, self.keys = plan, tell, Keys(plan)
        self._val = None if plan.val is None else self.keys.data(plan.val)
        self._test = self.keys.data(plan.test)

    def all(self, wanted: Sequence[Planned], tuning: bool = False) -> list[Done]:
        """Carry out those trials that nobody has, wait for the others, and return all.

        Args:
            wanted: In the order of the work.
            tuning: Whether they only serve a choice: then no test data are looked at, and a loss
                that is not finite is a result and no error.
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

    def student(self, planned: Planned) -> nn.Module:
        """Return a finished trial's student, from the folder of its run."""
        folder = self._folder(planned)
        return train(self.plan, planned, folder.run).student

    def teacher_answers(self, teacher: Teacher, data: object) -> Tensor:
        """Return a teacher's outputs on a data set; the teacher is asked once."""
        name = f"{digest(teacher.fingerprint())}-{self.keys.data(data)}.npy"
        folder = self.plan.folder / "teacher"
        with exclusive(folder):
            kept = answers.load(folder / name)
            if kept is None:
                kept = answers.ask(teacher, data, self.plan.device)
                answers.save(folder / name, kept)
        return kept

    def _folder(self, planned: Planned) -> TrialFolder:
        return TrialFolder(self.plan.folder / "trials" / planned.key)

    def _data(self, tuning: bool) -> dict[str, object]:
        """Return the data that the students are to answer, by name."""
        data = {} if self._val is None else {self._val: self.plan.val}
        return data if tuning else data | {self._test: self.plan.test}

    def _is_done(self, planned: Planned, tuning: bool) -> bool:
        folder = self._folder(planned)
        record = folder.record()
        if record is None:
            return False
        if "diverged" in record:
            return tuning
        return all(folder.answers(each).exists() for each in self._data(tuning))

    def _try(self, planned: Planned, tuning: bool) -> bool:
        """Carry a trial out unless another process is at it; tell whether it was ours."""
        folder = self._folder(planned)
        with folder.claimed() as ours:
            if ours and not self._is_done(planned, tuning):
                self._carry_out(planned, folder, tuning)
            return ours

    def _carry_out(self, planned: Planned, folder: TrialFolder, tuning: bool) -> None:
        try:
            trained = train(self.plan, planned, folder.run)
        except NonFiniteError as error:
            if not tuning:
                raise
            folder.finish({"diverged": str(error)})
            return
        student = Live(trained.student)
        for name, data in self._data(tuning).items():
            if not folder.answers(name).exists():
                answers.save(folder.answers(name), answers.ask(student, data, self.plan.device))
        if folder.record() is None:
            fidelity = train_fidelity(self.plan, planned, trained.student)
            record = {"arm": planned.name, "seed": planned.seed, "seconds": trained.seconds}
            folder.finish(record | trained.record | {"train": fidelity})

    def _load(self, planned: Planned) -> Done:
        folder = self._folder(planned)
        record = folder.record() or {}
        val = None if self._val is None else answers.load(folder.answers(self._val))
        return Done(planned, record, val, answers.load(folder.answers(self._test)))
