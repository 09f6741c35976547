"""Convert a teacher's top-k outputs, as DistillKit and NeMo-Aligner write them, to JSON lines.

`tl.teachers.Recorded` reads the result: one record a text, with `input_ids`, `target_token_ids` and
`target_logprobs`, which has a row for each token but the first.

    python examples/convert_topk.py distillkit FOLDER OUT.jsonl
    python examples/convert_topk.py nemo TOPK.jsonl TEXTS.jsonl OUT.jsonl

FOLDER has DistillKit's Parquet files and its `compression_config.yaml` (of a pre-captured data set:
the section `logprob_compressor` of its recipe). TEXTS has the data that NeMo-Aligner's
`compute_topk_logits.py` was given: `{"input_ids": […]}` on each line, without padding; row i of its
output is about `labels[i]`, the token that follows `tokens[i]`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pyarrow import parquet
from torch import Tensor

Record = dict[str, Any]


def distillkit(folder: Path) -> Iterator[Record]:
    """Yield the texts of a folder of DistillKit.

    A row has the bytes of `exact_k` values, of a polynomial's coefficients, and for each of
    `residual_bins` of a scale and of integers, packed from the highest bit on. The sum of
    polynomial and residuals continues where the exact values end; with `delta_encoding` all of
    them are differences. Ids are packed likewise, ⌈log2 d⌉ bits each. All is computed in the
    order and in the precisions in which DistillKit does it, since the quantized residuals are
    errors of these.
    """
    settings = yaml.safe_load((folder / "compression_config.yaml").read_text(encoding="utf-8"))
    bits = (settings["d"] - 1).bit_length()
    for path in sorted(folder.glob("*.parquet")):
        for row in parquet.read_table(path).to_pylist():
            tokens = row["input_ids"]
            packed = _bytes(row["bytepacked_indices"], -(-settings["k"] * bits // 8))
            ids = _unpacked(packed, bits, settings["k"])
            values = decompressed(_bytes(row["compressed_logprobs"]), settings)
            distinct = ids.sort(dim=1).values.diff(dim=1).all()
            if not (distinct and values.isfinite().all() and bool((ids < settings["d"]).all())):
                raise SystemExit(
                    f"{path} must have finite values of different tokens by compression_config.yaml"
                    ", got others; take the file that was written with the data"
                )
            # Of as many rows as tokens the last is about a token that no one has.
            rows = len(tokens) - 1
            yield _record(tokens, ids.tolist()[:rows], values.tolist()[:rows])


def decompressed(packed: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Return log-probabilities, `[rows, k]` of float64, of `[rows, bytes]`."""
    rows, start = len(packed), 0

    def take(number: int) -> Tensor:
        nonlocal start
        start += number
        if start > packed.shape[1]:
            raise SystemExit(
                f"`compressed_logprobs` must have more than {packed.shape[1]} bytes a token by "
                "compression_config.yaml; take the file that was written with the data"
            )
        return packed[:, start - number : start]

    def numbers(dtype: torch.dtype, number: int) -> Tensor:
        return take(number * dtype.itemsize).flatten().clone().view(dtype).reshape(rows, number)

    exact_k, k = settings["exact_k"], settings["k"]
    dtype = getattr(torch, settings.get("exact_dtype", "float32"))
    term_dtype = getattr(torch, settings.get("term_dtype", "float32"))
    terms = settings.get("polynomial_terms") or ()
    exact = numbers(dtype, exact_k)
    coefficients = numbers(term_dtype, len(terms))
    if settings.get("normalize_t", False):
        t = torch.linspace(0, 1, steps=k - exact_k, dtype=term_dtype)
    else:
        t = torch.arange(k - exact_k, dtype=term_dtype)
    functions = {"sqrt": torch.sqrt, "exp": torch.exp}
    table = [functions[each](t) if isinstance(each, str) else t**each for each in terms]
    fitted = torch.zeros(rows, k - exact_k, dtype=dtype)
    if terms:
        fitted = (torch.stack(table, dim=-1) * coefficients[:, None]).sum(dim=-1)
    residuals, first = torch.zeros(rows, k - exact_k), 0
    for each in settings["residual_bins"]:
        bits, number = each["element_bits"], each["num_elements"]
        scale = numbers(getattr(torch, each["scale_dtype"]), 1)
        steps = _unpacked(take(-(-number * bits // 8)), bits, number)
        signed = steps * 2 - 1 if bits == 1 else steps - 2 ** (bits - 1)
        residuals[:, first : first + number] = signed.float() * scale
        first += number
    found = torch.cat([exact, fitted + residuals.to(dtype)], dim=1)
    if settings.get("delta_encoding", True):
        found = found.float().cumsum(dim=1).to(dtype)
    if start != packed.shape[1]:
        raise SystemExit(
            f"`compressed_logprobs` must have {start} bytes a token by compression_config.yaml, "
            f"got {packed.shape[1]}; take the file that was written with the data"
        )
    return found.double()


def nemo(records: Sequence[Record], texts: Sequence[Sequence[int]]) -> Iterator[Record]:
    """Yield the texts of NeMo-Aligner's records, which are padded and in any order."""
    for record in records:
        tokens = list(texts[record["index"]])
        rows = len(tokens) - 1
        if record["tokens"][:rows] != tokens[:-1] or record["labels"][:rows] != tokens[1:]:
            raise SystemExit(
                f"record {record['index']} must be of the text's own tokens, got others; give the "
                "texts in their order, with the same tokenizer and template"
            )
        logits = np.asarray(record["topk_logits"][:rows], dtype=np.float64)
        totals = np.asarray(record["log_sum_exp_logits"][:rows], dtype=np.float64)
        values = (logits - totals[:, None]).tolist()
        yield _record(tokens, record["topk_token_ids"][:rows], values)


def _record(tokens: Sequence[int], ids: list[list[int]], values: list[list[float]]) -> Record:
    return {"input_ids": list(tokens), "target_token_ids": ids, "target_logprobs": values}


def _bytes(rows: Sequence[Sequence[int]], width: int | None = None) -> Tensor:
    """Return rows of bytes, `[rows, bytes]` of uint8."""
    found = np.asarray(rows, dtype=np.uint8)
    if width is not None and found.shape[1] != width:
        raise SystemExit(
            f"`bytepacked_indices` must have {width} bytes a token by compression_config.yaml, got "
            f"{found.shape[1]}; take the file that was written with the data"
        )
    return torch.from_numpy(found)


def _unpacked(packed: Tensor, bits: int, number: int) -> Tensor:
    """Return integers of packed bits, the highest first, `[rows, number]` of int64."""
    single = torch.from_numpy(np.unpackbits(packed.numpy(), axis=1, count=number * bits))
    powers = 2 ** torch.arange(bits - 1, -1, -1)
    return (single.view(len(packed), number, bits).long() * powers).sum(dim=-1)


def _lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def main(*arguments: str) -> int:
    """Convert and return the number of texts."""
    tool, *sources, out = arguments
    if tool == "distillkit":
        records = distillkit(Path(sources[0]))
    else:
        records = nemo(_lines(sources[0]), [each["input_ids"] for each in _lines(sources[1])])
    count = 0
    with Path(out).open("w", encoding="utf-8") as file:
        for count, record in enumerate(records, start=1):  # noqa: B007 - the number of records
            file.write(json.dumps(record) + "\n")
    print(f"{count} texts in {out}")
    return count


if __name__ == "__main__":
    main(*sys.argv[1:])
