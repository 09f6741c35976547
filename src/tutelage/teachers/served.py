"""Language models whose log-probabilities a server or a file gives, as teachers."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from threading import Event
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tutelage._checks import by_name, installed, integer, positive
from tutelage.coarse import CoarseLogits
from tutelage.errors import ArgumentError, DataError, ModelError
from tutelage.positions import rows_of
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals
from tutelage.teachers._logprobs import TokenLogprobs
from tutelage.teachers._teacher import Teacher
from tutelage.wants import Fields

_TOKENS = 3  # dimensions of [batch, tokens, classes]
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_FIRST_WAIT, _LONGEST_WAIT, _AN_HOUR = 0.5, 30.0, 3600.0
_IDS = ("prompt_token_ids", "input_ids", "token_ids")


class Tokens(Teacher):
    """A teacher of texts that knows the most probable next tokens; the base of two such teachers.

    The data must be token ids of a causal language model's vocabulary, in a dict with `input_ids`.
    """

    is_causal = True
    traceable = False

    def __init__(self, vocabulary: int | None) -> None:
        if vocabulary is not None:
            self.vocabulary = integer("vocabulary", vocabulary, 2, "it counts tokens")
        self._answering: Any = None  # the name of the model that answered first

    @abstractmethod
    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Return the log-probabilities of some texts, without padding."""

    def _read(self, answer: Any, tokens: Sequence[int]) -> TokenLogprobs:
        """Return what an answer says of a text; refuse one of another model than the first."""
        name = answer.get("model") if isinstance(answer, Mapping) else None
        if name is not None:
            self._answering = self._answering or name
            if name != self._answering:
                raise DataError(
                    f"all answers of {self!r} must be of one model, got {self._answering!r} and "
                    f"{name!r}; label with one, or where both are the same, under one name"
                )
        return TokenLogprobs.of(answer, tokens)

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the known classes at the rows of the batch, and the logsumexp of the others."""
        if not fields.output:
            return Signals()
        ids, mask = _tokens(batch)
        if not batch.next_tokens:
            raise ModelError(
                f"{type(self).__name__} is a teacher of causal language models, whose output is "
                "about the next token, got another student; give one of transformers"
            )
        columns = [each.nonzero().ravel().tolist() for each in mask]
        texts = [row[own].tolist() for row, own in zip(ids, columns, strict=True)]
        found = self.logprobs(texts, batch.index)
        largest = max(int(each.ids.max(initial=-1)) for each in found)
        if self.vocabulary is not None and largest >= self.vocabulary:
            raise ModelError(
                f"the teacher's tokens must have ids below {self.vocabulary}, got {largest}; give "
                "a teacher of the same tokenizer"
            )
        width = max(each.ids.shape[1] for each in found)
        pairs = zip(found, columns, strict=True)
        joined = CoarseLogits.joined([each.at(ids.shape[1], own, width) for each, own in pairs])
        rows = cast("Rows", rows_of(batch, _TOKENS))  # since the batch has tokens
        device, shape = rows.mask.device, (len(found), ids.shape[1])
        output = joined.changed(lambda part: rows.of(part.unflatten(0, shape).to(device)))
        return Signals(output, rows=rows)


class Served(Tokens):
    """A causal language model that a server runs, which returns its most probable next tokens.

    The server is given the student's own tokens, so both must have one tokenizer. It answers with
    log-probabilities at temperature 1, whatever the request says; the objective's temperature
    applies to them and to the student alike. Give it to `tl.label`, so that each text is requested
    once; an interrupted call resumes there.

    Connections that fail, and answers 429 and 5xx, are retried, after waits that double, or as long
    as the server says (`Retry-After`), at most an hour.

    Args:
        url: Of the server, such as "http://localhost:8000".
        top_k: How many tokens are requested at each position. vLLM allows 20 unless it is started
            with `--max-logprobs`.
        api: "vllm" (`POST /v1/completions` with `prompt_logprobs`) or "sglang" (`POST /generate`).
        model: The model's name at the server; None for its first one.
        vocabulary: The number of tokens, which is then checked, and stores take fewer bytes.
        at_once: How many requests run at the same time.
        retries: How often each request is retried.
        timeout: How long the server may send nothing, in seconds.
        headers: Added to every request, such as `{"Authorization": "Bearer …"}`.

    Raises:
        ArgumentError: An argument is outside its range.
    """

    is_remote = True

    def __init__(  # noqa: PLR0913 - a connection and its limits
        self,
        url: str,
        *,
        top_k: int = 64,
        api: str = "vllm",
        model: str | None = None,
        vocabulary: int | None = None,
        at_once: int = 8,
        retries: int = 5,
        timeout: float = 120.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(vocabulary)
        if not str(url).startswith(("http://", "https://")):
            raise ArgumentError(
                f"`url` must be that of a server, got {url!r}; such as 'http://localhost:8000'"
            )
        if api not in ("vllm", "sglang"):
            raise ArgumentError(f"`api` must be 'vllm' or 'sglang', got {api!r}; choose one")
        self.url, self.api, self._model = url.rstrip("/"), api, model
        self.top_k = integer("top_k", top_k, 1, "it counts tokens")
        self.at_once = integer("at_once", at_once, 1, "it counts texts")
        self.retries = integer("retries", retries, 0, "0 is for one try")
        self.timeout = positive("timeout", timeout, "in seconds")
        given = by_name("headers", headers or {}, '{"Authorization": "Bearer …"}')
        self.headers = {"Content-Type": "application/json", **given}

    def __repr__(self) -> str:
        return f"Served({self.url!r}, top_k={self.top_k}, api={self.api!r})"

    @property
    def model(self) -> str:
        """The model's name at the server."""
        if self._model is None:
            if self.api == "sglang":
                self._model = str(self._request("/get_model_info").get("model_path", ""))
            else:
                served = self._request("/v1/models").get("data") or [{}]
                self._model = str(served[0].get("id", ""))
        return self._model

    @contextmanager
    def ready(self, device: torch.device) -> Iterator[None]:
        """Ask for one short text, so that a limit of the server shows before the work begins."""
        del device
        self._ask([0, 1])
        yield

    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Ask the server for some texts."""
        del index
        _ = self.model  # once, and not in every thread
        stop, pool = Event(), ThreadPoolExecutor(self.at_once)
        try:
            answers = [pool.submit(self._ask, each, stop) for each in tokens]
            for each in as_completed(answers):
                each.result()  # the first error, not that of the first text
            return [each.result() for each in answers]
        finally:  # after an error or Ctrl-C no other request waits to be retried
            stop.set()
            pool.shutdown(cancel_futures=True)

    def fingerprint(self) -> str:
        """Return the server's model and the number of tokens; its weights do not show."""
        return f"Served {self.model} top {self.top_k} by {self.api}"

    def _ask(self, tokens: Sequence[int], stop: Event | None = None) -> TokenLogprobs:
        if len(tokens) < 2:  # noqa: PLR2004 - nothing comes next
            return TokenLogprobs.of(None, tokens)
        if self.api == "sglang":
            path, content = "/generate", {
                "input_ids": list(tokens),
                "return_logprob": True,
                "logprob_start_len": 0,
                "top_logprobs_num": self.top_k,
                "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
            }  # fmt: skip
        else:
            path, content = "/v1/completions", {
                "model": self.model,
                "prompt": list(tokens),
                "max_tokens": 1,
                "temperature": 1.0,
                "prompt_logprobs": self.top_k,
                "add_special_tokens": False,
            }  # fmt: skip
        found = self._read(self._request(path, content, stop), tokens)
        fewest = int((found.ids >= 0).sum(axis=1).min())
        if fewest < min(self.top_k, self.vocabulary or self.top_k):
            raise DataError(
                f"the server {self.url} must give {self.top_k} tokens at each position, got "
                f"{fewest}; start it with a higher limit (--max-logprobs), or lower "
                "`top_k`"
            )
        return found

    def _request(
        self, path: str, content: Mapping[str, Any] | None = None, stop: Event | None = None
    ) -> Any:
        """Return the answer to GET, or to POST with content; retry where that may help.

        `stop` ends the waiting.
        """
        body = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, body, self.headers)  # noqa: S310
        wait, due, fault, stop = _FIRST_WAIT, 0.0, "", stop or Event()
        for attempt in range(self.retries + 1):
            if attempt:
                if stop.wait(max(wait, due)):
                    break
                wait, due = min(2 * wait, _LONGEST_WAIT), 0.0
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                said = error.read()[:300].decode(errors="replace")
                fault = f"{error.code} {error.reason}: {said}"
                if error.code not in _AGAIN:
                    break
                due = _seconds(error.headers.get("Retry-After", ""))
            # No connection, or an answer cut off.
            except (OSError, ValueError, http.client.HTTPException) as error:
                fault = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"the server must answer {request.full_url}, got {fault}; look at its log, or call "
            "again later: what tl.label has finished is kept"
        )


class Recorded(Tokens):
    """The outputs of a language model for a data set, in a file of JSON lines or Parquet.

    A record is about one text, as inference servers answer (see `Served`) or as training tools
    write it: `prompt_logprobs`, `choices`, `meta_info`, `logprobs` with `top_logprobs`, or
    `target_token_ids` with `target_logprobs`. If records have the text's ids (`prompt_token_ids`,
    `input_ids` or `token_ids`), a text's record is found by them; otherwise record i is about text
    i of the data set. Records are read from the file when they are needed.

    `tl.label(Recorded("answers.jsonl"), data, out="targets", top_k=64)` makes a store of it, which
    is far smaller and faster to read.

    Args:
        path: The file; ".parquet", or else JSON lines.
        vocabulary: The number of tokens, which is then checked, and stores take fewer bytes.

    Raises:
        DataError: The file cannot be read.
    """

    def __init__(self, path: str | Path, vocabulary: int | None = None) -> None:
        super().__init__(vocabulary)
        self.path = Path(path)
        self._by_ids: dict[bytes, int] = {}
        try:
            parquet = self.path.suffix == ".parquet"
            self._records: Sequence[Any] = (_Table if parquet else _Lines)(self.path)
            for number, record in enumerate(self._records):
                known = record if isinstance(record, Mapping) else {}
                ids = next((known[name] for name in _IDS if known.get(name) is not None), None)
                if ids is not None:
                    self._by_ids[_key(ids)] = number
        except (OSError, ValueError, TypeError) as error:
            raise DataError(
                f"{self.path} must be a file of records, JSON lines or Parquet, got {error}; give "
                "one record for each text"
            ) from error

    def __repr__(self) -> str:
        return f"Recorded({str(self.path)!r}, {len(self._records)} texts)"

    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Return the records of some texts, by their ids, or by their index in the data set."""
        if index is None and not self._by_ids:
            raise DataError(
                "recorded outputs without ids need the index of each text in its data set, got a "
                "batch without `index`; give the data set itself, or a DataLoader over "
                "tl.data.Indexed(dataset)"
            )
        found = []
        for row, own in enumerate(tokens):
            text = None if index is None else int(index[row])
            number = self._by_ids.get(_key(own)) if self._by_ids else text
            if number is None or number >= len(self._records):
                by = "its ids" if self._by_ids else "its index"
                raise DataError(
                    f"{self.path} must have a record of each text, by {by}, got none of text "
                    f"{text}, whose {len(own)} tokens begin with {list(own)[:6]}; give the data "
                    "that was recorded, with the same tokenizer and cut at the same length"
                )
            found.append(self._read(self._records[number], own))
        return found

    def fingerprint(self) -> str:
        """Return a hash of the file."""
        with self.path.open("rb") as file:
            return f"Recorded {hashlib.file_digest(file, 'sha256').hexdigest()[:32]}"


def _seconds(retry_after: str) -> float:
    """Return how long to wait by the header `Retry-After`: a number of seconds, or a date."""
    try:
        if retry_after.isdigit():
            return min(float(retry_after), _AN_HOUR)
        return min(parsedate_to_datetime(retry_after).timestamp() - time.time(), _AN_HOUR)
    except ValueError:
        return 0.0


class _Lines(Sequence[Any]):
    """The records of JSON lines, each of which is read when it is needed."""

    def __init__(self, path: Path) -> None:
        self.path, self.spans, start = path, list[tuple[int, int]](), 0
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    self.spans.append((start, len(line)))
                start += len(line)

    def __len__(self) -> int:
        return len(self.spans)

    def __iter__(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            yield from (json.loads(line) for line in file if line.strip())

    def __getitem__(self, number: Any) -> Any:
        start, length = self.spans[number]
        with self.path.open("rb") as file:
            file.seek(start)
            return json.loads(file.read(length))


class _Table(Sequence[Any]):
    """The rows of a Parquet file, each of which becomes a dict when it is needed."""

    def __init__(self, path: Path) -> None:
        installed("Recorded, of a Parquet file,", "pyarrow", "data", DataError)
        from pyarrow import parquet  # noqa: PLC0415 - an optional package

        self.table = parquet.read_table(path)

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, number: Any) -> Any:
        return self.table.slice(number, 1).to_pylist()[0]


def _key(tokens: Sequence[int]) -> bytes:
    """Return a short key of a text's tokens."""
    return hashlib.blake2b(np.asarray(tokens, dtype="<i8").tobytes(), digest_size=16).digest()


def _tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return token ids and which of them are not padding, both `[batch, tokens]` on the CPU."""
    inputs = batch.inputs if isinstance(batch.inputs, Mapping) else {}
    ids = inputs.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != _TOKENS - 1:
        raise DataError(
            "a served or recorded teacher must be given texts as `input_ids` in a dict, got "
            f"{sorted(inputs) or type(batch.inputs).__name__}; tokenise them"
        )
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask
    if "position_ids" in inputs or int(mask.max()) > 1:
        raise DataError(
            "a served or recorded teacher must be given one text in each row, got rows of several "
            "(`position_ids`, or a numbered mask); give each text alone"
        )
    return ids.cpu(), mask.bool().cpu()
