"""Relate the tokens of a text to each other as the teacher's attention does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from tutelage._checks import whole_number
from tutelage.errors import ArgumentError
from tutelage.losses import minilmv2
from tutelage.objectives._layers import LayerObjective, checked_map
from tutelage.signals import Batch

_PARTS = ("query", "key", "value")


class MiniLMv2(LayerObjective):
    """Mean divergence of the relations between tokens, by queries, by keys and by values.

    Formula and source: `tutelage.losses.minilmv2`. Usually one layer is taught: the
    student's last, by the teacher's last or, if it is large, one some layers before.

    >>> MiniLMv2(
    ...     {"transformer.layer.5.attention": "encoder.layer.11.attention.self"},
    ...     student_parts=("q_lin", "k_lin", "v_lin"),
    ... ).layer_map["transformer.layer.5.attention.k_lin"]
    'encoder.layer.11.attention.self.key'

    Args:
        layer_map: Which attention module of the student learns from which of the teacher.
        relation_heads: Into how many heads the widths of both sides are split to be compared, a
            divisor of both. The authors take 48 for a teacher of width 768, 64 for one of 1024.
        student_parts: Names of the linear layers inside the student's attention modules that make
            queries, keys and values, without `:input` or `[…]`.
        teacher_parts: The same inside the teacher's, in the same order. Where one layer makes all
            three one after the other, name it alone on both sides and give three times as many
            `relation_heads`.

    Shape:
        What these layers give: `[batch, tokens, d]`, d a multiple of `relation_heads`; widths may
        differ, and so may numbers of heads. Padded tokens (`attention_mask` of the inputs) do not
        count.

    Raises:
        ArgumentError: The map is empty or names no places, the two sides' parts are none or not as
            many, or `relation_heads` is no positive whole number.
    """

    def __init__(
        self,
        layer_map: Mapping[str, str],
        relation_heads: int = 12,
        student_parts: Sequence[str] = _PARTS,
        teacher_parts: Sequence[str] = _PARTS,
    ) -> None:
        pairs = _paired(student_parts, teacher_parts)
        super().__init__(
            {
                f"{student}.{ours}": f"{teacher}.{theirs}"
                for student, teacher in checked_map(layer_map).items()
                for ours, theirs in pairs
            }
        )
        advice = "it must divide the widths of both sides"
        self.relation_heads = whole_number("relation_heads", relation_heads, 1, advice)

    def compare(self, pair: int, student: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the divergences, `[batch]`."""
        return minilmv2(student, teacher, self.relation_heads, batch.token_mask())

    def extra_repr(self) -> str:
        """Show the map and the number of heads."""
        return self.with_map(f"relation_heads={self.relation_heads}")


def _paired(student: Sequence[str], teacher: Sequence[str]) -> list[tuple[str, str]]:
    lists = not isinstance(student, str) and not isinstance(teacher, str)
    if not lists or not student or len(student) != len(teacher):
        raise ArgumentError(
            "`student_parts` and `teacher_parts` must name the same linear layers of the two "
            f"sides, got {student!r} and {teacher!r}; write ('q_lin', 'k_lin', 'v_lin') and "
            "('query', 'key', 'value')"
        )
    return list(zip(student, teacher, strict=True))
