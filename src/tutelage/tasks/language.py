"""Language: the next token of a text; each token with a label is a row."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.labels import is_known
from tutelage.objectives import HardLabels, Objective, RowMean
from tutelage.rows import Rows
from tutelage.tasks.calibration import Calibration, binned
from tutelage.tasks.classes import Classes
from tutelage.tasks.metrics import CountedMetric, Metric, MetricOfCounts
from tutelage.tasks.outputs import Outputs
from tutelage.tasks.task import NO_SUMMARY, Summary, Task, Wording
from tutelage.tasks.token_scores import BATCH_OF_TEXTS, TokenScores, token_scores


class Language(Task):
    """Next tokens: `TokenScores` of rows are kept in place of logits over the vocabulary.

    They are also kept of other models whose logits are too many; these have no perplexity.
    """

    name = "language"
    label_metrics = ("perplexity", "accuracy")
    teacher_metrics = ("agreement", "kl", "acceptance_rate")
    means = ("accuracy", "agreement", "kl", "acceptance_rate")
    smooths = True
    keeps_scores = True
    generates = True
    batch_size = BATCH_OF_TEXTS
    timed_batch = 1
    fidelity_sample = 128
    words = Wording(
        calibration=(
            "By token. ECE, the expected calibration error, is the mean distance of the "
            "probability of the most probable token and the fraction of tokens that are that one, "
            "over 15 bins (Guo et al. 2017). NLL is the negative log-likelihood of the text's "
            "token, the logarithm of the perplexity. Lower is better for both."
        ),
        diagram=Classes.words.diagram,
        axes=Classes.words.axes,
        lesson=(
            "A text has one token at each place. A teacher also gives the probabilities of all "
            "others, from which a student can learn more than from the text."
        ),
        fidelity=(
            "Agreement is the fraction of tokens for which student and teacher predict the same "
            "token; KL is the divergence of the student's probabilities from the teacher's at "
            "T = 1, the mean over tokens."
        ),
        sample="128 texts",
        timed="An input is the beginning of a text, of at most {tokens} tokens.",
    )

    def default_objective(self, smoothing: float = 0.0) -> Objective:
        """Return the cross-entropy of tokens, which count alike as trainers usually have it."""
        return RowMean(HardLabels(smoothing))

    def metrics(self, outputs: Outputs) -> dict[str, float]:
        """Return `accuracy`, of language models `perplexity`, and `agreement` with a teacher."""
        found = self.found_means(("accuracy", "nll", "agreement"), outputs)
        nll = found.pop("nll", None)
        if nll is not None and outputs.language:
            found["perplexity"] = torch.tensor(nll, dtype=torch.float64).exp().item()  # perhaps ∞
        return found

    def fidelity(self, outputs: Outputs) -> dict[str, float]:
        """Return `kl` and `acceptance_rate`, the means over all tokens."""
        return self.found_means(("kl", "acceptance_rate"), outputs)

    def calibrate(self, outputs: Outputs, held_out: Outputs | None = None) -> Calibration | None:
        """Return the calibration by token; None without finite scores of labels."""
        pair = self._confidences(outputs)
        if pair is None or outputs.scores is None:
            return None
        nll = outputs.scores.column("nll")[is_known(outputs.labels)].mean().item()
        return Calibration(nll, binned(*pair).error)

    def summarize(self, seeds: Sequence[Outputs]) -> Summary:
        """Return the reliability of all seeds together."""
        pairs = [pair for pair in map(self._confidences, seeds) if pair is not None]
        if not pairs:
            return NO_SUMMARY
        confidence, correct = (torch.cat(each) for each in zip(*pairs, strict=True))
        return {**NO_SUMMARY, "reliability": binned(confidence, correct)}

    def note_on(self, metrics: Collection[str]) -> str:
        """Return what they are over."""
        return (
            "Metrics are over all tokens together, so that long texts weigh more; perplexity is "
            "exp of the mean of −log p."
        )

    def counted(self, metrics: Mapping[str, Metric]) -> dict[str, CountedMetric]:
        """Return the metrics of counts, by name: the perplexity, and the user's."""
        return super().counted({"perplexity": Perplexity(), **metrics})

    def pack(self, outputs: Outputs) -> Tensor | None:
        """Return the table of scores; without it the outputs, of a model without scores."""
        return super().pack(outputs) if outputs.scores is None else outputs.scores.table

    def unpack(self, kept: Tensor, known: Outputs) -> Outputs:
        """Return scores that were kept, with the labels of their rows."""
        if known.rows is None or len(known.rows) != len(kept):
            rows = None if known.rows is None else len(known.rows)
            raise ModelError(
                f"all models of a study must have one output for each of the {rows} tokens of the "
                f"data, got {len(kept)}; give language models of one kind"
            )
        scores = TokenScores(kept)
        return Outputs(
            None, None, known.labels, known.domains, known.rows, scores=scores, language=True
        )

    def row_values(self, name: str, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return what each token adds."""
        scores, labels = outputs.scores, outputs.labels
        if scores is None:
            return None
        if name in ("accuracy", "nll"):
            known = outputs.known
            if known is None or labels.ndim != 1 or labels.is_floating_point():
                return None
            values = scores.right(labels) if name == "accuracy" else scores.column("nll")
            return known.nonzero().ravel(), values[known]
        if name == "agreement":
            of_all = not bool(scores.column("teacher_predicted").isnan().any())
            return (torch.arange(len(scores)), scores.agree()) if of_all else None
        values = scores.column({"kl": "kl", "acceptance_rate": "accepted"}[name])
        return None if bool(values.isnan().all()) else (torch.arange(len(scores)), values)

    def _confidences(self, outputs: Outputs) -> tuple[Tensor, Tensor] | None:
        """Return the largest probability, and 1 where that class is right, of labelled tokens."""
        scores, labels = outputs.scores, outputs.labels
        if scores is None or not isinstance(labels, Tensor):
            return None
        known = is_known(labels)
        confidence, correct = scores.column("confidence")[known], scores.right(labels)[known]
        finite = len(correct) and bool((confidence + correct).isfinite().all())
        return (confidence, correct) if finite else None


class _Ratio(MetricOfCounts, ABC):
    """A metric of two sums over the tokens with a label, which are counted example by example."""

    higher_is_better = False
    reads_scores = True

    def counts(self, output: TokenScores | Tensor, labels: Tensor, rows: Rows | None) -> Tensor:
        """Return the two sums of each example, `[examples, 2]` in float64."""
        scores = token_scores(output, None, labels) if isinstance(output, Tensor) else output
        rows = Rows.single(len(scores)) if rows is None else rows
        nll = scores.column("nll")
        sums = nll.new_zeros(len(rows.counts)).index_add(0, rows.examples, nll)
        return torch.stack([sums, self._sizes(labels, rows)], dim=1)

    def by_class_of_counts(self, counts: Tensor) -> dict[int | str, Tensor]:
        """Return nothing: it is not told class by class."""
        return {}

    @abstractmethod
    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        """Return the second sum of each example, `[examples]` in float64."""


class Perplexity(_Ratio):
    """exp of the mean of −log p(token | those before) over all tokens with a label.

    A metric of runs and studies: `metrics={"perplexity": tl.evaluation.Perplexity()}`. Language
    models have it by that name anyway. Those of different tokenizers cannot be compared: see
    `BitsPerByte`. Intervals are over examples (texts), by the jackknife.

    >>> logits = torch.tensor([[0.9, 0.1], [0.4, 0.6]]).log()
    >>> one_text = Rows.counted(torch.tensor([2]))
    >>> round(Perplexity().of_rows(logits, torch.tensor([0, 0]), one_text), 4)
    1.6667
    """

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return exp(nats / tokens)."""
        return (counts[..., 0] / counts[..., 1]).exp()

    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        return rows.counts.double()


class BitsPerByte(_Ratio):
    """−Σ log2 p(token | those before) / Σ bytes of the text of these tokens.

    Unlike perplexity it can be compared between tokenizers, on equal texts. The tokens are those
    with a label, such as an answer without its prompt, and their bytes are those of the text that
    the tokenizer makes of them, without special tokens: of a tokenizer that loses something, such
    as upper case, these are not the bytes of the original text.

    Args:
        tokenizer: The model's own, or a function from a list of token ids to text.

    Raises:
        ArgumentError: It is neither.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not callable(tokenizer) and not callable(getattr(tokenizer, "decode", None)):
            raise ArgumentError(
                "`tokenizer` must have a method `decode`, or be a function from token ids to text, "
                f"got {type(tokenizer).__name__}; give the model's own tokenizer"
            )
        self.tokenizer = tokenizer

    def of_counts(self, counts: Tensor) -> Tensor:
        """Return nats / log 2 / bytes."""
        return counts[..., 0] / math.log(2) / counts[..., 1]

    def _sizes(self, labels: Tensor, rows: Rows) -> Tensor:
        texts = labels.split(rows.counts.tolist())
        sizes = [len(self._text(own.tolist()).encode()) for own in texts]
        if not any(sizes):
            raise DataError(
                "tokens with a label must have a text for bits per byte, got none that the "
                "tokenizer makes a text of; give the tokenizer of these texts"
            )
        return torch.tensor(sizes, dtype=torch.float64)

    def _text(self, ids: Sequence[int]) -> str:
        """Return the text of some tokens, as it was written."""
        decode = getattr(self.tokenizer, "decode", None)
        if not callable(decode):
            return str(self.tokenizer(ids))
        options = {"skip_special_tokens": True}
        if hasattr(self.tokenizer, "clean_up_tokenization_spaces"):
            options["clean_up_tokenization_spaces"] = False
        return str(decode(ids, **options))
