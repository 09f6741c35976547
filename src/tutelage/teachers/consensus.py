"""One distribution over all classes out of teachers that know different parts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from tutelage._checks import positive, whole_number
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, ModelError
from tutelage.signals import Batch, Fields, Signals
from tutelage.teachers._pool import Cells, pooled
from tutelage.teachers._teacher import Teacher
from tutelage.teachers._team import Team, named_members, shares

GENERALIST = "generalist"


class Consensus(Team):
    """Teachers of different classes, all asked about each example: for data without domains.

    For each example it finds the q over all classes with the least Σ_k w_k KL(p_k ‖ q_k), where q_k
    is q summed up over the cells that teacher k tells apart, by the fixed point

        q_i ← Σ_k w_k · p_k(cell of i) · q_i / q(cell of i),

    which never makes the sum larger. Classes that no teacher tells apart keep the proportions that
    they begin with: the generalist's, or equal ones. Where an example's domain is known, ask its
    own teacher by `Specialists` instead.

    Source: Hinton, Vinyals and Dean 2015, section 5, https://arxiv.org/abs/1503.02531.

    Args:
        teachers: A list or a dict by name: a `Specialist` with a cell for elsewhere, or any teacher
            of all classes.
        generalist: One more, that knows all classes and from whose answer the search begins.
        classes: How many the student has; None where some teacher knows all of them.
        weights: One number for each of `teachers`, and one more for the generalist; 0 leaves a
            teacher out (the search may still begin from it); None for equal ones.
        tolerance: The search ends once no probability moves by more.
        max_steps: Or after so many steps.

    Raises:
        ArgumentError: There is no teacher, or a number is outside its range.
        ModelError: A member is neither module nor teacher.
    """

    def __init__(
        self,
        teachers: Sequence[nn.Module | Teacher] | Mapping[str, nn.Module | Teacher],
        generalist: nn.Module | Teacher | None = None,
        classes: int | None = None,
        weights: Sequence[float] | None = None,
        tolerance: float = 1e-6,
        max_steps: int = 200,
    ) -> None:
        super().__init__(_with(teachers, generalist))
        self.begins_with_last = generalist is not None
        advice = "it is the number of the student's outputs"
        self.classes = None if classes is None else whole_number("classes", classes, 2, advice)
        self.weights = shares(weights, self.names)
        self.tolerance = positive("tolerance", tolerance, "1e-6 is a good value")
        self.max_steps = whole_number("max_steps", max_steps, 1, "200 is a good value")

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return log q, `[batch, classes]`, and the features that are wanted of each member.

        Raises:
            ModelError: A teacher leaves open where the rest of its probability is, or their classes
                do not fit together.
        """
        outputs, features = self.ask(batch, fields)
        if not fields.output:
            return Signals(None, features)
        classes = self._classes(outputs)
        heard = self.weights.nonzero().flatten().tolist()
        cells = Cells.of([_coarse(outputs[member]) for member in heard], classes)
        self._check(cells, [self.names[member] for member in heard])
        last = outputs[-1]
        begin = last if self.begins_with_last and isinstance(last, Tensor) else None
        log_q = pooled(cells, self.weights[heard], begin, self.tolerance, self.max_steps)
        return Signals(log_q, features)

    def _classes(self, outputs: Sequence[Tensor | CoarseLogits]) -> int:
        """Return how many classes there are."""
        dense = {
            name: each.shape[1]
            for name, each in zip(self.names, outputs, strict=True)
            if isinstance(each, Tensor)
        }
        found = {*dense.values(), *([] if self.classes is None else [self.classes])}
        if len(found) != 1:
            raise ModelError(
                "teachers of a Consensus must know how many classes there are, and agree, got "
                f"classes={self.classes} and {dense or 'no teacher of all classes'}; set `classes`,"
                " and name the classes of each teacher that knows some by Specialist"
            )
        if self.begins_with_last and GENERALIST not in dense:
            raise ModelError(
                "the generalist must know all classes, got one that knows some; give it among the "
                "`teachers`"
            )
        return found.pop()

    def _check(self, cells: Cells, names: Sequence[str]) -> None:
        """Refuse teachers that have no cell for what they do not know."""
        open_ = cells.open_members()
        if open_:
            raise ModelError(
                "each teacher of a Consensus must know all classes, or have a cell for elsewhere, "
                f"got neither of {[names[member] for member in open_]}; train it with one more"
                " output, and set elsewhere='cell'; without one, ask by domain (Specialists)"
            )

    def _settings(self) -> str:
        weights = [round(each, 9) for each in self.weights.tolist()]
        return f"classes {self.classes}, weights {weights}, {self.tolerance}, {self.max_steps}"


def _with(
    teachers: Sequence[nn.Module | Teacher] | Mapping[str, nn.Module | Teacher],
    generalist: nn.Module | Teacher | None,
) -> dict[str, nn.Module | Teacher]:
    """Return teachers by name, the generalist last."""
    named = named_members(teachers)
    if generalist is None:
        return named
    if GENERALIST in named:
        raise ArgumentError(
            f"`teachers` must not have one named {GENERALIST!r} beside the `generalist`, got two; "
            "rename it"
        )
    return {**named, GENERALIST: generalist}


def _coarse(output: Tensor | CoarseLogits) -> CoarseLogits:
    return CoarseLogits.of(output) if isinstance(output, Tensor) else output
