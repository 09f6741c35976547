"""A loopback server around a tiny model, which answers as vLLM or SGLang, and may misbehave."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import torch

MOST = 20


class Server:
    """A server of a causal language model.

    Args:
        model: The model.
        faults: Names of what goes wrong: see `_Handler`.
    """

    def __init__(self, model, *faults):
        self.model, self.faults, self.requests, self.lock = model, faults, [], threading.Lock()
        self.times = []

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"owner": self})
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()

    def logprobs(self, ids):
        """Return log-probabilities of each token after the first, `[tokens − 1, vocabulary]`."""
        with self.lock, torch.no_grad():
            return self.model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(1)


def vllm(logprobs, ids, k):
    """As vLLM: k entries, and one for the prompt's own token where it is none of these, first."""
    rows = [None]
    for row, own in zip(logprobs, ids[1:], strict=True):
        values, places = row.topk(k)
        entries = {own: row[own].item()} | dict(zip(places.tolist(), values.tolist(), strict=True))
        order = row.argsort(descending=True).tolist()
        rows.append({
            str(each): {
                "logprob": max(value, -9999.0), "rank": order.index(each) + 1,
                "decoded_token": "same text",
            }
            for each, value in entries.items()
        })  # fmt: skip
    return rows


def flat(logprobs, k, prefix):
    values, places = logprobs.topk(k)
    return {
        "input_top_logprobs_shape": [len(values) + (0 if prefix else 1), k],
        "input_top_logprobs_null_prefix": 1,
        "input_top_logprobs_val_flat_b64": base64.b64encode(
            values.float().numpy().astype("<f4").tobytes()
        ).decode(),
        "input_top_logprobs_idx_flat_b64": base64.b64encode(
            places.numpy().astype("<i4").tobytes()
        ).decode(),
    }


def renamed(change):
    """Return a fault that changes the names of all tokens."""
    return lambda rows: [None, *({change(key): row[key] for key in row} for row in rows[1:])]


WRONG = {
    "none": lambda _: [None],
    "bos added": lambda rows: [*rows, rows[-1]],
    "nonsense": lambda rows: [None, {"3": {"logprob": "high"}}, *rows[2:]],
    "probabilities": lambda rows: [
        None,
        *({key: {"logprob": 0.5} for key in row} for row in rows[1:]),
    ],
    "shifted": lambda rows: [None, *rows[2:], rows[1]],
    "shifted back": lambda rows: [None, rows[-1], *rows[1:-1]],
    "reversed": lambda rows: [None, *rows[:0:-1]],
    "texts": renamed(lambda key: f"word {key}"),
    "ids": renamed(lambda key: str(int(key) + 100)),
}
"""What goes wrong in vLLM's rows."""


class _Handler(BaseHTTPRequestHandler):
    owner: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/v1/models":
            self.answer({"data": [{"id": "tiny"}]})
        elif self.path == "/get_model_info":
            self.answer({"model_path": "tiny"})
        else:
            self.answer({"error": "no such path"}, 404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        faults, number = self.owner.faults, len(self.owner.requests)
        self.owner.requests.append(asked)
        self.owner.times.append(time.monotonic())
        if self.fails(faults, number):
            return
        if self.path == "/generate":
            self.sglang(asked)
        elif asked["prompt_logprobs"] > MOST:
            number = asked["prompt_logprobs"]
            self.answer({"error": f"Requested prompt logprobs of {number}, above {MOST}"}, 400)
        else:
            k = 3 if "short rows" in faults else asked["prompt_logprobs"]
            rows = vllm(self.owner.logprobs(asked["prompt"]), asked["prompt"], k)
            for fault in faults:
                rows = WRONG.get(fault, list)(rows)
            model = "other" if "other model" in faults and number > 4 else asked["model"]
            self.answer({"choices": [{"prompt_logprobs": rows, "text": "x"}], "model": model})

    def fails(self, faults, number):
        """Answer with an error, if this request is to fail."""
        if "cut off" in faults and number % 3 == 0:
            self.raw(b'{"choices": [{"prompt_log')
        elif "broken off" in faults and number % 3 == 0:
            self.raw(b'{"choices": [{"prompt_log', length=1000)
        elif "always 500" in faults or ("500" in faults and number % 3 == 0):
            self.answer({"error": "broken"}, 500)
        elif "busy and closed" in faults and number:
            if number == 1:
                self.answer({"error": "busy"}, 429, {"Retry-After": "60"})
            else:
                time.sleep(0.5)
                self.answer({"error": "no"}, 401)
        elif "busy" in faults and number % 3 == 0:
            self.answer({"error": "busy"}, 429, {"Retry-After": "1"})
        elif "refuses" in faults:
            self.answer({"error": "no"}, 401)
        else:
            return False
        return True

    def sglang(self, asked):
        ids, k = asked["input_ids"], asked["top_logprobs_num"]
        logprobs = self.owner.logprobs(ids)
        if "flat" in self.owner.faults:
            self.answer({"meta_info": flat(logprobs, k, prefix=True), "text": ""})
            return
        values, places = logprobs.topk(k)
        rows = [
            [[value, place, None] for value, place in zip(*row, strict=True)]
            for row in zip(values.tolist(), places.tolist(), strict=True)
        ]
        self.answer({"text": "", "meta_info": {"input_top_logprobs": [None, *rows]}})

    def answer(self, content, status=200, headers=()):
        self.raw(json.dumps(content).encode(), status, headers=headers)

    def raw(self, body, status=200, length=None, headers=()):
        self.send_response(status)
        for name in headers:
            self.send_header(name, headers[name])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
