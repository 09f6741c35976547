"""Wrappers that make another output of what a model returns: a part, words, or values in units."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage.errors import ArgumentError, ModelError
from tutelage.layers.observe import output_of
from tutelage.layers.wrapper import Wrapper
from tutelage.nested import describe

Pool = Literal["first", "mean"]


class Output(Wrapper):
    """A model whose output is one part of what it returns, such as an encoder's hidden states.

    It is for models that return no `logits`, such as those of transformers without a head. The
    wrapper shares the model's layers, parameters and buffers under the same names, so layer paths
    and the keys of `state_dict` do not change. Other attributes, such as `config` and
    `save_pretrained`, are the model's.

    Args:
        model: Any module.
        output: The name of the part (a key or an attribute), its position in a tuple, or a function
            of what the model returns that returns a tensor `[batch, …]`.

    >>> import torch
    >>> class Encoder(nn.Linear):
    ...     def forward(self, x):
    ...         return {"hidden": super().forward(x)}
    >>> encoder = Output(Encoder(3, 2), "hidden")
    >>> encoder(torch.zeros(4, 3)).shape, list(encoder.state_dict())
    (torch.Size([4, 2]), ['weight', 'bias'])
    """

    def __init__(self, model: nn.Module, output: str | int | Callable[[Any], Tensor]) -> None:
        super().__init__(model)
        self.output = output

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the chosen part of what the model returns."""
        return self.chosen(self.wrapped(*args, **kwargs))

    def chosen(self, result: Any) -> Tensor:
        """Return the chosen part of what the model returned.

        Raises:
            ModelError: It does not have this part.
        """
        output = self.output
        if callable(output):
            return output(result)
        try:
            if isinstance(output, str) and not isinstance(result, Mapping):
                return getattr(result, output)
            if isinstance(result, Tensor):  # its position would be an example, not a part
                raise TypeError(output)
            return result[output]
        except (AttributeError, KeyError, IndexError, TypeError) as error:
            raise ModelError(
                f"the model ({type(self.wrapped).__name__}) must return something with the part "
                f"{output!r}, got {describe(result)}; choose one of its parts"
            ) from error

    def extra_repr(self) -> str:
        """Return which part is the output."""
        return f"output={self.output!r}"


class ByWord(Wrapper):
    """A token classifier whose output is `[batch, words, classes]`.

    A teacher and a student of different tokenizers then answer for the same words, and labels and
    `row_mask` are `[batch, words]`. The wrapper shares the model's layers and parameters under the
    same names.

    A word without a token, such as one of a text that was cut off, has an output of NaN, so that
    it cannot be learnt from in silence: leave it out by a label of −100 or by `row_mask`.

    Args:
        model: A module called with keywords, whose output is `[batch, tokens, classes]`.
        words: The key of the batch's inputs that holds the word of each token, `[batch, tokens]`
            of integers from 0; below 0 for a token of no word. It is not given to the model.
        pool: `"first"` for the output of a word's first token, as taggers are usually trained, or
            `"mean"` for the mean over its tokens.
        inputs: Which key of the batch's inputs each argument of the model is, such as
            `{"input_ids": "teacher_ids"}`; None to give it all but `words`, as they are.

    Raises:
        ArgumentError: `pool` is neither.

    >>> class Tagger(nn.Embedding):
    ...     def forward(self, ids):
    ...         return super().forward(ids)
    >>> tagger = ByWord(Tagger(5, 3), "words")
    >>> ids, words = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[-1, 0, 0, 1]])
    >>> output = tagger(ids=ids, words=words)
    >>> output.shape, torch.equal(output[0], tagger.weight[[2, 4]])
    (torch.Size([1, 2, 3]), True)
    """

    def __init__(
        self,
        model: nn.Module,
        words: str,
        pool: Pool = "first",
        inputs: Mapping[str, str] | None = None,
    ) -> None:
        if pool not in ("first", "mean"):
            raise ArgumentError(f"`pool` must be 'first' or 'mean', got {pool!r}; choose one")
        super().__init__(model)
        self.words = words
        self.pool: Pool = pool
        self.inputs = None if inputs is None else dict(inputs)

    def forward(self, **inputs: Any) -> Tensor:
        """Return the output for each word.

        Raises:
            ModelError: The model has no output for each token, or these have no words.
        """
        words: Tensor = inputs[self.words]
        keys = self.inputs or {key: key for key in inputs if key != self.words}
        arguments = {name: inputs[key] for name, key in keys.items()}
        logits = output_of(self.wrapped(**arguments), type(self.wrapped).__name__)
        if words.is_floating_point() or words.shape != logits.shape[:2] or logits.ndim != 3:  # noqa: PLR2004
            raise ModelError(
                "the model must have an output [batch, tokens, classes], and the inputs the word "
                f"of each of these tokens, got {describe(logits)} and {describe(words)}; let "
                f"{self.words!r} be made by the model's own tokenizer"
            )
        return of_words(logits, words, self.pool)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"words={self.words!r}, pool={self.pool!r}"


def of_words(tokens: Tensor, words: Tensor, pool: Pool = "first") -> Tensor:
    """Return `[batch, words, n]` for values of tokens; NaN for a word without a token.

    Args:
        tokens: `[batch, tokens, n]`.
        words: The word of each token, `[batch, tokens]`; below 0 for none.
        pool: The first of a word's tokens, or their mean.
    """
    count = int(words.amax()) + 1 if words.numel() else 0
    place = words.where(words >= 0, count).long()  # what belongs to no word goes past the last
    size = (len(words), count + 1)
    if pool == "first":
        position = torch.arange(words.shape[1], device=words.device).expand_as(words)
        last = torch.full(size, words.shape[1], device=words.device)
        first = last.scatter_reduce(1, place, position, "amin")[:, :count]
        exists = first < words.shape[1]
        chosen = first.where(exists, 0)[..., None].expand(-1, -1, tokens.shape[2])
        found = tokens.gather(1, chosen)
    else:
        index = place[..., None].expand_as(tokens)
        sums = tokens.new_zeros(*size, tokens.shape[2]).scatter_add(1, index, tokens)[:, :count]
        each = torch.zeros(size, device=words.device).scatter_add(
            1, place, torch.ones(words.shape, device=words.device)
        )[:, :count]
        exists = each > 0
        found = sums / each.clamp(min=1)[..., None].to(sums.dtype)
    return found.masked_fill(~exists[..., None], torch.nan)


class Rescaled(Wrapper):
    """A model whose output is `model(x) * deviation + mean`: values in the units of their labels.

    A new network gives outputs around 0 and of a size near 1; prices around 13,000 are out of its
    reach for thousands of steps. Here it learns standardised values, while outputs, labels,
    losses, metrics and exports are in the original units: only the optimisation is conditioned.
    The gradient of each output is divided by its deviation squared, so that the squared error has
    the gradients that it has between standardised values, whatever the units.

    `mean` and `deviation` are saved with the weights, as the buffers `target_mean` and
    `target_deviation`.

    Args:
        model: Its output is a tensor `[batch, outputs]`.
        mean: Of the labels, `[outputs]`.
        deviation: Of the labels, `[outputs]`, above 0.

    >>> net = nn.Linear(3, 1)
    >>> scaled = Rescaled(net, torch.tensor([200.0]), torch.tensor([50.0]))
    >>> x = torch.randn(4, 3)
    >>> torch.allclose(scaled(x), net(x) * 50 + 200)
    True
    """

    def __init__(self, model: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__(model)
        self.register_buffer("target_mean", torch.tensor(mean.tolist()))
        self.register_buffer("target_deviation", torch.tensor(deviation.tolist()))

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return the model's output in the units of the labels, as float32."""
        output = self.wrapped(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ModelError(
                f"a model of values must return a tensor [batch, outputs], got {describe(output)}; "
                "return that, or write standardize: false in the recipe"
            )
        mean, deviation = (self.get_buffer(f"target_{each}") for each in ("mean", "deviation"))
        value = output.float() * deviation + mean
        if not (self.training and torch.is_grad_enabled()):
            return value
        conditioned = output.float() / deviation
        return value.detach() + (conditioned - conditioned.detach())  # the difference is 0
