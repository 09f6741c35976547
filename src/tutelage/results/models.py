"""What the models of a run or a study cost, measured side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from textwrap import shorten
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tutelage.data import as_source, randomness
from tutelage.errors import TutelageError, in_short
from tutelage.evaluation import (
    Cost,
    GenerationSpeed,
    Latency,
    Outputs,
    generation_speed,
    latencies,
    measure_cost,
    variants,
)
from tutelage.evaluation.evaluate import run_model
from tutelage.layers import evaluating
from tutelage.nested import named_tensors, on_tensors
from tutelage.results.record import ModelRecord, VariantRecord
from tutelage.signals import Batch
from tutelage.tasks.token_scores import unknown_labels
from tutelage.teachers import Stored, Teacher
from tutelage.wants import OUTPUT

_CPU = torch.device("cpu")
MOST_TOKENS = 128
"""How many tokens of a text language models are timed on."""
NEW_TOKENS = 32
"""How many tokens they generate, after a prompt."""
_PROMPT, _TURNS = 32, 2  # tokens; how often generation is timed
_MOST_BYTES = 32 * 2**20  # of inputs that are timed at once: the first example's size tells
_LONGEST = 400  # characters of a reason
_STORED = "its outputs are read from a store"
_NO_DATA = "there is no validation data to take inputs from"


class Timing(NamedTuple):
    """The data that models are timed on, how many of its examples at most, and how long.

    Of language models an example is the beginning of a text: logits of all tokens may be too many.
    """

    name: str
    data: object
    batch_size: int
    seconds: float
    rounds: int
    of_tokens: bool = False

    def batch(self, device: torch.device) -> Batch | None:
        """Return the first batch of the data; None without data."""
        if self.data is None:
            return None
        with randomness.preserved():
            randomness.seed_everything(0)
            batch = next(iter(as_source(self.name, self.data, 1).epoch(0)))
            if len(batch) == 1:  # a loader has batches of its own
                size = sum(each.nbytes for _, each in named_tensors(batch.inputs))
                fits = max(1, min(self.batch_size, _MOST_BYTES // max(1, size)))
                randomness.seed_everything(0)
                batch = next(iter(as_source(self.name, self.data, fits).epoch(0)))
        if self.of_tokens:
            batch = batch[:1]
            batch = replace(batch, inputs=on_tensors(batch.inputs, _beginning), labels=None)
        return batch.to(device)

    def sizes(self, batch: Batch) -> list[int]:
        """Return the numbers of inputs to time a call of."""
        return sorted({1, min(len(batch), self.batch_size)})


def _beginning(tensor: Tensor) -> Tensor:
    return tensor[:, :MOST_TOKENS] if tensor.ndim > 1 else tensor


def measure_models(
    models: Mapping[str, Teacher], timing: Timing, device: torch.device = _CPU
) -> dict[str, ModelRecord]:
    """Return size, FLOPs, memory and time of models, by name; what is missing has a reason."""
    batch = timing.batch(device)
    with ExitStack() as stack:
        for each in models.values():
            stack.enter_context(each.ready(device))
        parts = {key: each if each.module is None else each.module for key, each in models.items()}
        times, reasons = _times(parts, timing, batch)
        costs = {name: _cost(part, batch) for name, part in parts.items()}
        written = {name: _generation(part, timing, batch) for name, part in parts.items()}
    return {
        name: ModelRecord(
            f"{several} teachers together" if (several := len(model.modules())) > 1 else name,
            costs[name][0],
            times.get(name, ()),
            untimed=reasons[name],
            uncounted=costs[name][1],
            generation=written[name][0],
            ungenerated=written[name][1],
            device=device.type,
        )
        for name, model in models.items()
    }


def measure_variants(
    model: nn.Module, timing: Timing, metric: Callable[[nn.Module], float | None]
) -> tuple[VariantRecord, ...]:
    """Return the deciding metric on the data, and the times, of a model's cheaper forms."""
    batch = timing.batch(_CPU)
    try:
        built = variants(model, None if batch is None else batch.inputs)
    except TutelageError as error:
        return (VariantRecord("plain", _reason(error)),)
    reasons, values = {each.name: each.reason for each in built}, dict[str, float | None]()
    forms = {each.name: each.model for each in built if each.model is not None}
    for name, form in forms.items():
        try:
            values[name] = metric(form)
        except Exception as error:  # noqa: BLE001 - runtimes raise errors of any kind
            reasons[name] = f"it fails on this data: {_reason(error)}"
    times, untimed = _times({name: forms[name] for name in values}, timing, batch)
    return tuple(
        VariantRecord(name, why, each.file_bytes, values.get(name), times.get(name, ()))
        for each in built
        for name, why in [(each.name, reasons[each.name] or untimed.get(each.name, ""))]
    )


def unmeasured_scores(teacher: Teacher, outputs: Outputs | None) -> str:
    """Return why a teacher's own scores of tokens are not known, in words; "" if they are."""
    if outputs is None or outputs.scores is None:
        return "it has samples of its tokens, and no probabilities"
    return "" if teacher.modules() else unknown_labels(outputs.scores, outputs.labels)


def _times(
    models: Mapping[str, nn.Module | Teacher], timing: Timing, batch: Batch | None
) -> tuple[dict[str, tuple[Latency, ...]], dict[str, str]]:
    """Return the latencies of models, and why those without have none."""
    reasons = {name: _not_timed(model, timing, batch) for name, model in models.items()}
    timed = {name: model for name, model in models.items() if not reasons[name]}
    if batch is None or not timed:
        return {}, reasons
    found = latencies(timed, batch, timing.sizes(batch), timing.seconds, timing.rounds)
    return {name: tuple(each) for name, each in found.items()}, reasons


def _generation(
    model: nn.Module | Teacher, timing: Timing, batch: Batch | None
) -> tuple[tuple[GenerationSpeed, ...], str]:
    """Return how fast a language model generates, and why it was not measured if it was not."""
    if not timing.of_tokens:
        return (), ""
    why = _unavailable(model, batch)
    if why or batch is None or not isinstance(model, nn.Module):
        return (), why or "it is not a single model that generates"
    inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {}
    ids, mask = inputs.get("input_ids"), batch.token_mask()
    if not isinstance(ids, Tensor):
        return (), "its inputs have no `input_ids` to go on from"
    limit = _context(model)
    if limit is not None and limit <= NEW_TOKENS:
        return (), f"its context of {limit} tokens is too short to generate {NEW_TOKENS}"
    longest = _PROMPT if limit is None else min(_PROMPT, limit - NEW_TOKENS)
    prompt = (ids[0] if mask is None else ids[0][mask[0]])[:longest]
    try:
        with randomness.preserved():
            return tuple(generation_speed(model, prompt, NEW_TOKENS, rounds=_TURNS)), ""
    except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
        return (), _reason(error)


def _context(model: nn.Module) -> int | None:
    """Return the number of tokens that a model of transformers can take; None if not known."""
    found = getattr(getattr(model, "config", None), "max_position_embeddings", None)
    return found if isinstance(found, int) and found > 0 else None


def _not_timed(model: nn.Module | Teacher, timing: Timing, batch: Batch | None) -> str:
    """Return why a model cannot be timed; empty if it can."""
    why = _unavailable(model, batch)
    if why or batch is None:
        return why
    try:
        with evaluating(*model.modules()), torch.inference_mode():
            for size in timing.sizes(batch):
                run_model(model, batch[:size], OUTPUT, "model")
    except Exception as error:  # noqa: BLE001 - whatever a part of another library raises
        return _reason(error)
    return ""


def _cost(model: nn.Module | Teacher, batch: Batch | None) -> tuple[Cost | None, str]:
    """Return what a model costs, and why that is not all of it."""
    if isinstance(model, Teacher) and not model.is_made_of_modules():
        return None, _STORED if _is_stored(model) else "not a PyTorch module"
    reason = "" if batch is not None else _NO_DATA
    for inputs in (None,) if batch is None else (batch, None):
        try:
            return measure_cost(model, inputs), reason
        except Exception as error:  # noqa: BLE001 - not all can be counted, nor all weights saved
            reason = _reason(error)
    return None, reason


def _unavailable(model: nn.Module | Teacher, batch: Batch | None) -> str:
    """Return why a model cannot be run; empty if it can."""
    if _is_stored(model):
        return _STORED
    if isinstance(model, Teacher) and model.is_causal:  # behind a server, or answers in a file
        return "it does not run here"
    return _NO_DATA if batch is None else ""


def _is_stored(model: nn.Module | Teacher) -> bool:
    return isinstance(model, Teacher) and (
        isinstance(model, Stored) or any(map(_is_stored, model.members))
    )


def _reason(error: Exception) -> str:
    return shorten(str(error) if isinstance(error, TutelageError) else in_short(error), _LONGEST)
