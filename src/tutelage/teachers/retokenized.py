"""A language model with another tokenizer than the student's, as a teacher."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.aligned import AlignedTargets, Cells
from tutelage.errors import ModelError
from tutelage.heads import HeadLogits, chunks_of_rows
from tutelage.layers.language import is_causal
from tutelage.layers.packing import within_texts
from tutelage.layers.wrapper import unwrapped
from tutelage.positions import rows_of
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.teachers._plan import Plan
from tutelage.teachers._spans import Vocabularies
from tutelage.teachers._teacher import Teacher
from tutelage.teachers._token_bytes import TokenBytes
from tutelage.teachers.live import Live
from tutelage.wants import Fields

_TOKENS = 3  # dimensions of [batch, tokens, classes]


class Retokenized(Teacher):
    """A causal language model that reads the student's texts with a tokenizer of its own.

    The data has the student's tokens, as without a teacher. For each batch their bytes are put
    together, the teacher's tokenizer splits the text in its own way, and both sequences are aligned
    by the bytes that their tokens cover: a span is a shortest sequence of tokens of both sides that
    begins and ends at the same bytes. Special tokens cover none; one in the middle or at the end of
    a text is aligned with its counterpart. `ALM` and `AlignedKL` learn from the spans, and no other
    objective does: tokens are never paired by their positions.

    A span counts where all of its tokens are learned by the student and predicted by both sides.
    Bytes that are not characters in UTF-8, as at the end of a text that was cut within one, are
    left out of the teacher's text, and their spans do not count. So are tokens and characters that
    the teacher cannot read, in texts that a student has written itself (`data.OnPolicy`).

    Args:
        teacher: A causal language model of transformers.
        tokenizer: Its tokenizer, a fast one of transformers: byte-level BPE, or as sentencepiece
            has it. It must keep every byte of a text.
        student_tokenizer: The student's, likewise.
        max_length: The teacher's longest text in tokens; what is beyond is not learned. None for
            its `max_position_embeddings`.
        special_tokens: From special tokens of the student to those of the teacher, or to None for
            none, where their names differ. Beginnings and ends of texts are known.

    Raises:
        ArgumentError: A tokenizer is of another kind, `special_tokens` are none of theirs, or the
            tokenizers have no string in common.
        ModelError: `teacher` is not a causal language model.
    """

    is_causal = True
    traceable = False

    def __init__(
        self,
        teacher: nn.Module,
        tokenizer: Any,
        student_tokenizer: Any,
        max_length: int | None = None,
        special_tokens: Mapping[str, str | None] | None = None,
    ) -> None:
        if not isinstance(teacher, nn.Module) or not is_causal(unwrapped(teacher)):
            raise ModelError(
                "`teacher` must be a causal language model of transformers, got "
                f"{type(teacher).__name__}; outputs that are stored or served are for one "
                "tokenizer's tokens, and those of other models are not about the next token"
            )
        self.members = (Live(teacher),)
        config = getattr(teacher, "config", None)
        longest = getattr(config, "max_position_embeddings", None)
        if max_length is not None:
            longest = integer("max_length", max_length, 2, "it counts tokens")
        self.max_length: int | None = longest
        self.special_tokens = dict(special_tokens or {})
        self.vocabularies = Vocabularies(
            TokenBytes("student_tokenizer", student_tokenizer),
            TokenBytes("tokenizer", tokenizer),
            self.special_tokens,
        )
        self._cells = self.vocabularies.cells

    def __repr__(self) -> str:
        known = self.vocabularies
        sizes = f"{len(known.student.table)} and {len(known.teacher.table)}"
        return f"Retokenized({known.cells.number} strings shared of {sizes} tokens)"

    @torch.no_grad()
    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the teacher's targets for the spans of the batch, at the student's rows.

        Raises:
            DataError: A text cannot be aligned, or has a special token without a counterpart.
            ModelError: The student is not a causal language model, or ids are not its tokenizer's.
        """
        if not fields.output:
            return Signals()
        if not batch.next_tokens:
            raise ModelError(
                "Retokenized is a teacher of causal language models, whose output is about the "
                "next token, got a student or data of another kind; give a student of "
                "transformers, and texts as dicts with its `input_ids`"
            )
        ids: Tensor = batch.inputs["input_ids"]
        rows = cast("Rows", rows_of(batch, _TOKENS))  # since the batch has tokens
        plan = self._plan(ids, within_texts(batch.inputs, ids), rows, not batch.written)
        output = self._output(plan, fields, ids.device)
        targets = _targets(plan, output, rows, ids.shape, self._cells.to(ids.device))
        return Signals(targets, rows=rows)

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse layers: their positions are those of other tokens."""
        if paths:
            raise ModelError(
                "layers of a teacher with another tokenizer are about other tokens than the "
                f"student's, got {sorted(paths)}; leave out objectives on layers"
            )

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Prepare the teacher, and move what is the same for all batches."""
        before, self._cells = self._cells, self._cells.to(device)
        try:
            with self.members[0].ready(device):
                yield
        finally:
            self._cells = before

    def fingerprint(self) -> str:
        """Return a hash of both tokenizers, and the teacher's fingerprint."""
        known = self.vocabularies
        settings = (self.max_length, sorted(self.special_tokens.items()), known.teacher.prefix)
        text = f"{known.student.file}{known.teacher.file}{settings}"
        hashed = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        return f"Retokenized({hashed}; {self.members[0].fingerprint()})"

    def _plan(self, ids: Tensor, within: Tensor, rows: Rows, strict: bool) -> Plan:
        """Align all texts of a batch."""
        size = len(self.vocabularies.student.table)
        tokens = ids.cpu().numpy()
        if strict and tokens.size and tokens.max() >= size:
            raise ModelError(
                f"the ids of texts must be of `student_tokenizer`, below {size}, got "
                f"{tokens.max()}; give the tokenizer that made them"
            )
        followed, learned = within.cpu().numpy(), rows.mask.expand(ids.shape).cpu().numpy()
        return Plan.of(self.vocabularies, tokens, followed, learned, self.max_length, strict)

    def _output(self, plan: Plan, fields: Fields, device: torch.device) -> Tensor | HeadLogits:
        """Return the teacher's logits at the plan's `places`, `[places, tokens]`."""
        if not len(plan.places):
            return torch.zeros(0, len(self.vocabularies.teacher.table), device=device)
        longest = max(map(len, plan.texts))
        ids = torch.tensor([each + [0] * (longest - len(each)) for each in plan.texts])
        lengths = torch.tensor(list(map(len, plan.texts)))
        mask = (torch.arange(longest) < lengths[:, None]).long()
        inputs = {"input_ids": ids.to(device), "attention_mask": mask.to(device)}
        wants = Fields(output=True, head_from=fields.head_from)
        output = self.members[0].signals(Batch(inputs), wants).output
        if not isinstance(output, (Tensor, HeadLogits)) or output.shape[:-1] != ids.shape:
            shape = list(getattr(output, "shape", ()))
            raise ModelError(
                f"the teacher must return logits for each of its tokens, {list(ids.shape)} and "
                f"its vocabulary, got {shape}; give a causal language model"
            )
        text, place = torch.from_numpy(plan.places).to(device).unbind(dim=1)
        if isinstance(output, HeadLogits):
            return output.changed(lambda hidden: hidden[text, place]).as_computed()
        return output[text, place]


def _targets(
    plan: Plan, output: Tensor | HeadLogits, rows: Rows, shape: torch.Size, cells: Cells
) -> AlignedTargets:
    """Return targets for the student's rows from the teacher's outputs at the plan's `places`."""
    device = output.device

    def tensor(values: NDArray[Any]) -> Tensor:
        return torch.from_numpy(values).to(device)

    found = _log_probabilities(output, tensor(plan.their_tokens))
    likelihood = found.new_zeros(len(plan.ends)).index_add(0, tensor(plan.their_spans), found)
    known = plan.shared >= 0
    by_position = torch.full((3, shape.numel()), -1, dtype=torch.int64, device=device)
    by_position[0] = 0
    by_position[:2, tensor(plan.positions)] = tensor(np.stack([plan.tokens, plan.spans]))
    by_position[2, tensor(plan.starts[known])] = torch.arange(int(known.sum()), device=device)
    by_row = [rows.of(each.view(shape)) for each in by_position]
    # The row of each position: how many are rows before it.
    row = rows.mask.expand(shape).flatten().cumsum(0) - 1
    return AlignedTargets(
        tokens=by_row[0],
        spans=by_row[1],
        shared=by_row[2],
        ends=row[tensor(plan.ends)],
        whole=tensor(plan.whole),
        likelihood=likelihood,
        logits=output[tensor(plan.shared[known])],
        cells=cells,
    )


def _log_probabilities(output: Tensor | HeadLogits, tokens: Tensor) -> Tensor:
    """Return log p(token) for each row of logits, `[rows]`, of some rows at a time."""
    found = [tokens.new_zeros(0, dtype=torch.float32)]
    for rows in chunks_of_rows((len(tokens), output.shape[-1]), output.device):
        logits = output[rows]
        logits = logits.logits() if isinstance(logits, HeadLogits) else logits
        logits = logits if logits.dtype == torch.float64 else logits.float()
        found.append(-F.cross_entropy(logits, tokens[rows], reduction="none"))
    return torch.cat(found[1:] or found)
