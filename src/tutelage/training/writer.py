"""The student as a writer: texts that it generates from prompts, as a batch to learn from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from tutelage.data import OnPolicy, randomness
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.labels import UNLABELLED
from tutelage.layers import evaluating
from tutelage.layers.language import is_causal
from tutelage.layers.wrapper import unwrapped
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.signals import Batch

_SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM)
_TABLE = 2  # dimensions of [batch, tokens]


class Writer:
    """Generates texts from prompts: (prompts, seed) → a batch in which what is written is learned.

    The student is in eval mode meanwhile, and without gradients; modes, random states and the
    student's generation settings are as before afterwards.

    Args:
        student: A causal language model of transformers.
        policy: How is sampled.
        accelerator: Where, and in which precision, the student runs.

    Raises:
        ArgumentError: No token that ends a text is known.
        ModelError: The student is no such model.
    """

    def __init__(self, student: nn.Module, policy: OnPolicy, accelerator: Accelerator) -> None:
        self.model: Any = unwrapped(student)
        self.policy, self.accelerator = policy, accelerator
        if not is_causal(self.model) or not callable(getattr(self.model, "generate", None)):
            raise ModelError(
                "a student that writes texts (tl.OnPolicy) must be a causal language model of "
                f"transformers, with `generate`, got {type(self.model).__name__}; give one, such "
                "as AutoModelForCausalLM makes, or given texts as `train`"
            )
        config: Any = getattr(self.model, "config", None)
        config = config.get_text_config() if hasattr(config, "get_text_config") else config
        self.context = getattr(config, "max_position_embeddings", None)
        self.ends = _ends(self.model, policy, getattr(config, "vocab_size", None))

    def __call__(self, prompts: Batch, seed: int) -> Batch:
        """Return the texts, `[batch, tokens]`, padded behind, without labels.

        Raises:
            DataError: A prompt has no token, or leaves no room for what is written.
        """
        ids, mask = _prompts(prompts)
        if self.context is not None and ids.shape[1] + self.policy.max_new_tokens > self.context:
            raise DataError(
                f"prompts and `max_new_tokens` must be at most {self.context} tokens together, for "
                f"which the student has positions, got a prompt of {ids.shape[1]} and "
                f"{self.policy.max_new_tokens}; cut prompts off, or write fewer tokens"
            )
        ids, mask = ids.to(self.accelerator.device), mask.to(self.accelerator.device)
        written = self._generated(ids, mask, seed)
        own = torch.ones_like(written, dtype=torch.bool)
        if self.ends:
            is_end = torch.isin(written, written.new_tensor(self.ends))
            own = is_end.cumsum(1) - is_end.long() == 0  # to the first end, and with it
        learned = torch.cat([torch.zeros_like(mask), own], dim=1)
        mask, ids, learned = _gathered(
            torch.cat([mask, own], dim=1), torch.cat([ids, written], dim=1), learned
        )
        return replace(
            prompts,
            inputs={"input_ids": ids, "attention_mask": mask.long()},
            labels=torch.full_like(ids, UNLABELLED),
            row_mask=learned.bool(),
            index=None,  # of the prompt, and not of this text
            written=True,
        )

    def _generated(self, ids: Tensor, mask: Tensor, seed: int) -> Tensor:
        """Return what is written, `[batch, tokens]`; behind an end it has no meaning."""
        with (
            evaluating(self.model),
            torch.no_grad(),
            randomness.preserved(),
            self.accelerator.autocast(),
            _settings(self.model, self.policy, self.ends),
        ):
            randomness.seed_everything(seed)
            found = self.model.generate(input_ids=ids, attention_mask=mask.long())
        return found[:, ids.shape[1] :]


def check_on_policy(policy: OnPolicy, objective: Objective, accelerator: Accelerator) -> None:
    """Refuse an objective that learns nothing from texts that the student writes.

    Raises:
        ArgumentError: It does not, or weights are sharded.
    """
    terms = [term.objective for term in objective.terms()]
    own = any(each.wants.student.loss for each in terms)  # which reads labels
    if own or not any(each.wants.teacher and not each.wants.labels for each in terms):
        raise ArgumentError(
            "texts that the student writes (tl.OnPolicy) have no labels, and must be judged by a "
            f"teacher, got the objective {objective}; add one without labels, such as "
            "tl.ReverseKL()"
        )
    if policy.is_all_written and any(each.wants.labels for each in terms):
        raise ArgumentError(
            f"{objective} learns from labels, and with share=1 all texts are written by the "
            "student and have none (tl.OnPolicy); lower the share, or leave them out"
        )
    if accelerator.distributed_type in _SHARDED:
        raise ArgumentError(
            "a student that writes texts (tl.OnPolicy) must be whole in each process, got "
            f"{accelerator.distributed_type.value}; train with DDP (torchrun)"
        )


def _ends(model: Any, policy: OnPolicy, vocabulary: int | None) -> tuple[int, ...]:
    """Return the tokens that end a text; none if the user says so."""
    found: Any = policy.eos_token_id
    if found is None:
        return ()
    if found == "model":
        settings = getattr(model, "generation_config", None)
        found = getattr(settings, "eos_token_id", None)
        found = getattr(model.config, "eos_token_id", None) if found is None else found
    found = [found] if isinstance(found, int) else list(found or ())
    least = 0 if vocabulary is None else min(found, default=vocabulary) - vocabulary + 1
    if not found or least > 0:
        raise ArgumentError(
            "the token that ends a text must be known, and one of the "
            f"{vocabulary or 'vocabulary'} tokens, got {found or 'none'} as `eos_token_id`; give "
            "OnPolicy(eos_token_id=tokenizer.eos_token_id), or None for texts without an end"
        )
    return tuple(found)


def _prompts(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the tokens of prompts, padded in front, and which are no padding."""
    inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {}
    ids: Any = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != _TABLE:
        raise DataError(
            "`prompts` must have `input_ids`, the tokens of each, in a dict, got "
            f"{describe(batch.inputs)}; tokenise them"
        )
    others = sorted(map(str, set(inputs) - {"input_ids", "attention_mask"}))
    if others:
        raise DataError(
            "`prompts` must have `input_ids`, and perhaps `attention_mask` and labels, got "
            f"{others} too; leave that out: what belongs to each token is not known of those that "
            "are written"
        )
    mask: Any = inputs.get("attention_mask", torch.ones_like(ids))
    labels = batch.labels if batch.row_mask is None else batch.row_mask
    for name, each in {"attention_mask": mask, "labels": labels}.items():
        if each is not None and getattr(each, "shape", None) != ids.shape:
            raise DataError(
                f"`{name}` of prompts must be that of their tokens, {list(ids.shape)}, got "
                f"{describe(each)}; align it with `input_ids`"
            )
    if bool((mask > 1).any()):
        raise DataError(
            "`prompts` must be one text each, got a numbered `attention_mask` of packed rows; "
            "give each text alone"
        )
    mask = mask.bool()
    if labels is not None:
        learned = labels.bool() if batch.row_mask is not None else labels != UNLABELLED
        mask = mask & ((learned & mask).cumsum(1) == 0)
    lengths = mask.sum(1)
    if not bool(lengths.all()):
        place = int((lengths == 0).nonzero()[0])
        which = "" if batch.index is None else f" (example {int(batch.index[place])})"
        raise DataError(
            f"`prompts` must have a token before the first learned one, got one without{which}; "
            "let it begin with the token that begins texts, with label −100"
        )
    mask, ids = (each.flip(1) for each in _gathered(mask.flip(1), ids.flip(1)))
    return ids, mask


def _gathered(mask: Tensor, *values: Tensor) -> list[Tensor]:
    """Return a mask and values with all that the mask excludes moved to the end, cut off or 0."""
    order = mask.long().argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(mask.sum(1).max())]
    mask = mask.gather(1, order)
    return [mask, *(each.gather(1, order).where(mask, 0) for each in values)]


@contextmanager
def _settings(model: nn.Module, policy: OnPolicy, ends: tuple[int, ...]) -> Iterator[None]:
    """Let a model generate by these settings alone; afterwards its own are restored.

    What is given to `generate` would be completed by the model's own settings, such as a penalty
    for repetition, and its texts were then no samples of what it computes.
    """
    from transformers import GenerationConfig  # noqa: PLC0415 - an extra

    own = GenerationConfig(
        do_sample=True,
        max_new_tokens=policy.max_new_tokens,
        temperature=policy.temperature,
        top_k=policy.top_k or 0,
        top_p=policy.top_p,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
        use_cache=True,
    )
    name = "generation_config"
    holders = [each for each in model.modules() if name in vars(each)]
    before = [getattr(each, name) for each in holders]
    try:
        for each in holders:
            setattr(each, name, own)
        yield
    finally:
        for each, settings in zip(holders, before, strict=True):
            setattr(each, name, settings)
