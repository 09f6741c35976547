"""A language model's logits are never whole where some of them are stored."""

import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import GPT2Config, GPT2LMHeadModel

import tutelage as tl
from tutelage import heads

VOCABULARY, TEXTS, TOKENS = 20_000, 24, 32


class Largest(TorchDispatchMode):
    """Keeps the size of the largest tensor that is made, in bytes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        for each in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(each, torch.Tensor):
                self.size = max(self.size, each.untyped_storage().nbytes())
        return found


def model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    return GPT2LMHeadModel(config).eval()


def texts():
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(TOKENS // 2, TOKENS + 1, (TEXTS,), generator=generator).tolist()
    return [{"input_ids": torch.randint(VOCABULARY, (n,), generator=generator)} for n in lengths]


@pytest.mark.parametrize("kept", [{"top_k": 5}, {"sampled_classes": 6, "temperature": 2.0}])
def test_a_store_of_some_classes_is_made_without_whole_logits(tmp_path, monkeypatch, kept):
    teacher, data, at_once = model(), texts(), 10 * VOCABULARY
    options = {"batch_size": 16, "dtype": "float32", **kept}

    with monkeypatch.context() as patched:
        patched.setattr(sys.modules["tutelage.training.label"], "CHUNK_LOGITS_FROM", None)
        expected = tl.label(teacher, data, out=tmp_path / "whole", **options)
    monkeypatch.setitem(heads._LOGITS_AT_ONCE, "cpu", at_once)
    with Largest() as largest:
        found = tl.label(teacher, data, out=tmp_path / "chunks", **options)
    assert largest.size <= at_once * 8  # samples are drawn in float64
    for number in range(TEXTS):
        for ours, theirs in zip(_parts(found, number), _parts(expected, number), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def _parts(store, number):
    read = store.read("output", [number])
    return read.ids, read.logits, read.other
