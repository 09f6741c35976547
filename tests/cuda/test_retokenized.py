"""A teacher with another tokenizer on a device: equal to the CPU."""

import pytest

import tutelage as tl
from devices import DEVICE, cuda

pytest.importorskip("transformers")
from language_models import make
from tokenizing import TEXTS, byte_level, sentencepiece

pytestmark = cuda


def run(device, least, **engine):
    ours, theirs = byte_level(360), sentencepiece()
    data = [{"input_ids": ours(text)["input_ids"]} for text in TEXTS]
    teacher = make("Llama", 32, 2, vocab_size=len(theirs))
    student = make("Llama", 16, 1, vocab_size=len(ours))
    known = tl.teachers.Retokenized(teacher, theirs, ours)
    found = tl.distill(
        known,
        student,
        train=data,
        val=data,
        objective=tl.AlignedKL() + 10 * tl.ALM() + 0.1 * tl.HardLabels(),
        epochs=2,
        batch_size=2,
        engine=tl.Engine(device=device, progress=False, chunk_logits_from=least, **engine),
    )
    return found.history[-1]


@pytest.mark.parametrize("least", [None, 1], ids=["logits", "head"])
def test_a_run_is_that_of_the_cpu(least):
    expected, found = run("cpu", None), run(DEVICE, least)
    for name in ("train/loss", "train/alignedkl", "train/alm", "val/loss"):
        assert found[name] == pytest.approx(expected[name], rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("least", [None, 1], ids=["logits", "head"])
def test_mixed_precision_is_close(least):
    expected, found = run("cpu", None), run(DEVICE, least, precision="bf16")
    assert found["val/loss"] == pytest.approx(expected["val/loss"], rel=0.1)
