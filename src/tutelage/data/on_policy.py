"""Texts that the student writes itself while it is trained, and their batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import torch

from tutelage._checks import fraction, integer, positive
from tutelage.data.randomness import mixed_seed
from tutelage.data.sets import is_map_style, load
from tutelage.data.source import Order, SetSource, Shard, Source
from tutelage.errors import ArgumentError, DataError
from tutelage.nested import ROW_MASKS, describe, label_key
from tutelage.schedules import Constant, Schedule, fraction_schedule
from tutelage.signals import Batch


class OnPolicy:
    """Training data of which the student writes a part itself (on-policy distillation).

    The student is trained on texts that it writes from prompts, with its own mistakes, and the
    teacher gives the distribution of the next token at each position (GKD, Agarwal et al. 2024, https://arxiv.org/abs/2306.13649;
    MiniLLM, Gu et al. 2024, https://arxiv.org/abs/2306.08543). Give it to `distill` as `train`.

    Each batch is one of prompts or one of given texts. From prompts the student, as it is at that
    step, samples texts by `generate` of transformers, in eval mode; no gradient passes through the
    choice of tokens. What it has written, with the token that ends it, is learned; the prompt is
    not. Written texts have no labels: `HardLabels` and others that read labels learn from the given
    texts, whose labels are used as ever, and only objectives without labels, such as `ReverseKL`,
    learn from both.

    An epoch is a pass over the prompts, in batches of `batch_size`. With `texts` of their own, as
    many batches of these as are needed follow each other through the epochs. Which batches are
    written, and the tokens, depend on the run's seed, the epoch, the batch and the process alone,
    besides the student's weights.

    Args:
        prompts: A data set of dicts with `input_ids`, and perhaps `attention_mask`. If they have
            labels (or a `row_mask`), the prompt is what comes before the first learned token.
        texts: The given texts, a data set of the same kind; None for those of `prompts`, which then
            must have labels unless `share` is 1.
        share: Fraction of the batches that the student writes, in [0, 1]; may be a schedule.
        max_new_tokens: How many tokens are written at most.
        temperature: Of sampling. With 1 and neither `top_k` nor `top_p` the texts are samples of
            the student's own distribution, as the papers have it.
        top_k: Samples from so many most probable tokens; None for all.
        top_p: Samples from the most probable tokens that have this mass together; 1 for all.
        eos_token_id: The token that ends a text, or several; "model" for that of the student's
            generation settings; None for texts of `max_new_tokens` tokens without an end. No other
            generation settings of the student are used.

    Raises:
        ArgumentError: A number is outside its range.
        DataError: Prompts or texts are no data set, are empty, or have no tokens or labels.

    >>> import torch
    >>> prompts = [{"input_ids": torch.tensor([5, 6, 7])}]
    >>> OnPolicy(prompts, share=1, max_new_tokens=32)
    OnPolicy(prompts=1, share=1, max_new_tokens=32)
    """

    def __init__(  # noqa: PLR0913 - data, their mixture, and how is sampled
        self,
        prompts: Any,
        texts: Any = None,
        *,
        share: float | Schedule = 0.5,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        eos_token_id: int | Sequence[int] | Literal["model"] | None = "model",  # noqa: S107
    ) -> None:
        self.share = fraction_schedule("share", share, "the fraction of batches that are written")
        self.max_new_tokens = integer("max_new_tokens", max_new_tokens, 1, "it counts tokens")
        self.temperature = positive("temperature", temperature, "1 is the student's distribution")
        self.top_k = None if top_k is None else integer("top_k", top_k, 1, "None is for all tokens")
        self.top_p = fraction("top_p", top_p, "1 is for all tokens")
        if self.top_p == 0:
            raise ArgumentError("`top_p` must be above 0, got 0; write top_k=1 for the likeliest")
        self.eos_token_id = _ends(eos_token_id)
        self.prompts, self.texts = prompts, texts
        first = _first("prompts", prompts)
        unlabelled = label_key(first) is None and not any(name in first for name in ROW_MASKS)
        if texts is not None:
            _first("texts", texts)
        elif unlabelled and not self.is_all_written:
            raise DataError(
                "`prompts` must have labels where their own texts are given ones (−100 on the "
                f"prompt), got {describe(first)} and share={share}; give the given texts as "
                "`texts`, or share=1"
            )

    @property
    def is_all_written(self) -> bool:
        """Whether no batch is of given texts."""
        return isinstance(self.share, Constant) and self.share.value == 1

    @property
    def given(self) -> Any:
        """The data set of the given texts; None where all are written."""
        if self.is_all_written:
            return None
        return self.prompts if self.texts is None else self.texts

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the texts, besides data, by name."""
        found = {"share": repr(self.share), "max_new_tokens": self.max_new_tokens}
        usual = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "eos_token_id": "model"}
        own = {name: getattr(self, name) for name in usual}
        return found | {name: each for name, each in own.items() if each != usual[name]}

    def __repr__(self) -> str:
        sizes = {"prompts": len(self.prompts)}
        sizes |= {} if self.texts is None else {"texts": len(self.texts)}
        shown = [f"{name}={each}" for name, each in (sizes | self.settings).items()]
        return f"OnPolicy({', '.join(shown)})"


def _ends(given: Any) -> Any:
    """Return the tokens that end a text as a tuple; None and "model" as they are."""
    if given is None or given == "model":
        return given
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    advice = "it is a token's id, several, 'model', or None for texts without an end"
    return tuple(integer("eos_token_id", each, 0, advice) for each in several)


def _first(name: str, data: Any) -> Mapping[str, Any]:
    """Return the first example of prompts or texts; refuse data that is none of texts."""
    if not is_map_style(data) or isinstance(data, (Mapping, str)):
        raise DataError(
            f"`{name}` must be a list or data set of dicts with `input_ids` (with __len__ and "
            f"__getitem__), got {type(data).__name__}; give a loader's data set, and `batch_size` "
            "to distill"
        )
    if len(data) == 0:
        raise DataError(f"`{name}` must have at least one text, got none; fill it")
    first = load(data, 0)
    if not isinstance(first, Mapping) or "input_ids" not in first:
        raise DataError(
            f"`{name}` must have dicts with `input_ids`, got {describe(first)}; tokenise the texts"
        )
    return first


Write = Callable[[Batch, int], Batch]
"""Callable: (a batch of prompts, a seed) → the batch of texts that begin with them."""

_GOLDEN = 0.6180339887498949
_NOTHING = {"texts": 0.0, "tokens": 0.0, "seconds": 0.0}


class OnPolicySource(Source):
    """The batches of `OnPolicy`.

    Batch k of the run is written if (u + k·φ) mod 1 is less than the share at that moment, with φ
    the golden ratio and u from the seed: so any stretch of batches has very nearly the share that
    it should, which separate draws would not.

    Args:
        name: Of the data, for messages.
        policy: What the user gave.
        batch_size: Over all processes.
        seed: Of the order, of which batches are written, and of their tokens; None for the data's
            own order.
        shard: The part of this process.

    Attributes:
        epochs: Of the whole run, for the schedule of the share; 1 until a run sets it.
        write: What the student writes; None until a run sets it.
    """

    epochs_are_alike = False  # one may have no given text, and so no label

    epochs: float = 1
    write: Write | None = None

    def __init__(
        self, name: str, policy: OnPolicy, batch_size: int, seed: int | None, shard: Shard
    ) -> None:
        self.name, self.policy, self.seed, self.shard = name, policy, seed or 0, shard

        def source(data: Any) -> SetSource:
            return SetSource(name, data, Order(len(data), batch_size, seed), shard)

        self.prompts = source(policy.prompts)
        self.texts = None if policy.given is None else source(policy.given)
        self._written = dict(_NOTHING)

    def __len__(self) -> int:
        return len(self.prompts)

    def epoch(self, number: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches; those of prompts are written when they are due."""
        if self.write is None:
            raise DataError(
                f"tl.OnPolicy is data for `train` of distill alone, where a student writes, got it "
                f"as `{self.name}`; give texts"
            )
        if start == 0:
            self._written = dict(_NOTHING)
        places = range(start, len(self))
        written = [place for place in places if self.is_written(number, place)]
        prompts, texts = self.prompts.chosen(number, written), self._given(number, start)
        for place in places:
            if not self.is_written(number, place):
                yield next(texts)
                continue
            batch = next(prompts)
            rank = 0 if batch.replicas > 1 else self.shard.rank  # copies are the same texts
            seed = mixed_seed(mixed_seed(mixed_seed(self.seed, number), place), rank)
            began = time.monotonic()
            batch = self.write(batch, seed)
            tokens = 0 if batch.row_mask is None else int(batch.row_mask.sum())
            self._written["seconds"] += time.monotonic() - began
            self._written["texts"] += len(batch) / batch.replicas
            self._written["tokens"] += tokens / batch.replicas
            yield batch

    def is_written(self, epoch: int, place: int) -> bool:
        """Tell whether the student writes a batch."""
        progress = (epoch + place / len(self)) / self.epochs
        number = epoch * len(self) + place
        threshold = (mixed_seed(self.seed, 0) / 2**63 + number * _GOLDEN) % 1
        return threshold < self.policy.share(min(progress, 1.0))

    def _given(self, number: int, start: int) -> Iterator[Batch]:
        """Yield the given texts of an epoch's batches from `start` on.

        Batch k of all epochs is batch k of the given texts, so that an epoch over one data set has
        each of its examples once, as a prompt or as a text.
        """
        if self.texts is None:
            return
        whole, every = len(self), len(self.texts)
        wanted = [place for place in range(start, whole) if not self.is_written(number, place)]
        places = [divmod(number * whole + place, every) for place in wanted]
        for epoch, several in groupby(places, key=lambda each: each[0]):
            yield from self.texts.chosen(epoch, [place for _, place in several])

    def state(self) -> dict[str, float]:
        """Return what was written in this epoch, as the average over processes.

        So the sums stay right when a run resumes with another number of them.
        """
        every = [self._written] * self.shard.world_size
        if self.shard.world_size > 1:
            torch.distributed.all_gather_object(every, self._written)
        return {name: sum(each[name] for each in every) / len(every) for name in self._written}

    def load(self, state: dict[str, Any]) -> None:
        """Restore these numbers."""
        self._written = dict(state)

    def record(self) -> dict[str, float]:
        """Return how many texts and tokens were written in the epoch, and in which time."""
        found = self.state()
        found |= {name: self.shard.world_size * found[name] for name in ("texts", "tokens")}
        return {f"written/{name}": each for name, each in found.items()}

    @property
    def description(self) -> dict[str, Any]:
        """The sizes of the data and the settings."""
        given = {} if self.policy.texts is None else {"texts": len(self.policy.texts)}
        return self.prompts.description | given | {"on_policy": self.policy.settings}
