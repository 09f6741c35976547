"""How good a language model is at the next token, how fast, and how good as its teacher's draft."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from tutelage._checks import fraction, integer, not_negative
from tutelage.data import as_source
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.evaluation.evaluate import evaluate
from tutelage.labels import is_known
from tutelage.layers import evaluating
from tutelage.tasks.token_scores import BATCH_OF_TEXTS, TokenScores, unknown_labels
from tutelage.teachers import AnyTeacher, Teacher, as_teacher

_WINDOW = 512


def perplexity(
    model: AnyTeacher,
    data: object,
    batch_size: int = BATCH_OF_TEXTS,
    asked_as: nn.Module | None = None,
) -> float:
    """Return exp of the mean of −log p(token | those before) over all tokens with a label.

    Perplexities of models with different tokenizers cannot be compared: see `bits_per_byte`. Logits
    over a large vocabulary never stand whole.

    Args:
        model: A language model of transformers, or a teacher: a store with the outputs for these
            texts, or a served one. Of a teacher that knows some of the tokens the perplexity is
            exact if each token with a label is one of them, and is not known otherwise.
        data: Texts as dicts with `input_ids`, and `labels` where not all tokens count (−100).
        batch_size: Texts at a time, for a data set.
        asked_as: For a store, which does not say whether its model is causal: a student of it.

    Raises:
        ArgumentError: A store is given without `asked_as`.
        DataError: No token has a label.
        ModelError: The model refuses the texts, or does not know all tokens with a label.
    """
    nats = torch.tensor(_mean_nll(model, data, batch_size, asked_as), dtype=torch.float64)
    return nats.exp().item()  # ∞ where `math.exp` would raise


def bits_per_byte(
    model: nn.Module,
    tokenizer: Any,
    texts: Iterable[str],
    window: int = _WINDOW,
    batch_size: int = BATCH_OF_TEXTS,
) -> float:
    """Return how many bits the model needs for a byte of some texts: −Σ log2 p(token) / Σ bytes.

    Unlike the perplexity it can be compared between tokenizers. A text is cut into windows of
    tokens, and each begins with the tokenizer's first special token (of beginnings, else of ends),
    which is not predicted; so every token of the texts is.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its own.
        texts: Whole texts.
        window: Tokens of the texts in a window, at most as many as the model's context less one.
        batch_size: Windows at a time.

    Raises:
        ArgumentError: There are no texts, or the tokenizer has neither special token.
    """
    integer("window", window, 1, "it counts tokens")
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if start is None:
        raise ArgumentError(
            "`tokenizer` must have a token of beginnings or ends, after which a text begins, got "
            "none; set tokenizer.bos_token"
        )
    windows, tokens, size = [], 0, 0
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        size, tokens = size + len(text.encode()), tokens + len(ids)
        for first in range(0, len(ids), window):
            part = ids[first : first + window]
            windows.append({"input_ids": [start, *part], "labels": [-100, *part]})
    if not tokens:
        raise ArgumentError("`texts` must have tokens, got none; give some")
    nats = tokens * _mean_nll(model, windows, batch_size)
    return nats / math.log(2) / size


def acceptance_rate(
    student: nn.Module, teacher: AnyTeacher, data: object, batch_size: int = BATCH_OF_TEXTS
) -> float:
    """Return how often a teacher accepts a token that its student drafts, in [0, 1].

    In speculative decoding the student proposes tokens, and the teacher accepts one with the
    probability min(1, p/q); what is written is distributed as the teacher's own text. On average
    over the student's proposals this is Σ_x min(p_x, q_x), 1 less the total variation between the
    two, here on average over the tokens of some texts. Texts that the teacher has written itself
    tell most.

    Source: Leviathan, Kalman and Matias 2023, arXiv:2211.17192.

    Args:
        student: A language model of transformers.
        teacher: Another with the same tokenizer.
        data: Texts, as for `perplexity`.
        batch_size: Texts at a time, for a data set.

    Raises:
        ModelError: The vocabularies differ, or the teacher knows some of the tokens only.
        TutelageError: As for `perplexity`.
    """
    found, _ = _scores(student, as_teacher(teacher), data, batch_size)
    accepted = found.column("accepted")
    if bool(accepted.isnan().all()):
        raise ModelError(
            "`teacher` must have the probability of each of the student's tokens, got one of "
            "another vocabulary, or one that knows the most probable tokens only; give the model "
            "itself"
        )
    return accepted.mean().item()


def speculative_speedup(acceptance: float, cost: float, length: int = 4) -> float:
    """Return by what factor drafts speed up a teacher: (1 − αˡ⁺¹)/((1 − α)(l c + 1)).

    The teacher judges l drafted tokens at once, in the time of one; below 1 it becomes slower.

    Source: Leviathan, Kalman and Matias 2023, arXiv:2211.17192, theorem 3.8.

    Args:
        acceptance: α, the rate at which a token is accepted, in [0, 1].
        cost: c ≥ 0, the student's time for a token divided by the teacher's.
        length: l ≥ 1, the number of drafted tokens.

    Raises:
        ArgumentError: An argument is outside its range.

    >>> round(speculative_speedup(acceptance=0.8, cost=0.1, length=4), 2)
    2.4
    """
    integer("length", length, 1, "it counts drafted tokens")
    not_negative("cost", cost, "it is the student's time divided by the teacher's")
    fraction("acceptance", acceptance, "it is a rate")
    expected = sum(acceptance**each for each in range(length + 1))
    return expected / (length * cost + 1)


@dataclass(frozen=True, slots=True)
class GenerationSpeed:
    """How fast a language model writes.

    Args:
        batch_size: How many texts are written at once.
        first_token: Median of the seconds until the first new token of each.
        per_token: Median of the seconds for each further one, of each text.
        threads: CPU threads that PyTorch used.
    """

    batch_size: int
    first_token: float
    per_token: float
    threads: int

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all texts in a second, after the first; ∞ where that is too short to time."""
        return self.batch_size / self.per_token if self.per_token else math.inf


def generation_speed(
    model: nn.Module,
    prompt: Tensor | Sequence[int],
    new_tokens: int = 32,
    batch_sizes: Sequence[int] = (1, 8),
    rounds: int = 3,
) -> list[GenerationSpeed]:
    """Time the generation of a language model after a prompt, with its key-value cache.

    Args:
        model: A model of transformers with `generate`; it runs in eval mode, where it is.
        prompt: Token ids.
        new_tokens: How many tokens are written, whatever they are.
        batch_sizes: How many copies of the prompt are continued at once.
        rounds: How often each is measured, in turns.

    Raises:
        ArgumentError: A number is out of its range.
        ModelError: The model does not write.
    """
    integer("new_tokens", new_tokens, 2, "the first and at least one more")
    integer("rounds", rounds, 1, "it counts measurements")
    for each in batch_sizes:
        integer("batch_sizes", each, 1, "each counts texts")
    if not callable(getattr(model, "generate", None)):
        raise ModelError(
            f"the model must be one of transformers with `generate`, got {type(model).__name__}; "
            "give a language model"
        )
    ids = torch.as_tensor(prompt, dtype=torch.int64).reshape(1, -1)
    measured: dict[int, list[tuple[float, float]]] = {each: [] for each in batch_sizes}
    with evaluating(model), torch.inference_mode():
        for number in range(rounds + 1):  # the first one warms up
            for size in batch_sizes:
                times = [_seconds(model, ids.expand(size, -1), each) for each in (1, new_tokens)]
                if number:
                    first, all_of_them = times
                    rest = max(all_of_them - first, 0.0) / (new_tokens - 1)
                    measured[size].append((first, rest))
    return [
        GenerationSpeed(
            size,
            median(first for first, _ in found),
            median(rest for _, rest in found),
            torch.get_num_threads(),
        )
        for size, found in measured.items()
    ]


def _seconds(model: Any, ids: Tensor, new_tokens: int) -> float:
    device = next(model.parameters()).device
    ids = ids.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        do_sample=False,
        use_cache=True,
    )
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _mean_nll(
    model: AnyTeacher, data: object, batch_size: int, asked_as: nn.Module | None = None
) -> float:
    """Return the mean of −log p over all tokens with a label."""
    found, labels = _scores(model, None, data, batch_size, asked_as)
    counted = is_known(labels) if isinstance(labels, Tensor) else None
    if counted is None or not bool(counted.any()):
        raise DataError("`data` must have tokens with a label, got none; give texts")
    reason = "" if isinstance(model, nn.Module) else unknown_labels(found, labels)
    if reason:
        raise ModelError(
            "the perplexity of a teacher needs its probability of each token with a label, but "
            f"{reason}; give the model itself, or store more tokens (`top_k`)"
        )
    return found.column("nll")[counted].mean().item()


def _scores(
    model: AnyTeacher,
    teacher: Teacher | None,
    data: object,
    batch_size: int,
    asked_as: nn.Module | None = None,
) -> tuple[TokenScores, Any]:
    """Return the scores of all tokens, and their labels."""
    source = as_source("data", data, batch_size)
    teacher = None if teacher is None else teacher.for_data("data", data)
    asked = model if isinstance(model, nn.Module) else as_teacher(model).for_data("data", data)
    told = isinstance(asked, nn.Module) or asked.is_causal or bool(asked.modules())
    if asked_as is None and not told:
        raise ArgumentError(
            f"`asked_as` must be a student of {asked}, which does not tell whether its outputs are "
            "about the next token, got none; give a model of the same kind"
        )
    found = evaluate(asked, teacher, None, source, scores=True, asked_as=asked_as).outputs
    if found.scores is None:
        raise ModelError(
            "the model must return logits of classes for each token, or know the probabilities of "
            f"some, got {type(asked).__name__}, which does not; give a language model"
        )
    return found.scores, found.labels
