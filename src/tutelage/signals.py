"""The values that pass between data, models and objectives.

A `Batch` has the examples, which are the same for teacher and student. `Signals` are what a model
computes from it: its output and the features of layers, by path; which of them are required, an
objective's `Wants` say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tutelage.aligned import AlignedTargets
from tutelage.coarse import CoarseLogits
from tutelage.errors import DataError, ModelError
from tutelage.heads import HeadLogits
from tutelage.labels import Mixture, by_example, is_known, known_at
from tutelage.nested import (
    PerExample,
    batch_size,
    describe,
    index_inputs,
    index_rows,
    split_batch,
    to_device,
)
from tutelage.rows import Rows


class IndexedExample(NamedTuple):
    """An example, or a batch of one view, with its index in the data set; see `data.Indexed`."""

    example: Any
    index: Any
    view: Any


@dataclass(frozen=True, slots=True)
class Batch:
    """Examples for both teacher and student.

    Args:
        inputs: The models' inputs: a tensor (`model(x)`), a tuple or list
            (`model(*x)`) or a dict (`model(**x)`). The first dimension of each tensor is `batch`.
            A list of strings, or a `data.PerExample` of images of different sizes, is one argument,
            with one item per example.
        labels: `[batch]` class ids (−100: no label), values `[batch]` or `[batch, outputs]` (NaN:
            no label), or binary labels `[batch, labels]` (integers with −100, or floats with NaN);
            with positions behind `batch` where an example has several answers, such as
            `[batch, tokens]` or `[batch, height, width]`; None where the data has none. For
            `OwnLoss` any other targets: a list with one item per example, such as a dict of boxes,
            or a dict of tensors `[batch, …]`.
        index: `[batch]` position of each example in its data set, where known.
        domain: The domain of each example (a tensor or a list of names), where known.
        progress: Fraction of training that is done, in [0, 1], for schedules.
        replicas: How many processes have the same examples (if there are fewer examples than
            processes); in sums over all processes each example has weight 1/replicas. Infinite
            in a process that has no batch of its own for a step.
        mixture: The second class label, if each example is mixed from two.
        view: The number of the inputs' view (see `data.Views`); 0 without views.
        row_mask: Which positions of each example have an answer, `[batch, …]` of bool; None where
            labels and padding decide (see `tutelage.positions.flatten_rows`).
        rows: The rows of the output, for an objective that compares rows: labels are then those
            of rows, `[rows, …]`.
        tokens: Which tokens are not padding, `[batch, tokens]` of bool, where the inputs have
            no mask, since a model makes its tokens itself (see `Signals`).
        next_tokens: Whether labels and `row_mask` are those of the next token at each position, as
            a causal language model predicts it (see `tutelage.layers.language`).
        aligned_labels: The labels as the data has them, where `next_tokens` is true: a model's own
            loss shifts them itself.
        written: Whether a student has written the texts itself (`data.OnPolicy`): they may have
            tokens that its teacher cannot read.
    """

    inputs: Any
    labels: Any = None
    index: Tensor | None = None
    domain: Tensor | Sequence[str] | None = None
    progress: float = 0.0
    replicas: float = 1
    mixture: Mixture | None = None
    view: int = 0
    row_mask: Tensor | None = None
    rows: Rows | None = None
    tokens: Tensor | None = None
    next_tokens: bool = False
    aligned_labels: Tensor | None = None
    written: bool = False

    @classmethod
    def of(cls, raw: object, progress: float = 0.0) -> Batch:
        """Convert what a data loader yields.

        Args:
            raw: A tensor or a list of strings (inputs alone); a tuple or list `(x,)`,
                `(x, labels)` or, for models of several inputs, `((x1, x2), labels)`, of which
                further parts are not used; a `DomainExample`; a dict of inputs, with labels under
                `labels`, `label`, `targets`, `target` or `y` (the first of these), and optional
                `domain` and `row_mask` (or a mask of tokens by another name, see the docs of
                language models); a `Batch`; or an `IndexedExample` of any of these. Arrays
                may replace tensors. Labels that are a list of dicts or tensors, one per example,
                stay a list; a list or tuple of tensors beside it becomes `PerExample`.
            progress: See `Batch`.

        Raises:
            DataError: `raw` has another form.

        >>> Batch.of((torch.zeros(2, 3), torch.tensor([0, 1]))).labels
        tensor([0, 1])
        >>> len(Batch.of(((torch.zeros(2, 3), torch.ones(2, 4)), torch.tensor([0, 1]))).inputs)
        2
        """
        if isinstance(raw, Batch):
            return replace(raw, progress=progress)
        if isinstance(raw, IndexedExample):
            view = _one_view(raw.view)
            return replace(cls.of(raw.example, progress), index=raw.index, view=view)
        inputs, labels, domain, row_mask = split_batch(raw)
        return cls(inputs, labels, None, domain, progress, row_mask=row_mask)

    def __len__(self) -> int:
        top = self.inputs.values() if isinstance(self.inputs, Mapping) else self.inputs
        if isinstance(top, (Tensor, str, bytes, PerExample)):
            return len(top)
        # A tensor without dimensions is for the whole batch.
        top = next((each for each in top if isinstance(each, Tensor) and each.ndim), None)
        labels = None if isinstance(self.labels, Mapping) else self.labels
        known = next((each for each in (top, labels, self.index) if each is not None), None)
        length = batch_size(self.inputs) if known is None else len(known)
        if length is None:
            raise DataError(
                "the inputs of a batch must have a tensor, an array or a list with one item per "
                f"example, got {describe(self.inputs)}; make the data set or its collate function "
                "return such"
            )
        return length

    def __getitem__(self, rows: slice | Tensor) -> Batch:
        """Return some of the examples, by a slice, positions or a mask.

        Raises:
            DataError: A part of the inputs or of a dict of targets cannot be split by example.
        """
        labels, length = self.labels, len(self)
        if labels is not None:
            nested = isinstance(labels, Mapping)
            labels = index_inputs(labels, rows, length) if nested else index_rows(labels, rows)
        optional = ("index", "mixture", "row_mask", "tokens", "aligned_labels")
        others: Any = ((name, getattr(self, name)) for name in optional)
        return replace(
            self,
            inputs=index_inputs(self.inputs, rows, length),
            labels=labels,
            domain=None if self.domain is None else index_rows(self.domain, rows),
            **{name: value[rows] for name, value in others if value is not None},
        )

    def labelled(self) -> Tensor:
        """Return which examples have a label, `[batch]` of bool; one known value is enough.

        With labels of rows it is which rows have one, `[rows]`. Of an example that is mixed from
        two, both labels must be known.

        Raises:
            DataError: The batch has no labels at all, or targets that are no tensor.
        """
        if not isinstance(self.labels, Tensor):
            raise DataError(
                "a batch must have a tensor of labels to tell which of them are known, got "
                f"{'none' if self.labels is None else describe(self.labels)}; give some, "
                "as a tensor, which the collate function makes"
            )
        found = is_known(self.labels)
        if self.row_mask is not None and self.rows is None:
            placed = known_at(self.labels, self.row_mask.shape)
            found = found if placed is None else placed & self.row_mask
        found = by_example(found)
        return found if self.mixture is None else self.mixture.known(found)

    def token_mask(self) -> Tensor | None:
        """Return which tokens are not padding, `[batch, tokens]` of bool; None where unknown.

        It is the input `attention_mask`, as tokenizers make it, or `tokens`. Rows have no padding.
        """
        mask = self.tokens
        if isinstance(self.inputs, Mapping) and "attention_mask" in self.inputs:
            mask = self.inputs["attention_mask"]
        if self.rows is not None or not (isinstance(mask, Tensor) and mask.ndim == 2):  # noqa: PLR2004
            return None
        return mask.bool()

    def output_token_mask(self) -> Tensor | None:
        """Return which tokens of the output are not padding: of a decoder's, its own tokens."""
        if not isinstance(self.inputs, Mapping) or "decoder_input_ids" not in self.inputs:
            return self.token_mask()
        mask = self.inputs.get("decoder_attention_mask")
        return mask.bool() if isinstance(mask, Tensor) else None

    def to(self, device: torch.device, progress: float | None = None) -> Batch:
        """Return the batch with its tensors on `device` and, if given, another `progress`."""
        changed: dict[str, Any] = {}
        for name in ("inputs", "labels", "index", "domain", "row_mask", "tokens", "aligned_labels"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, Tensor) and value.device == device):
                changed[name] = to_device(value, device)
        for name in ("mixture", "rows"):
            if (value := getattr(self, name)) is not None:
                changed[name] = value.to(device)
        if progress is not None:
            changed["progress"] = progress
        return replace(self, **changed)


@dataclass(frozen=True, slots=True)
class Signals:
    """What a model computes from a batch.

    Args:
        output: Class logits `[batch, classes]`, logits of binary labels `[batch, labels]`, values
            `[batch, outputs]` or an embedding `[batch, d]`; `CoarseLogits` of a teacher that knows
            some of the classes; `HeadLogits`, from which class logits are computed for some rows at
            a time; `AlignedTargets` of a teacher with another tokenizer; None if not required. Of a
            model with several answers an example, `[rows, …]`.
        features: By layer path, such as `"layer3"`, a layer's output or input: `[batch, d]`,
            `[batch, tokens, d]`, `[batch, channels, height, width]`.
        rows: Which positions of the examples are the output's rows; None where each example has
            one answer.
        losses: The student's own loss, `[batch]`, under `"loss"`, and its parts by name.
        predictions: In place of an output, a list with one dict per example, as of detectors.
        tokens: Which tokens of its inputs are no padding, `[batch, tokens]` of bool, of a model
            that makes them itself from texts (`tutelage.layers.Prepared`).
    """

    output: Tensor | CoarseLogits | HeadLogits | AlignedTargets | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    rows: Rows | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    predictions: Sequence[Any] | None = None
    tokens: Tensor | None = None

    @property
    def logits(self) -> Tensor:
        """Return the output, which the objective's `wants` require, of all classes.

        Raises:
            DataError: `wants` do not require it.
            ModelError: It has some of the classes only, or logits that are not computed.
        """
        if isinstance(self.output, Tensor):
            return self.output
        _ = self.targets  # which raises for other reasons
        raise ModelError(
            "this objective needs all classes of the teacher, got CoarseLogits, which have some of "
            "them; use SoftTargets, which learns from these too, or a teacher that knows all "
            "classes"
        )

    @property
    def targets(self) -> Tensor | CoarseLogits:
        """Return the output, which the objective's `wants` require, of all classes or of some.

        Raises:
            DataError: `wants` do not require it.
            ModelError: The model returns no tensor, as detectors do, or it is `HeadLogits` or
                `AlignedTargets`.
        """
        if isinstance(self.output, (Tensor, CoarseLogits)):
            return self.output
        if self.output is None and self.predictions is not None:
            raise ModelError(
                "a model whose output is compared must return a tensor [batch, …], got "
                f"{describe(self.predictions)}; use tl.OwnLoss and objectives on layers, such as "
                "FeatureMatch, or choose an output by tl.layers.Output"
            )
        if self.output is None:
            raise DataError(
                "an objective reads an output that its `wants` do not contain; add it to `wants`"
            )
        if isinstance(self.output, HeadLogits):
            raise ModelError(
                "an objective that is not `rowwise` needs the logits of all rows at once, got "
                "HeadLogits; let the model return logits, or, if a row's value depends on nothing "
                "but that row, set `rowwise = True` in its class"
            )
        if isinstance(self.output, AlignedTargets):
            raise ModelError(
                "the output of a teacher with another tokenizer (Retokenized) is about spans of "
                "tokens, which can be neither compared token by token nor combined or stored; "
                "learn from it by tl.AlignedKL or tl.ALM"
            )
        raise ModelError(f"an output must be logits or values, got {describe(self.output)}")

    @property
    def dense_or_none(self) -> Tensor | None:
        """Return the output if it exists and has all classes; None otherwise."""
        return self.output if isinstance(self.output, Tensor) else None

    def to(self, device: torch.device) -> Signals:
        """Return the same on `device`."""
        output = self.output
        if isinstance(output, (CoarseLogits, HeadLogits, AlignedTargets)):
            output = output.to(device)
        rows = None if self.rows is None else self.rows.to(device)
        features, losses = to_device(self.features, device), to_device(self.losses, device)
        predictions = to_device(self.predictions, device)
        tokens = to_device(self.tokens, device)
        return Signals(to_device(output, device), features, rows, losses, predictions, tokens)

    def feature(self, path: str) -> Tensor:
        """Return the feature at a layer path, which the objective's `wants` require.

        Raises:
            DataError: `wants` do not require it.
        """
        if path not in self.features:
            raise DataError(
                f"an objective reads the feature {path!r}, which its `wants` do not contain, got "
                f"{sorted(self.features)}; add it to `wants`"
            )
        return self.features[path]


def _one_view(view: Any) -> int:
    """Return the view of a batch; refuse a batch of several views."""
    views = torch.as_tensor(view).reshape(-1)
    if not bool((views == views[0]).all()):
        raise DataError(
            f"the examples of a batch must be of one view, got views "
            f"{sorted(set(views.tolist()))}; call set_view between batches, not while they load"
        )
    return int(views[0])
