"""Teachers behind a server, and answers that were recorded, against the model itself."""

import copy
import functools
import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.served import Server, vllm
from transformers import LlamaConfig, LlamaForCausalLM

import tutelage as tl
from tutelage.teachers import Recorded, Served
from tutelage.teachers import served as module
from tutelage.teachers._logprobs import TokenLogprobs

WORDS, K = 40, 6


@functools.cache
def llama(seed=0, words=WORDS):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=words, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        model.lm_head.weight *= 8  # so that some tokens are much more probable than others
    return model


def texts(count=8):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(2, 9, (count,), generator=generator).tolist()
    return [{"input_ids": torch.randint(WORDS, (n,), generator=generator)} for n in lengths]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)


def store(teacher, out, data=None, **settings):
    data = texts() if data is None else data
    engine = tl.Engine(progress=False)
    return tl.label(teacher, data, out=out, batch_size=4, engine=engine, **settings)


def assert_is_top_k(found, model, data, k):
    """Probabilities of the k most probable next tokens of all texts, and the rest of the mass."""
    for row, each in enumerate(data):
        with torch.no_grad():
            expected = model(input_ids=each["input_ids"][None]).logits[0, :-1].softmax(1)
        got = found.read("output", [row])
        probabilities = torch.cat([got.logits, got.other[:, None]], dim=1).float().softmax(1)
        values, places = expected.topk(k)
        for place in range(len(expected)):
            ours = dict(zip(got.ids[place].tolist(), probabilities[place].tolist(), strict=False))
            for token, value in zip(places[place].tolist(), values[place].tolist(), strict=True):
                assert ours[token] == pytest.approx(value, abs=2e-3)
        rest = 1 - values.sum(1)
        torch.testing.assert_close(probabilities[:, -1], rest, rtol=0, atol=3e-3)


@pytest.mark.parametrize(
    ("api", "faults"),
    [
        ("vllm", ()),
        ("vllm", ("500",)),
        ("vllm", ("cut off",)),
        ("vllm", ("broken off",)),
        ("sglang", ()),
        ("sglang", ("flat",)),
    ],
)
def test_a_store_has_the_most_probable_tokens_of_the_model(api, faults, tmp_path):
    """Also where a server fails now and then."""
    model = llama()
    with Server(model, *faults) as server:
        teacher = Served(server.url, top_k=K, api=api, vocabulary=WORDS)
        found = store(teacher, tmp_path, top_k=K)
    assert_is_top_k(found, model, texts(), K)
    key = "prompt" if api == "vllm" else "input_ids"
    asked = {tuple(each[key]) for each in server.requests}
    assert {tuple(each["input_ids"].tolist()) for each in texts()} <= asked


def test_a_student_learns_of_a_server_what_it_learns_of_the_model(tmp_path):
    """Of all tokens: with K = 20, as many as the server gives, of a vocabulary of 20."""
    model, student = llama(words=20), llama(seed=1, words=20)
    data = [{"input_ids": each["input_ids"] % 20} for each in texts()]

    def learnt(teacher):
        run = tl.distill(
            teacher, copy.deepcopy(student), train=data, epochs=2, batch_size=4,
            objective=tl.SoftTargets(2), engine=tl.Engine(progress=False),
        )  # fmt: skip
        return run.student.state_dict()

    with Server(model) as server:
        served = learnt(Served(server.url, top_k=20, vocabulary=20))
        kept = store(Served(server.url, top_k=20), tmp_path, data, dtype="float32")
    live = learnt(model)
    for ours in (served, learnt(kept)):
        for name in live:
            torch.testing.assert_close(ours[name], live[name], rtol=0, atol=2e-5)


def test_an_interrupted_call_asks_for_the_rest_alone(tmp_path):
    model, data = llama(), texts(12)
    with Server(model) as server:
        whole = store(Served(server.url, top_k=K), tmp_path / "whole", data, top_k=K)
    with Server(model) as server:

        class Dying(Served):
            def logprobs(self, tokens, index):
                if index is not None and 8 in index.tolist():
                    raise KeyboardInterrupt
                return super().logprobs(tokens, index)

        with pytest.raises(KeyboardInterrupt):
            store(Dying(server.url, top_k=K), tmp_path / "cut", data, top_k=K)
        before = len(server.requests)
        again = store(Served(server.url, top_k=K), tmp_path / "cut", data, top_k=K)
    assert before >= 8  # of two batches, whose answers are kept
    assert len(server.requests) - before <= 4 + 2  # texts, and a first one for each call
    for file in whole.path.glob("*.npy"):
        assert file.read_bytes() == (again.path / file.name).read_bytes()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("none", "got a sum of 0 for token 1"),
        ("bos added", "without special tokens added"),
        ("nonsense", "tokens as ids, got ValueError: .*'high'"),
        ("probabilities", "must add up to 1 or less"),
        ("texts", r"and for ids \(return_tokens_as_token_ids\)"),
        ("short rows", "must give 6 tokens at each position"),
        ("ids", "those of its own tokens"),
        ("shifted", "those of its own tokens"),
        ("shifted back", "those of its own tokens"),
        ("reversed", "those of its own tokens"),
        ("other model", "must be of one model, got 'tiny' and 'other'"),
        ("refuses", "got 401"),
        ("always 500", "got 500 .*broken"),
    ],
)
def test_a_server_that_answers_nonsense_is_refused(fault, message, tmp_path):
    with Server(llama(), fault) as server:
        teacher = Served(server.url, top_k=K, retries=2, vocabulary=WORDS)
        with pytest.raises(tl.TutelageError, match=message):
            store(teacher, tmp_path, top_k=K)


def test_a_server_says_how_long_to_wait(tmp_path):
    model, data = llama(), texts(2)
    with Server(model, "busy") as server:
        found = store(Served(server.url, top_k=K, at_once=1), tmp_path, data, top_k=K)
    assert_is_top_k(found, model, data, K)
    busy = range(0, len(server.times) - 1, 3)
    assert all(server.times[each + 1] - server.times[each] >= 1 for each in busy)


def test_nothing_waits_after_an_error(tmp_path):
    with Server(llama(), "busy and closed") as server:
        begun = time.monotonic()
        with pytest.raises(tl.ModelError, match="got 401"):
            store(Served(server.url, top_k=K), tmp_path, top_k=K)
    assert len(server.requests) > 2
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("", 0), ("7", 7), ("999999999", 3600), ("soon", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
     ("Wed, 21 Oct 2515 07:28:00 GMT", 3600)],
)  # fmt: skip
def test_forms_of_retry_after(header, seconds):
    assert max(0, module._seconds(header)) == seconds


def test_a_limit_shows_before_the_work_begins(tmp_path):
    with Server(llama()) as server:
        with pytest.raises(tl.ModelError, match="Requested prompt logprobs of 30, above 20"):
            store(Served(server.url, top_k=30), tmp_path, top_k=30)
        assert len(server.requests) == 1


def test_no_server(tmp_path):
    with Server(llama()) as server:
        url = server.url
    teacher = Served(url, top_k=K, retries=1, timeout=1)
    with pytest.raises(tl.ModelError, match="the server must answer"):
        store(teacher, tmp_path, top_k=K)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:8000"}, "`url` must be that of a server"),
        ({"url": "http://x", "api": "grpc"}, "`api` must be"),
        ({"url": "http://x", "top_k": 0}, "`top_k`"),
        ({"url": "http://x", "timeout": 0}, "`timeout`"),
        ({"url": "http://x", "headers": "key"}, "`headers` must be a dict"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(tl.ArgumentError, match=message):
        Served(**arguments)


def test_packed_rows_are_refused():
    teacher = Served("http://127.0.0.1:9", vocabulary=WORDS)
    packed = tl.Batch(
        {"input_ids": torch.zeros(1, 4).long(), "attention_mask": torch.tensor([[1, 1, 2, 2]])},
        next_tokens=True,
    )
    with pytest.raises(tl.DataError, match="one text in each row"):
        teacher.signals(packed, tl.wants.Fields(output=True))


FORMS = ("vllm", "vllm, numbers", "completions", "sglang", "flat", "rows", "rows without the first",
         "columns")  # fmt: skip


def forms(ids):
    """The same answer of the model in all forms."""
    with torch.no_grad():
        logprobs = llama()(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(1)
    values, places = logprobs.topk(K)
    pairs = [list(zip(*row, strict=True)) for row in
             zip(places.tolist(), values.tolist(), strict=True)]  # fmt: skip
    tops = [None, *({f"token_id:{a}": b for a, b in row} for row in pairs)]
    named = [[{"token": f"token_id:{a}", "logprob": b} for a, b in row] for row in pairs]
    return {
        "vllm": {"prompt_logprobs": vllm(logprobs, ids, K)},
        "vllm, numbers": {"prompt_logprobs": [None, *({str(a): b for a, b in each}
                                                      for each in pairs)]},
        "completions": {"choices": [{"logprobs": {
            "tokens": [f"token_id:{each}" for each in ids],
            "token_logprobs": [None, *(row[own].item() for row, own in
                                       zip(logprobs, ids[1:], strict=True))],
            "top_logprobs": tops,
        }}]},
        "sglang": [{"meta_info": {"input_top_logprobs": [
            None, *([[b, a, "t"] for a, b in row] for row in pairs)]}}],
        "flat": {"meta_info": {
            "input_top_logprobs_shape": [len(pairs), K],
            "input_top_logprobs_val_flat": values.flatten().tolist(),
            "input_top_logprobs_idx_flat": places.flatten().tolist(),
        }},
        "rows": {"logprobs": [[], *named]},
        "rows without the first": {"logprobs": named},
        "columns": {"target_token_ids": places.tolist(), "target_logprobs": values.tolist()},
    }, logprobs  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_all_forms_say_the_same(form):
    ids = [3, 7, 1, 39, 0]
    answers, logprobs = forms(ids)
    found = TokenLogprobs.of(answers[form], ids)
    values, places = logprobs.topk(K)
    for place in range(4):
        known = dict(zip(found.ids[place].tolist(), found.values[place].tolist(), strict=True))
        own = {ids[place + 1]} if form in ("vllm", "completions") else set()
        assert known.keys() - {-1} == {*places[place].tolist()} | own
        for token, value in zip(places[place].tolist(), values[place].tolist(), strict=True):
            assert known[token] == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("form", ["vllm", "completions", "sglang"])
def test_log_probabilities_of_another_text_are_refused(form):
    ids, other = [3, 7, 1, 39, 0], [3, 7, 2, 39, 0]
    answer = forms(ids)[0][form]
    if form == "sglang":  # which tells a text's own tokens beside the most probable ones
        answer[0]["meta_info"]["input_token_logprobs"] = [[-1.0, each, None] for each in ids]
    TokenLogprobs.of(answer, ids)
    with pytest.raises(tl.DataError, match="those of its own tokens at their positions"):
        TokenLogprobs.of(answer, other)


def test_tokens_of_another_vocabulary_are_refused(tmp_path):
    with (
        Server(llama(), "flat") as server,
        pytest.raises(tl.ModelError, match=f"ids below {WORDS - 10}"),
    ):
        store(Served(server.url, top_k=K, api="sglang", vocabulary=WORDS - 10), tmp_path, top_k=K)


def written(path, form):
    """Write records of all texts in a form."""
    found = [forms(each["input_ids"].tolist())[0][form] for each in texts()]
    found = [each[0] if isinstance(each, list) else each for each in found]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(found), path)
    else:
        path.write_text("\n".join(map(json.dumps, found)))
    return path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("answers.jsonl", form) for form in ("vllm", "completions", "sglang", "flat", "rows")),
        # Of forms that are columns, not dicts from ids.
        *(("answers.parquet", form) for form in ("rows", "columns")),
    ],
)
def test_a_file_becomes_a_store(name, form, tmp_path):
    path = written(tmp_path / name, form)
    found = store(Recorded(path, vocabulary=WORDS), tmp_path / "out", top_k=K)
    assert_is_top_k(found, llama(), texts(), K)


class TestOtherRecords:
    def path(self, tmp_path, records):
        path = tmp_path / "answers.jsonl"
        path.write_text("\n".join(map(json.dumps, records)))
        return path

    def records(self, **more):
        return [
            forms(each["input_ids"].tolist())[0]["vllm"]
            | {"prompt_token_ids": each["input_ids"].tolist()} | more
            for each in texts()
        ]  # fmt: skip

    def test_of_other_tokens(self, tmp_path):
        records = self.records()
        store(Recorded(self.path(tmp_path, records)), tmp_path / "right", top_k=K)
        records[5]["prompt_token_ids"][0] = 1 - records[5]["prompt_token_ids"][0] % 2
        with pytest.raises(tl.DataError, match="by its ids, got none of text 5"):
            store(Recorded(self.path(tmp_path, records)), tmp_path / "wrong", top_k=K)

    def test_of_another_model(self, tmp_path):
        records = self.records(model="one")
        store(Recorded(self.path(tmp_path, records)), tmp_path / "right", top_k=K)
        records[5]["model"] = "two"
        with pytest.raises(tl.DataError, match="must be of one model, got 'one' and 'two'"):
            store(Recorded(self.path(tmp_path, records)), tmp_path / "wrong", top_k=K)

    def test_of_fewer_texts(self, tmp_path):
        with pytest.raises(tl.DataError, match="by its ids, got none of text 7"):
            store(Recorded(self.path(tmp_path, self.records()[:7])), tmp_path / "out", top_k=K)

    @pytest.mark.parametrize("content", ["", "{", "[1, 2]", '{"a": 1}', '{"prompt_logprobs": 3}'])
    def test_that_are_none(self, content, tmp_path):
        path = tmp_path / "answers.jsonl"
        path.write_text(content)
        with pytest.raises(tl.DataError):
            store(Recorded(path), tmp_path / "out", top_k=K)

    def test_of_no_file(self, tmp_path):
        with pytest.raises(tl.DataError, match="must be a file of records"):
            Recorded(tmp_path / "none.parquet")

    def test_impossible_tokens_have_no_mass(self):
        """vLLM writes −∞ as −9999."""
        rows = [None, {"4": {"logprob": 0.0}, "2": {"logprob": -9999.0}}]
        found = TokenLogprobs.of({"prompt_logprobs": rows}, [1, 2])
        assert found.ids.tolist() == [[4, -1]]
        coarse = found.at(3, [1, 2], width=3)
        assert coarse.ids.tolist() == [[-1, -1, -1], [4, -1, -1], [-1, -1, -1]]
        assert coarse.other.tolist() == [0.0, -torch.inf, 0.0]


@pytest.mark.parametrize("form", ["rows", "columns"])
def test_rows_that_may_be_of_the_next_token_are_refused(form):
    """As many as tokens, the first with entries: of the token at its place, or of the next one."""
    ids = [3, 7, 1, 39, 0]
    answers, _ = forms(ids)
    record = dict(answers[form])
    if form == "rows":
        record["logprobs"] = [record["logprobs"][1], *record["logprobs"][1:]]
    else:
        record = {name: [rows[0], *rows] for name, rows in record.items()}
    with pytest.raises(tl.DataError, match="leave its first token without any"):
        TokenLogprobs.of(record, ids)
