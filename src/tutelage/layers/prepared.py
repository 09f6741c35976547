"""Give a model its own preprocessing, of images or texts, so that it takes raw inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tutelage._checks import installed, integer, positive
from tutelage.errors import ArgumentError, DataError
from tutelage.layers.observe import arguments
from tutelage.layers.wrapper import Wrapper, unwrapped
from tutelage.nested import describe, to_device

Interpolation = Literal["nearest", "bilinear", "bicubic"]

WORDS = "words"
"""The key under which `TextInputs(words=True)` returns the word of each token."""
_LARGEST = 10.0  # a raw image lies in [0, 1]; mixed and noisy ones hardly leave it

Prepare = Callable[[Any], Any]
"""From a batch of raw inputs to the inputs of a model: a tensor, a tuple of them, or a dict."""


class Prepared(Wrapper):
    """A model that takes raw inputs: its forward pass is `model(prepare(raw))`.

    A teacher and a student that normalise, resize or tokenise differently can then be given the
    same batch. The wrapper shares the model's layers, parameters and buffers under the same names,
    so layer paths and the keys of `state_dict` do not change, and only the model's weights are
    moved and trained.

    Args:
        model: Any module.
        prepare: A function of a batch of raw inputs, or a module without parameters, such as
            `ImageInputs` or `TextInputs`. What it returns is moved to the model's device, and is
            given to the model as one argument, as several if it is a tuple or list, or as keywords
            if it is a dict.
        class_names: Names of the classes, in the order of the model's outputs, if they are known.

    Raises:
        ArgumentError: `prepare` has parameters.

    >>> import torch
    >>> model = Prepared(nn.Linear(3, 2), lambda raw: (raw - 0.5) / 0.5)
    >>> model(torch.zeros(4, 3)).shape, list(model.state_dict())
    (torch.Size([4, 2]), ['weight', 'bias'])
    """

    def __init__(
        self,
        model: nn.Module,
        prepare: Prepare,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        if isinstance(prepare, nn.Module) and next(prepare.parameters(), None) is not None:
            raise ArgumentError(
                f"`prepare` must have no parameters, got {type(prepare).__name__} with some; they "
                "would be neither trained nor saved, so make it a layer of the model"
            )
        super().__init__(model)
        # In a tuple, since a module would be part of every path.
        self.__dict__["_prepare"] = (prepare,)
        self.class_names = class_names

    @property
    def prepare(self) -> Prepare:
        """The function from raw inputs to the model's inputs."""
        return self.__dict__["_prepare"][0]

    def prepared(self, raw: Any) -> Any:
        """Return the model's inputs for a batch of raw inputs, on the model's device."""
        inputs = self.prepare(raw)
        weight = next(chain(self.wrapped.parameters(), self.wrapped.buffers()), None)
        return inputs if weight is None else to_device(inputs, weight.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the model returns for raw inputs, all by position or all by name."""
        if args and kwargs:
            raise DataError("raw inputs must be given all by position or all by name, got both")
        raw = kwargs or (args[0] if len(args) == 1 else args)
        positional, named = arguments(self.prepared(raw))
        return self.wrapped(*positional, **named)

    def extra_repr(self) -> str:
        """Return the preprocessing."""
        return f"prepare={self.prepare!r}"


class ImageInputs(nn.Module):
    """From raw images, `[batch, channels, height, width]` in [0, 1], to a model's inputs.

    The images are resized, cropped about their centre and normalised, (x·scale − mean) / std, by
    the functions of torchvision. It has no parameters or buffers, and can be exported with the
    model.

    Args:
        resize: `(height, width)`, or the length of the shorter edge; None to leave the size.
        crop: `(height, width)`, or the edge of a square; None to leave the image whole. A smaller
            image is padded by zeros.
        mean: Of each channel, or one for all.
        std: Of each channel, or one for all; positive.
        interpolation: `"nearest"`, or `"bilinear"` or `"bicubic"`, which are antialiased, as in
            PIL.
        scale: What the values are multiplied by, such as 255 for a model of bytes.

    Raises:
        ArgumentError: torchvision is not installed.

    >>> ImageInputs(resize=8, crop=6, mean=0.5, std=0.5)(torch.ones(2, 3, 10, 20)).shape
    torch.Size([2, 3, 6, 6])
    """

    def __init__(
        self,
        resize: int | Sequence[int] | None = None,
        crop: int | Sequence[int] | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        interpolation: Interpolation = "bilinear",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        installed("ImageInputs", "torchvision", "vision", ArgumentError)
        self.resize = None if resize is None else _several(resize)
        self.crop = None if crop is None else _several(crop)
        self.mean, self.std = _several(mean), _several(std)
        self.interpolation: Interpolation = interpolation
        for each in self.std:
            positive("std", each, "it is a standard deviation")
        self.scale = positive("scale", scale, "1 leaves the values as they are")

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's inputs.

        Raises:
            DataError: The images are not floats in [0, 1].
        """
        from torchvision.transforms import InterpolationMode, functional  # noqa: PLC0415 - slow

        self._check(images)
        if self.resize is not None:
            mode = "nearest-exact" if self.interpolation == "nearest" else self.interpolation
            size, mode = [*self.resize], InterpolationMode(mode)
            images = functional.resize(images, size, mode, antialias=True)
            if self.interpolation == "bicubic":  # overshoots at edges, as bytes cannot
                images = images.clamp(0, 1)
        if self.crop is not None:
            images = functional.center_crop(images, [*self.crop])
        mean, std = (images.new_tensor(each).view(1, -1, 1, 1) for each in (self.mean, self.std))
        return (images * self.scale - mean) / std

    def _check(self, images: Tensor) -> None:
        """Refuse bytes, which would be normalised to numbers that the model never saw."""
        # On a device, reading a value would wait for it; in a graph, it cannot be read.
        readable = images.device.type == "cpu" and not torch.compiler.is_compiling()
        largest = float(images.detach().amax()) if readable and images.numel() else 0.0
        if not images.is_floating_point() or largest > _LARGEST:
            raise DataError(
                f"raw images must be floats in [0, 1], got {describe(images)} with values up to "
                f"{largest:g}; divide bytes by 255, and leave normalisation to the model"
            )

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"resize={self.resize}, crop={self.crop}, mean={self.mean}, std={self.std}, "
            f"interpolation={self.interpolation!r}, scale={self.scale:g}"
        )


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,)


class TextInputs:
    """From a list of texts to a model's inputs: `input_ids`, `attention_mask` and so on.

    The texts of a batch are padded to the longest of them, and cut at `max_length` tokens.

    Args:
        tokenizer: A tokenizer of the library transformers; it is copied.
        max_length: Number of tokens after which a text is cut, with the special ones.
        words: Whether a text is a sequence of words with spaces between them, each of which has an
            output (`tl.layers.ByWord`). The inputs then have the key `"words"`: the word of each
            token, −1 for special tokens and padding. A text with more tokens than `max_length`
            is refused, since its last words would have no output.

    """

    def __init__(self, tokenizer: Any, max_length: int, words: bool = False) -> None:
        self.tokenizer: Any = copy.deepcopy(tokenizer)
        self.max_length = integer("max_length", max_length, 1, "it is a number of tokens")
        self.words = words
        # Where it was loaded from is not part of what it does.
        self.tokenizer.name_or_path = ""
        kept = getattr(self.tokenizer, "init_kwargs", {})
        for name in [
            name for name in kept if name.endswith(("_path", "_file", "local_files_only"))
        ]:
            del kept[name]
        # A fast tokenizer keeps the settings of its last call. With this one, its state, by which
        # runs are compared, is the same before the first batch and after it.
        self._tokens(["a"])

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Return the model's inputs, each `[batch, tokens]`.

        Raises:
            DataError: The texts are no list of str, or, with `words`, one is too long.
        """
        # A str would be texts of one letter, and pairs of texts would change places in a batch.
        listed = isinstance(texts, (list, tuple))
        if not listed or not all(isinstance(each, str) for each in texts):
            raise DataError(
                f"raw texts must be a list of str, got {describe(texts)}; let the data set yield "
                "one for each example"
            )
        tokens = self._tokens(list(texts))
        inputs = dict(tokens)
        if self.words:
            inputs[WORDS] = self._words(list(texts), tokens, inputs["input_ids"].shape[1])
        return inputs

    def _tokens(self, texts: list[str]) -> Any:
        return self.tokenizer(
            [each.split() for each in texts] if self.words else texts,
            is_split_into_words=self.words,
            padding=True,
            truncation=True,
            max_length=self.max_length,
            return_tensors="pt",
        )

    def _words(self, texts: list[str], tokens: Any, length: int) -> Tensor:
        """Return the word of each token, `[batch, tokens]`."""
        rows = []
        for place, text in enumerate(texts):
            ids = tokens.word_ids(place)
            row = [-1 if each is None else each for each in ids]
            if max(row, default=-1) + 1 < len(text.split()):
                raise DataError(
                    f"a text whose words have an output each must have at most {self.max_length} "
                    f"tokens, got one of {len(text.split())} words, {text[:40]!r}…; split it, or "
                    "raise `max_length`"
                )
            rows.append(row + [-1] * (length - len(row)))
        return torch.tensor(rows)

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files into a folder."""
        self.tokenizer.save_pretrained(folder)

    def __repr__(self) -> str:
        words = ", words=True" if self.words else ""
        return f"TextInputs({type(self.tokenizer).__name__}, max_length={self.max_length}{words})"


def tokenizer_of(model: nn.Module) -> Any:
    """Return the tokenizer of a model that makes tokens of texts itself and predicts tokens.

    None if it does not, or, as a classifier of texts, has outputs that are not about tokens.
    """
    predicts = getattr(unwrapped(model), "get_output_embeddings", None)
    if not callable(predicts) or predicts() is None:
        return None
    while isinstance(model, Wrapper):
        if isinstance(model, Prepared) and isinstance(model.prepare, TextInputs):
            return model.prepare.tokenizer
        model = model.wrapped
    return None
