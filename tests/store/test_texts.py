"""Stores of texts: as many answers for each as it has tokens."""

import inspect
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

import tutelage as tl
from tutelage.signals import CoarseLogits, IndexedExample, Signals
from tutelage.store import layout
from tutelage.store.fields import Field, decode, encode, packed_ids, unpacked_ids

CLASSES, K = 70_000, 8  # more classes than two bytes can number
FEW = 300


class Words(nn.Module):
    """A model whose logits of a token depend on that token alone."""

    def __init__(self, classes=CLASSES):
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(50, 4), nn.Linear(4, classes)

    def forward(self, input_ids, attention_mask=None):
        return self.head(self.embedding(input_ids))


def _llama(seed):
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


def _t5(seed):
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0, dropout_rate=0.0,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def texts(count=40, labels=False):
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (count,), generator=generator).tolist()
    found = [{"input_ids": torch.randint(50, (n,), generator=generator)} for n in lengths]
    if labels:  # of the last tokens only, as after a prompt
        for each in found:
            ids = each["input_ids"] % 7
            each["labels"] = ids.where(torch.arange(len(ids)) >= len(ids) // 2, -100)
    return found


def stored(path, data, teacher=None, **settings):
    engine = tl.Engine(progress=False)
    teacher = Words() if teacher is None else teacher
    return tl.label(teacher, data, out=path, batch_size=4, engine=engine, **settings)


@given(st.integers(1, 20), st.data())
def test_packed_ids_are_unpacked(bits, data):
    k, rows = data.draw(st.integers(1, 9)), data.draw(st.integers(0, 4))
    seed = data.draw(st.integers(0, 2**31))
    ids = np.random.default_rng(seed).integers(0, 2**bits, (rows, k))
    ids[:1, :1] = 2**bits - 1
    packed = packed_ids(ids, bits)
    assert packed.shape == (rows, -(-k * bits // 8))
    assert unpacked_ids(packed, k, bits).tolist() == ids.tolist()


@pytest.mark.parametrize(
    ("classes", "most"), [(65_535, 4.2), (131_072, 4.2), (262_144, 4.3), (2**20, 4.6)]
)
def test_bytes_of_an_entry(classes, most):
    kept = Field(name="output", form="coarse", dtype="float16", shape=(64,), classes=classes)
    assert sum(each.entry_bytes for each in kept.columns(0)) / 64 <= most
    drawn = Field(name="output", form="sampled", dtype="float16", shape=(12,), classes=classes)
    assert sum(each.entry_bytes for each in drawn.columns(0)) <= 36


@pytest.mark.parametrize("classes", [65_536, 65_537, 131_072, 131_073])
def test_the_last_class_and_a_column_that_is_not_used_are_told_apart(classes):
    """Of a teacher that knows different numbers of classes of its examples."""
    ids = torch.tensor([[classes - 1, 0], [0, -1], [classes - 1, -1]])
    logits = torch.zeros(ids.shape).where(ids >= 0, -torch.inf)
    coarse = CoarseLogits(ids, logits, torch.full((len(ids),), -torch.inf))
    field = Field(name="output", form="coarse", dtype="float16", shape=(2,), classes=classes)
    found = decode(field, encode(field, Signals(coarse), 0))
    assert found.ids.tolist() == ids.tolist()
    assert torch.equal(found.logits.float(), logits)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("settings", [{"dtype": "float32"}, {"top_k": K}])
def test_each_text_has_the_answers_of_its_tokens(settings, labels, tmp_path):
    data, teacher = texts(labels=labels), Words()
    store = stored(tmp_path, data, teacher, **settings)
    answers = [int((each["labels"] != -100).sum()) if labels else len(each["input_ids"])
               for each in data]  # fmt: skip
    assert store.answers(range(len(data))).tolist() == answers
    assert store.fields[0].by_answer
    rows = [7, 0, 39, 7]
    found = store.read("output", rows)
    ids = torch.cat([data[row]["input_ids"][-answers[row] :] for row in rows])
    with torch.no_grad():
        expected = teacher(ids)
    if isinstance(found, torch.Tensor):
        torch.testing.assert_close(found, expected)
        return
    values, places = expected.topk(K)
    assert found.ids.tolist() == places.tolist()
    ours = found.logits.float() - found.logits.float().logsumexp(1, keepdim=True)
    torch.testing.assert_close(ours, values.log_softmax(1), rtol=0, atol=5e-3)


def test_many_shards_are_read_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr(layout, "_BLOCK_BYTES", 1)
    monkeypatch.setattr(layout, "_SHARD_BYTES", 1)
    data = texts()
    small, large = stored(tmp_path / "a", data, top_k=K), None
    monkeypatch.undo()
    large = stored(tmp_path / "b", data, top_k=K)
    assert small.layout.shards == 10 > large.layout.shards
    rows = torch.randperm(len(data))
    for name in ("ids", "logits", "other"):
        ours, theirs = (getattr(each.read("output", rows), name) for each in (small, large))
        assert torch.equal(ours, theirs)
    assert list(small.verify()) == []


def student_weights(teacher, data):
    torch.manual_seed(3)
    run = tl.distill(
        teacher, Words(FEW), train=data, epochs=2, batch_size=8, objective=tl.SoftTargets(2),
        engine=tl.Engine(progress=False),
    )  # fmt: skip
    return run.student.state_dict()


def assert_equal_weights(ours, theirs, atol=1e-6):
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=atol)


@pytest.mark.parametrize("labels", [False, True])
def test_a_student_learns_what_it_learns_of_the_live_teacher(labels, tmp_path):
    """Also where batches are padded before the texts, by a collate function of one's own."""
    data, teacher = texts(labels=labels), Words(FEW)
    store = stored(tmp_path, data, teacher, dtype="float32")
    live = student_weights(teacher, data)
    assert_equal_weights(student_weights(store, data), live)

    def padded_before(examples):
        inner = [each.example for each in examples]
        width = max(len(each["input_ids"]) for each in inner) + 2
        batch = {
            "input_ids": torch.zeros(len(inner), width, dtype=torch.int64),
            "attention_mask": torch.zeros(len(inner), width, dtype=torch.int64),
        }
        if labels:
            batch["labels"] = torch.full((len(inner), width), -100)
        for row, each in enumerate(inner):
            for name, values in each.items():
                batch[name][row, width - len(values) :] = values
            batch["attention_mask"][row, width - len(each["input_ids"]) :] = 1
        index = torch.tensor([each.index for each in examples])
        return IndexedExample(batch, index, torch.zeros(len(index)))

    loader = DataLoader(tl.data.Indexed(data), 8, collate_fn=padded_before)

    def in_order(teacher):
        torch.manual_seed(3)
        return tl.distill(
            teacher, Words(FEW), train=loader, epochs=1, objective=tl.SoftTargets(2),
            engine=tl.Engine(progress=False),
        ).student.state_dict()  # fmt: skip

    assert_equal_weights(in_order(store), in_order(teacher))


@pytest.mark.parametrize("batch_size", [1, 2, 8])
@pytest.mark.parametrize(
    "settings", [{"dtype": "float32"}, {"top_k": K}, {"sampled_classes": K}], ids=str
)
def test_a_text_may_have_no_answer(settings, batch_size, tmp_path):
    """Also the first one, which does not fix the length of others; alone in its batch or not."""
    teacher, engine = _llama(0), tl.Engine(progress=False)
    data = [{"input_ids": torch.arange(n)} for n in (1, 6, 3, 1, 1, 9, 4, 2, 0)]
    store = tl.label(teacher, data, out=tmp_path, batch_size=batch_size, engine=engine, **settings)
    assert store.answers(range(9)).tolist() == [0, 5, 2, 0, 0, 8, 3, 1, 0]
    found = store.read("output", [5, 3, 1])
    assert len(found) == 13
    if isinstance(found, torch.Tensor):
        with torch.no_grad():
            expected = [teacher(data[place]["input_ids"][None]).logits[0, :-1] for place in (5, 1)]
        torch.testing.assert_close(found, torch.cat(expected), rtol=1e-4, atol=1e-5)
    assert not list(store.verify())


def test_texts_that_were_cut_off_otherwise_are_refused(tmp_path):
    data = texts()
    store = stored(tmp_path, data, top_k=K)

    def cut(examples):
        rows = [each.example["input_ids"][:2] for each in examples]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.ones_like(each) for each in rows], batch_first=True)
        index = torch.tensor([each.index for each in examples])
        batch = {"input_ids": ids, "attention_mask": mask}
        return IndexedExample(batch, index, torch.zeros(len(index)))

    loader = DataLoader(tl.data.Indexed(data), 8, collate_fn=cut)
    with pytest.raises(tl.DataError, match="must have the tokens that were labelled"):
        tl.distill(store, Words(), train=loader, epochs=1, objective=tl.SoftTargets(2))
    other = [{"input_ids": each["input_ids"] + 0} for each in data]
    other[11] = {"input_ids": torch.cat([data[11]["input_ids"], torch.tensor([1])])}
    with pytest.raises(tl.TutelageError, match=r"labelled|same data"):
        tl.distill(store, Words(), train=other, epochs=1, objective=tl.SoftTargets(2))


def test_a_flipped_byte_is_found_and_mended(tmp_path):
    data, teacher = texts(), Words()
    store = stored(tmp_path, data, teacher, top_k=K)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    for file in sorted(tmp_path.glob("*.npy")):
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    assert len(list(store.verify())) == 3
    stored(tmp_path, data, teacher, top_k=K, verify=True)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


PROGRAM = f"""
import os, signal, sys
import torch
from torch import nn
import tutelage as tl
from tutelage.store import layout, writer

CLASSES, K = {CLASSES}, {K}

{inspect.getsource(Words)}
{inspect.getsource(texts)}
{inspect.getsource(stored)}
layout._BLOCK_BYTES = 1
writer._SECONDS_BETWEEN_COMMITS = 0

def label(folder, calls):
    def die(*_):
        nonlocal calls
        calls -= 1
        if calls == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    teacher = Words()
    teacher.register_forward_pre_hook(die)
    stored(folder, texts(20), teacher, top_k=K)
    os._exit(0)

tl.label, tl.Engine  # imported once, before the processes
for folder, calls in (("whole", 1000), *[("killed", 3)] * 4):
    child = os.fork()
    if child == 0:
        label(os.path.join(sys.argv[1], folder), calls)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_a_killed_call_is_resumed_and_leaves_the_same_bytes(tmp_path):
    command = [sys.executable, "-c", PROGRAM, tmp_path]
    found = subprocess.run(command, check=True, capture_output=True)
    whole, *codes = map(int, found.stdout.split())
    assert whole == 0
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes()


@pytest.mark.parametrize("prompts", [False, True])
@pytest.mark.parametrize("make", [_llama, _t5])
def test_a_language_model_learns_what_it_learns_of_the_live_teacher(make, prompts, tmp_path):
    """Causal: of the next token, which the last token of a text does not have."""
    data = texts(20, labels=prompts or make is _t5)
    store = stored(tmp_path, data, make(0), dtype="float32")
    if make is _llama:
        lengths = [len(each["input_ids"]) for each in data]
        last = [int((each["labels"][1:] != -100).sum()) for each in data] if prompts else None
        expected = [n - 1 for n in lengths]
        if last is not None:  # without any label, the teacher teaches all
            expected = [own or n for own, n in zip(last, expected, strict=True)]
        assert store.answers(range(20)).tolist() == expected

    def learnt(teacher):
        run = tl.distill(
            teacher, make(1), train=data, epochs=2, batch_size=4, objective=tl.SoftTargets(2),
            engine=tl.Engine(progress=False),
        )  # fmt: skip
        return run.student.state_dict()

    assert_equal_weights(learnt(store), learnt(make(0)), atol=1e-5)


HINT = {"model.layers.0": "model.layers.0"}


def test_layers_of_texts_of_several_lengths_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(tl.ModelError, match=r"'model.layers.0' in one shape.*padding='max_length'"):
        stored(tmp_path, texts(), _llama(0), fields=tl.FeatureMatch(HINT))


def test_layers_of_texts_padded_to_one_length_are_those_of_the_live_teacher(tmp_path):
    data = []
    for each in texts(8):
        ids, gap = each["input_ids"], 9 - len(each["input_ids"])
        mask = torch.cat([torch.ones(len(ids)), torch.zeros(gap)]).long()
        ids = torch.cat([ids, ids.new_zeros(gap)])
        data.append({"input_ids": ids, "attention_mask": mask})
    objective = tl.FeatureMatch(HINT) + tl.SoftTargets(1)
    store = stored(tmp_path, data, _llama(0), fields=objective, dtype="float32")
    students = [
        tl.distill(
            teacher, _llama(1), train=data, objective=objective, epochs=2, batch_size=4,
            engine=tl.Engine(progress=False, device="cpu"),
        ).student.state_dict()
        for teacher in (store, _llama(0))
    ]  # fmt: skip
    torch.testing.assert_close(*students, rtol=1e-4, atol=1e-6)
