"""A language model behind an inference server as a teacher."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor

from tutelage._checks import by_name, integer, positive
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
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0


class Tokens(Teacher):
    """A teacher of texts that knows the most probable next tokens; the base of two such teachers.

    The data must be token ids of a causal language model's vocabulary, in a dict with `input_ids`.
    """

    is_causal = True

    @abstractmethod
    def logprobs(
        self, tokens: Sequence[Sequence[int]], index: Tensor | None
    ) -> list[TokenLogprobs]:
        """Return the log-probabilities of some texts, without padding."""

    def signals(self, batch: Batch, fields: Fields) -> Signals:
        """Return the classes that are known at the rows of the batch, and the rest of the mass."""
        if not fields.output:
            return Signals()
        ids, mask = _tokens(batch)
        if not batch.next_tokens:
            raise ModelError(
                f"{type(self).__name__} is a teacher of causal language models, whose output is "
                "about the next token, got a student that is none; give one of transformers"
            )
        columns = [each.nonzero().ravel().tolist() for each in mask]
        texts = [row[places].tolist() for row, places in zip(ids, columns, strict=True)]
        found = self.logprobs(texts, batch.index)
        largest = max(int(each.ids.max(initial=-1)) for each in found)
        if self.vocabulary is not None and largest >= self.vocabulary:
            raise ModelError(
                f"the teacher's tokens must have ids below {self.vocabulary}, got {largest}; give "
                "a teacher of the same tokenizer"
            )
        width = max(each.ids.shape[1] for each in found)
        places = zip(found, columns, strict=True)
        joined = CoarseLogits.joined([each.at(ids.shape[1], own, width) for each, own in places])
        rows = cast("Rows", rows_of(batch, _TOKENS))  # since the batch has tokens
        device, shape = rows.mask.device, (len(found), ids.shape[1])
        output = joined.changed(lambda part: rows.of(part.unflatten(0, shape).to(device)))
        return Signals(output, rows=rows)

    def check_layers(self, paths: Collection[str]) -> None:
        """Refuse layers: only outputs are known."""
        if paths:
            raise ModelError(
                f"{type(self).__name__} knows a teacher's outputs only, got the layers "
                f"{sorted(paths)}; leave out objectives on layers, or load the model"
            )

    def is_traceable(self) -> bool:
        """Return False: it reads what is not in tensors."""
        return False


class Served(Tokens):
    """A causal language model that a server runs, asked for its most probable next tokens.

    The server is given the student's own tokens, so both must have one tokenizer. It answers with
    log-probabilities at temperature 1, whatever it is told, and the objective's temperature applies
    to them and to the student alike. Give it to `tl.label`, so that it is asked once; a call that
    was interrupted goes on there.

    Connections that fail, and answers 429 and 5xx, are tried again, after waits that double.

    Args:
        url: Of the server, such as "http://localhost:8000".
        top_k: How many tokens are asked for at each place. vLLM allows 20 unless it is started with
            `--max-logprobs`.
        api: "vllm" (`POST /v1/completions` with `prompt_logprobs`) or "sglang" (`POST /generate`).
        model: The model's name at the server; None for its first one.
        vocabulary: The number of tokens, which is then checked, and stores take fewer bytes.
        at_once: How many texts are asked for at the same time.
        retries: How often each is tried again.
        timeout: Of one answer, in seconds.
        headers: Added to every request, such as `{"Authorization": "Bearer …"}`.

    Raises:
        ArgumentError: An argument is outside its range.
    """

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
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise ArgumentError(
                f"`url` must be that of a server, got {url!r}; such as 'http://localhost:8000'"
            )
        if api not in ("vllm", "sglang"):
            raise ArgumentError(f"`api` must be 'vllm' or 'sglang', got {api!r}; choose one")
        self.url, self.api, self._model = url.rstrip("/"), api, model
        self.top_k = integer("top_k", top_k, 1, "it counts tokens")
        self.vocabulary = (
            None if vocabulary is None else integer("vocabulary", vocabulary, 2, "it counts tokens")
        )
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
                self._model = str(self._get("/get_model_info").get("model_path", ""))
            else:
                served = self._get("/v1/models").get("data") or [{}]
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
        with ThreadPoolExecutor(self.at_once) as pool:
            return list(pool.map(self._ask, tokens))

    def fingerprint(self) -> str:
        """Return the server's model and the number of tokens; its weights do not show."""
        return f"Served {self.model} top {self.top_k} by {self.api}"

    def _ask(self, tokens: Sequence[int]) -> TokenLogprobs:
        if len(tokens) < 2:  # noqa: PLR2004 - nothing comes next
            return TokenLogprobs.of(None, tokens)
        if self.api == "sglang":
            answer = self._post("/generate", {
                "input_ids": list(tokens),
                "return_logprob": True,
                "logprob_start_len": 0,
                "top_logprobs_num": self.top_k,
                "sampling_params": {"max_new_tokens": 0, "temperature": 1.0},
            })  # fmt: skip
        else:
            answer = self._post("/v1/completions", {
                "model": self.model,
                "prompt": list(tokens),
                "max_tokens": 1,
                "temperature": 1.0,
                "prompt_logprobs": self.top_k,
                "add_special_tokens": False,
            })  # fmt: skip
        found = TokenLogprobs.of(answer, tokens)
        fewest = int((found.ids >= 0).sum(axis=1).min())
        if fewest < min(self.top_k, self.vocabulary or self.top_k):
            raise DataError(
                f"the server {self.url} must give {self.top_k} tokens at each place, as it was "
                f"asked for, got {fewest}; start it with a higher limit (--max-logprobs), or lower "
                "`top_k`"
            )
        return found

    def _get(self, path: str) -> Any:
        return self._tried(urllib.request.Request(self.url + path, headers=self.headers))  # noqa: S310

    def _post(self, path: str, content: Mapping[str, Any]) -> Any:
        body = json.dumps(content).encode()
        return self._tried(
            urllib.request.Request(self.url + path, data=body, headers=self.headers)  # noqa: S310
        )

    def _tried(self, request: urllib.request.Request) -> Any:
        """Return a server's answer; try again where that may help."""
        wait, fault = _FIRST_WAIT, ""
        for attempt in range(self.retries + 1):
            if attempt:
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT)
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as answer:  # noqa: S310
                    return json.loads(answer.read())
            except urllib.error.HTTPError as error:
                said = error.read()[:300].decode(errors="replace")
                fault = f"{error.code} {error.reason}: {said}"
                if error.code not in _AGAIN:
                    break
            # No connection, or an answer cut off.
            except (OSError, ValueError, http.client.HTTPException) as error:
                fault = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"the server must answer {request.full_url}, got {fault}; look at its log, or call "
            "again later: what tl.label has finished is kept"
        )


def _tokens(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return token ids and which of them are no padding, both `[batch, tokens]` on the CPU."""
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
