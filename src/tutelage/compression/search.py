"""Rounds of training, in which ever fewer candidates are trained for ever longer."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from time import monotonic

from tutelage.compression.candidates import FASTER, Measured
from tutelage.errors import ModelError, NonFiniteError, TutelageError
from tutelage.files import write_json
from tutelage.reports.verdict import difference, shown
from tutelage.results.record import Record

_LOG = logging.getLogger("tutelage.compression")
_WORTH = 0.1
LONGER = 4
"""By what the steps of a candidate are multiplied in its next round."""
Train = Callable[[Sequence[str], int, int], Record]
"""Trains some candidates: their names, optimizer steps, and the number of the round."""


@dataclass(frozen=True)
class Score:
    """How good a candidate was on validation data after a training.

    Args:
        value: The deciding metric.
        gain: The difference from the teacher, signed so that more is better.
        low: The lower end of its 95 % interval over examples; −∞ where it has none.
        steps: Of that training.
        seconds: That it took.
    """

    value: float
    gain: float
    low: float
    steps: int
    seconds: float


@dataclass
class Search:
    """Finds the fastest candidate within a margin, or the best one.

    Successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943): the better
    half of a round's candidates is trained again, with four times as many steps. With a margin only
    those are of interest that are faster than the fastest one within it, also if they were left
    behind before; one of them is given up if what it lacks is more than what it gained in its last
    round, where each round is expected to gain at most half as much as the one before. While none
    is within the margin, the rounds go on as long as the best one gains a tenth of the margin.

    Args:
        costs: Of all candidates, by name.
        students: The student of each candidate, by their names. Candidates of one student differ in
            precision, and are trained once.
        margin: The largest acceptable loss against the teacher; None to look for the best.
        train: Trains the students of candidates, and returns the record of that study.
        budget: Seconds for all rounds and the confirmation.
        confirmations: How many trainings of the chosen candidate the confirmation needs.
        file: Where the times of finished rounds are noted, so that the same call makes the same
            decisions.

    Attributes:
        scores: By name, of each training of a candidate.
        given_up: By name, why a training, or the file of its student, failed.
        rounds: How many there were.
        seconds: That they took.
        teacher: The teacher's value on validation data.
    """

    costs: Mapping[str, Measured]
    students: Mapping[str, str]
    margin: float | None
    train: Train
    budget: float
    confirmations: int
    file: Path
    scores: dict[str, list[Score]] = field(default_factory=dict)
    given_up: dict[str, TutelageError] = field(default_factory=dict)
    rounds: int = 0
    seconds: float = 0.0
    teacher: float = math.nan

    def run(self, steps: int) -> str:
        """Carry out the rounds, the first with all candidates; return the chosen one.

        An interruption by the user (Ctrl-C) ends the rounds as soon as there is one to choose.
        """
        try:
            self._rounds(steps)
        except KeyboardInterrupt:
            if not self.scores:
                raise
            _LOG.warning(
                "The search was interrupted; the best student so far is proved and exported. "
                "Interrupt again to stop; the same call later goes on with the search."
            )
        if not self.scores:
            error = next(iter(self.given_up.values()))
            if isinstance(error, ModelError):
                raise error
            raise NonFiniteError(
                "at least one student must train, got no finite loss or metric of any; give a "
                "lower learning rate: training=tl.Training(optimizer=...)"
            ) from error
        _LOG.info("Chosen: %s; proved by %d new trainings", self.chosen, self.confirmations)
        return self.chosen

    def _rounds(self, steps: int) -> None:
        names = [*self.costs]
        known = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else []
        while names:
            begun, at = monotonic(), self.rounds
            groups = [
                (number, [*group])
                for number, group in groupby(names, lambda name: self._next_steps(name, steps))
            ]
            for number, group in groups:
                _LOG.info("Round %d: %s for %d steps", at + 1, "; ".join(group), number)
                self._train(group, number)
            trained = [[number, *group] for number, group in groups]
            if at >= len(known) or known[at]["trained"] != trained:
                known[at:] = [{"trained": trained, "seconds": monotonic() - begun}]
                write_json(self.file, known)
            self.seconds += known[at]["seconds"]
            self.rounds += 1
            names = self._next_names(len({self.students[name] for name in names}))
            if names and not self._affordable(names):
                _LOG.info("The budget ends the search after %d rounds.", self.rounds)
                break

    @property
    def chosen(self) -> str:
        """The fastest candidate within the margin, else the best; of equals the faster one.

        Of those within the margin whose times differ by less than a tenth, the smallest.
        """
        if passing := [name for name in self.scores if self.passes(name)]:
            limit = FASTER * min(self.costs[name].seconds for name in passing)
            near = [name for name in passing if self.costs[name].seconds <= limit]
            return min(near, key=lambda n: (self.costs[n].parameters, self.costs[n].seconds))
        return max(self.scores, key=lambda name: (self._gain(name), -self.costs[name].seconds))

    def _train(self, names: Sequence[str], steps: int) -> None:
        """Train some candidates; one that diverges, or whose file fails, is not tried again."""
        try:
            self._read(self.train(names, steps, self.rounds), steps)
        except (NonFiniteError, ModelError) as error:
            if len(names) > 1:
                for name in names:
                    self._train([name], steps)
                return
            _LOG.warning("Student %r is given up: %s", names[0], error)
            self.given_up[names[0]] = error

    def passes(self, name: str) -> bool:
        """Whether a candidate's interval on validation data lies within the margin."""
        return self.margin is not None and self.scores[name][-1].low > -self.margin

    def _gain(self, name: str) -> float:
        return self.scores[name][-1].gain

    def _next_steps(self, name: str, first: int) -> int:
        return LONGER * self.scores[name][-1].steps if name in self.scores else first

    def _next_names(self, last: int) -> list[str]:
        """Return which candidates to train for longer: those of half as many students as last.

        In groups of equal steps, of which the first is the shortest.
        """
        if not self.scores:
            return []
        chosen, left = self.chosen, [name for name in self.scores if name not in self.given_up]
        if self.margin is None:  # one that fell behind is not trained again
            most = max(each[-1].steps for each in self.scores.values())
            left = [name for name in left if self.scores[name][-1].steps == most]
            left = [] if last == 1 else left
        elif self.passes(chosen):
            limit = self.costs[chosen].seconds
            left = [name for name in left if self.costs[name].seconds < limit]
            lacks = {name: -self.margin - self.scores[name][-1].low for name in left}
            left = [name for name in left if 0 <= lacks[name] <= max(0.0, self._last_gain(name))]
        elif self._last_gain(chosen) < _WORTH * self.margin:
            left = []
        best = sorted(left, key=lambda name: (-self._gain(name), self.costs[name].seconds))
        students = [*dict.fromkeys(self.students[name] for name in best)][: math.ceil(last / 2)]
        in_order = [name for name in self.costs if name in left and self.students[name] in students]
        return sorted(in_order, key=lambda name: self.scores[name][-1].steps)

    def _last_gain(self, name: str) -> float:
        """Return how much better a candidate became in its last round."""
        if len(self.scores[name]) == 1:
            return math.inf
        before, last = self.scores[name][-2:]
        return last.gain - before.gain

    def _read(self, record: Record, steps: int) -> None:
        metric, teacher = record.metric, record.teacher
        if metric is None or teacher is None:  # then nothing was compared, which was refused
            return
        self.teacher = teacher.metrics[metric.name]
        against = {each.arm: each for each in record.against_teacher}
        for arm in (each for each in record.arms if each.name in self.costs):
            trial, found = arm.trials[0], against[arm.name]
            value, gain = trial.metrics[metric.name], found.differences[0]
            low = -math.inf if found.interval is None else found.interval.low
            score = Score(value, gain, low, steps, trial.seconds)
            self.scores.setdefault(arm.name, []).append(score)
            _LOG.info(
                "%s: %s, %s against the teacher (at least %s); %.3g ms as exported",
                arm.name,
                shown(value, metric),
                difference(gain, metric),
                difference(low, metric) if math.isfinite(low) else "unknown",
                1e3 * self.costs[arm.name].seconds,
            )

    def _affordable(self, names: Sequence[str]) -> bool:
        """Tell whether a longer round, and the confirmation after it, fit into what is left."""
        seconds = {self.students[name]: self.scores[name][-1].seconds for name in names}
        times = [LONGER * each for each in seconds.values()]
        return self.seconds + sum(times) + self.confirmations * max(times) <= self.budget
