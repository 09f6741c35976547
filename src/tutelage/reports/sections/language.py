"""Language models: how fast they generate, and the student as the draft of its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from tutelage.evaluation import GenerationSpeed, speculative_speedup
from tutelage.reports.models import NEW_TOKENS
from tutelage.reports.numbers import NONE, milliseconds, percent, significant, times
from tutelage.reports.page import Cell, Column, Section, Table
from tutelage.reports.record import ArmRecord, ModelRecord, Record
from tutelage.reports.sections.cost import measured_on, not_measured
from tutelage.reports.sections.outcome import first_column, mean_text, spread

_DRAFTED = 4
_LONGEST = 16  # drafted tokens that are considered


def language_sections(record: Record) -> tuple[Section | None, ...]:
    """Return generation speed and that of speculative decoding; nothing of other models."""
    return (_generation(record), _drafts(record)) if record.tokens else ()


def _generation(record: Record) -> Section | None:
    models = list(record.models.values())
    timed = [(each, model.device) for model in models for each in model.generation]
    sizes = sorted({each.batch_size for each, _ in timed})
    reasons = not_measured((model.ungenerated, model.name) for model in models)
    if not sizes:
        return Section("Generation speed", tuple(reasons)) if reasons else None
    columns = (
        Column("Model", numeric=False),
        *(Column("First token", f"ms, batch {size}") for size in sizes),
        *(Column("Tokens a second", f"batch {size}") for size in sizes),
    )
    rows = tuple((model.name, *_speeds(model.generation, len(sizes))) for model in models)
    note = (
        f"Medians on {measured_on(*timed[0])}. After the beginning of a text, {NEW_TOKENS} tokens "
        "are generated, each the most probable one, with a cache of keys and values. The first "
        "token comes after the whole prompt was read; tokens a second are those after it, of all "
        "texts of a batch."
    )
    table = Table("Generation speed of the models", columns, rows, " ".join([note, *reasons]))
    return Section("Generation speed", table=table)


def _speeds(found: Sequence[GenerationSpeed], sizes: int) -> tuple[str | Cell, ...]:
    if not found:
        return (NONE,) * (2 * sizes)
    first = (Cell(milliseconds(each.first_token), each.first_token) for each in found)
    rest = (
        Cell(significant(each.tokens_per_second), each.tokens_per_second)
        if each.per_token
        else NONE
        for each in found
    )
    return (*first, *rest)


def _drafts(record: Record) -> Section | None:
    """Return how often the teacher accepts the student's tokens, and the speed-up that gives."""
    if record.teacher is None:
        return None
    text = (
        "In speculative decoding the student proposes tokens, and the teacher judges several at "
        "once: what is written is distributed as the teacher's own text."
    )
    arms = [arm for arm in record.arms if arm.values("acceptance_rate")]
    if not arms:
        why = record.unmeasured or "the teacher has no probability of each of the student's tokens"
        return Section("Speculative decoding", (text, f"Not measured: {why}."))
    teacher = record.model_of(record.teacher)
    columns = (
        first_column(record),
        Column("Acceptance rate", "% of tokens"),
        Column("Time for a token", "% of the teacher's"),
        Column("Speed-up", f"{_DRAFTED} drafted tokens"),
        Column("Best", "drafted tokens: speed-up"),
    )
    rows = tuple(_draft(arm, record.model_of(arm), teacher) for arm in arms)
    note = (
        "The acceptance rate is Σ min(p, q) over the vocabulary, the mean over the tokens of these "
        "texts; it may be another one on texts that the teacher itself generates. The speed-up is "
        "that expected of batches of one text (Leviathan et al. 2023), if the teacher judges "
        f"several tokens in the time of one; below 1 it is slower. Up to {_LONGEST} drafted tokens "
        "are considered."
    )
    if all(_cost(record.model_of(arm), teacher) is None for arm in arms):
        note += " No speed-up is shown, since the generation of both models was not timed."
    table = Table("The student as the draft of its teacher", columns, rows, note).without_empty()
    return Section("Speculative decoding", (text,), table)


def _draft(
    arm: ArmRecord, model: ModelRecord | None, teacher: ModelRecord | None
) -> tuple[str | Cell, ...]:
    values = arm.values("acceptance_rate")
    shown = mean_text(values, as_percent=True, interval=spread(arm, "acceptance_rate"))
    cost, rate = _cost(model, teacher), min(fmean(values), 1.0)
    if cost is None:
        return (arm.name, shown, NONE, NONE, NONE)
    speedups = {
        length: speculative_speedup(rate, cost, length) for length in range(1, _LONGEST + 1)
    }
    best = max(speedups, key=lambda length: speedups[length])
    most = f"{best}: {times(speedups[best])}" if speedups[best] > 1 else "none"
    usual = Cell(times(speedups[_DRAFTED]), speedups[_DRAFTED])
    return (arm.name, shown, percent(cost, 0).removesuffix(" %"), usual, Cell(most, speedups[best]))


def _cost(model: ModelRecord | None, teacher: ModelRecord | None) -> float | None:
    """Return the student's time for a token divided by the teacher's, in batches of one."""
    pair = [
        next((each.per_token for each in one.generation if each.batch_size == 1), 0.0)
        for one in (model, teacher)
        if one is not None
    ]
    return pair[0] / pair[1] if len(pair) == 2 and all(pair) else None  # noqa: PLR2004
