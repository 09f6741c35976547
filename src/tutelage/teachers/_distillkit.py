"""Log-probabilities as DistillKit captures them: fitted by a polynomial, quantized and packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tutelage.errors import DataError

CONFIG = "compression_config.yaml"
_DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}
_SPECIAL = {"sqrt": torch.sqrt, "exp": torch.exp}
_MOST_BITS = 32
_LEGACY = ("packed_indices", "exact_values", "coeffs")
_COLUMNS = ("compressed_logprobs", "bytepacked_indices")
_RAW = ("top_values", "token_ids")


@dataclass(frozen=True)
class Compression:
    """How log-probabilities were compressed: the keys of DistillKit's `compression_config.yaml`.

    A row has the bytes of `exact_k` values, of a polynomial's coefficients, and for each of
    `residual_bins` of a scale and of as many integers, packed from the highest bit on. The sum of
    polynomial and residuals goes on where the exact values end; with `delta_encoding` all of them
    are differences, to be added up. Its ids are packed likewise, ⌈log2 d⌉ bits each.
    """

    d: int
    k: int
    exact_k: int
    exact_dtype: torch.dtype
    terms: tuple[int | str, ...]
    term_dtype: torch.dtype
    bins: tuple[tuple[torch.dtype, int, int], ...]
    delta: bool
    normalized: bool

    @classmethod
    def of(cls, given: Any, source: str) -> Compression:
        """Read the settings; `source` names them in errors.

        Raises:
            DataError: They are none of DistillKit, or contradict each other.
        """
        try:
            bins = tuple(
                (
                    _DTYPES[each["scale_dtype"]],
                    int(each["element_bits"]),
                    int(each["num_elements"]),
                )
                for each in given["residual_bins"]
            )
            found = cls(
                int(given["d"]),
                int(given["k"]),
                int(given["exact_k"]),
                _DTYPES[given.get("exact_dtype", "float32")],
                tuple(given.get("polynomial_terms") or ()),
                _DTYPES[given.get("term_dtype", "float32")],
                bins,
                bool(given.get("delta_encoding", True)),
                bool(given.get("normalize_t", False)),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{source} must have the settings of DistillKit's compression (d, k, exact_k, "
                f"residual_bins and so on), got {error!r}; copy the file that was written with the "
                "data, or the section `logprob_compressor` of its recipe"
            ) from error
        left = found.k - found.exact_k - sum(number for _, _, number in found.bins)
        fits = 0 <= found.exact_k <= found.k <= found.d and left >= 0
        bits = all(1 <= each <= _MOST_BITS and number > 0 for _, each, number in found.bins)
        terms = all(each in _SPECIAL or type(each) is int for each in found.terms)
        if not (fits and bits and terms and (found.exact_k == found.k or found.terms or bins)):
            raise DataError(
                f"{source} must describe k values of d tokens, got {dict(given)}; copy the file "
                "that was written with the data"
            )
        return found

    @property
    def bits(self) -> int:
        """The number of bits of an id."""
        return (self.d - 1).bit_length()

    def check_vocabulary(self, size: int | None) -> None:
        """Refuse a vocabulary of which some ids have lost their highest bits.

        Raises:
            DataError: It has more tokens than ids of so many bits.
        """
        if size is not None and size > 2**self.bits:
            raise DataError(
                f"compressed log-probabilities must be of ids that can name all of {size} tokens, "
                f"got {self.bits} bits each (`d` is {self.d}), which are other ids from "
                f"{2**self.bits} on; capture them again with a larger `d`"
            )

    def ids(self, packed: Tensor) -> Tensor:
        """Return the ids of packed ones, `[rows, k]` of `[rows, bytes]`."""
        _check_width("bytepacked_indices", packed, _bytes(self.k * self.bits))
        return _unpacked(packed, self.bits, self.k)

    def values(self, packed: Tensor) -> Tensor:
        """Return log-probabilities, `[rows, k]` of float64, of `[rows, bytes]`.

        In the order of the steps and in the precisions in which DistillKit does it, since what is
        quantized are the errors of just these.
        """
        _check_width("compressed_logprobs", packed, self._width())
        rest, rows = packed, len(packed)

        def taken(number: int) -> Tensor:
            nonlocal rest
            found, rest = rest[:, :number], rest[:, number:]
            return found

        def numbers(dtype: torch.dtype, number: int) -> Tensor:
            flat = taken(number * dtype.itemsize).flatten().clone()  # at the start of its memory
            return flat.view(dtype).reshape(rows, number)

        exact = numbers(self.exact_dtype, self.exact_k)
        fitted = self._polynomial(numbers(self.term_dtype, len(self.terms)))
        residuals = torch.zeros(rows, self.k - self.exact_k)
        first = 0
        for dtype, bits, number in self.bins:
            scale = numbers(dtype, 1)
            steps = _unpacked(taken(_bytes(number * bits)), bits, number)
            signed = steps * 2 - 1 if bits == 1 else steps - 2 ** (bits - 1)
            residuals[:, first : first + number] = signed.float() * scale
            first += number
        found = torch.cat([exact, fitted + residuals.to(self.exact_dtype)], dim=1)
        if self.delta:
            found = found.float().cumsum(dim=1).to(self.exact_dtype)
        return found.double()

    def _polynomial(self, coefficients: Tensor) -> Tensor:
        """Return Σ coefficient · term(place), `[rows, k − exact_k]`."""
        number = self.k - self.exact_k
        if not self.terms:
            return torch.zeros(len(coefficients), number, dtype=self.exact_dtype)
        dtype = self.term_dtype
        if self.normalized:
            at = torch.linspace(0, 1, steps=number, dtype=dtype)
        else:
            at = torch.arange(number, dtype=dtype)
        table = [_SPECIAL[each](at) if isinstance(each, str) else at**each for each in self.terms]
        return (torch.stack(table, dim=-1) * coefficients[:, None]).sum(dim=-1)

    def _width(self) -> int:
        """Return the number of bytes of a row of values."""
        found = (
            self.exact_k * self.exact_dtype.itemsize + len(self.terms) * self.term_dtype.itemsize
        )
        return found + sum(
            dtype.itemsize + _bytes(number * bits) for dtype, bits, number in self.bins
        )


def compression_of(folder: Path) -> Compression | None:
    """Return the compression of the files of a folder; None where none is described."""
    import yaml  # noqa: PLC0415 - for these files alone

    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{path} must be YAML, got {error}; copy it again") from error
    return Compression.of(given, str(path))


def is_captured(record: Any) -> bool:
    """Tell whether a record is one of DistillKit."""
    known = record if isinstance(record, Mapping) else {}
    return any(each in known for each in (*_COLUMNS, *_LEGACY, _RAW[0]))


def opened(record: Mapping[str, Any], compression: Compression | None) -> dict[str, Any]:
    """Return the ids and log-probabilities of a record, for each token but the first.

    A row of DistillKit is about the next token. The last of as many rows as there are tokens is
    about a token that no one has.

    Raises:
        DataError: It is of an earlier form, or of other settings than these.
    """
    if all(record.get(each) is not None for each in _RAW):
        ids, values = record["token_ids"], record["top_values"]
    elif all(record.get(each) is not None for each in _COLUMNS):
        if compression is None:
            raise DataError(
                f"log-probabilities that DistillKit has compressed need the file {CONFIG}, which "
                "is written beside them, got none in their folder; put it there"
            )
        packed, places = (_table(name, record[name]) for name in _COLUMNS)
        ids, values = compression.ids(places), compression.values(packed)
        _check(ids, values, compression.d)
        ids, values = ids.tolist(), values.tolist()
    else:
        raise DataError(
            "log-probabilities of DistillKit must be in its columns compressed_logprobs and "
            f"bytepacked_indices, or token_ids and top_values, got {sorted(record)}; decompress "
            "others there, LogprobCompressor.decompress_to_sparse, and write JSON lines with "
            "input_ids, target_token_ids and target_logprobs, without the row of the last token"
        )
    tokens = record.get("input_ids")
    if tokens is not None and len(ids) == len(tokens) and len(values) == len(tokens):
        ids, values = ids[:-1], values[:-1]
    return {"target_token_ids": ids, "target_logprobs": values}


def _check(ids: Tensor, values: Tensor, size: int) -> None:
    """Refuse what a packing of other settings gives, or one of ids that did not fit."""
    ordered = ids.sort(dim=1).values
    repeated = (ordered[:, 1:] == ordered[:, :-1]).any()
    if bool(repeated) or bool((ids >= size).any()) or not bool(values.isfinite().all()):
        raise DataError(
            "compressed log-probabilities must be finite and of different tokens, got others: "
            f"{CONFIG} is of other data, or its `d`, {size}, is less than the vocabulary, or a "
            "text was captured with fewer tokens than k; capture it again"
        )


def _table(name: str, rows: Any) -> Tensor:
    """Return rows of bytes, `[rows, bytes]` of uint8."""
    try:
        found: NDArray[np.int64] = np.asarray(rows, dtype=np.int64)
    except (ValueError, TypeError) as error:
        raise DataError(f"`{name}` must be rows of as many bytes each, got {error}") from error
    found = found.reshape(len(found), -1) if found.size else np.zeros((0, 0), dtype=np.int64)
    if found.size and (found.min() < 0 or found.max() > 255):  # noqa: PLR2004 - of a byte
        raise DataError(f"`{name}` must be bytes, got {found.min()} to {found.max()}")
    return torch.from_numpy(found.astype(np.uint8))


def _check_width(name: str, packed: Tensor, width: int) -> None:
    if len(packed) and packed.shape[1] != width:
        raise DataError(
            f"`{name}` must have {width} bytes a token by {CONFIG}, got {packed.shape[1]}; put the "
            "file there that was written with the data"
        )


def _bytes(bits: int) -> int:
    return (bits + 7) // 8


def _unpacked(packed: Tensor, bits: int, number: int) -> Tensor:
    """Return so many integers of packed bits, the highest first, `[rows, number]` of int64."""
    if not len(packed):
        return torch.zeros(0, number, dtype=torch.int64)
    single = torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=number * bits))
    powers = 2 ** torch.arange(bits - 1, -1, -1)
    return (single.view(len(packed), number, bits).long() * powers).sum(dim=-1)
