"""A student that writes its own texts on a device, in mixed precision, the same each time."""

import pytest
import torch

import tutelage as tl
from devices import DEVICE, cuda

pytest.importorskip("transformers")

from language_models import make
from on_policy import PROMPTS, SOFT, TEXTS, Recorder, ending, pairs, writing

pytestmark = cuda


def run(precision, **settings):
    seen = Recorder(3)
    found = tl.distill(
        make("Llama", 32, seed=1), ending(), train=writing(**settings), objective=SOFT, epochs=8,
        batch_size=4, transform=seen, optimizer=lambda each: torch.optim.AdamW(each, lr=1e-2),
        engine=tl.Engine(device=DEVICE, progress=False, precision=precision),
    )  # fmt: skip
    return found, seen


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_it_writes_and_learns_there(precision):
    found, seen = run(precision)
    losses = [each["train/loss"] for each in found.history]
    assert losses[-1] < 0.8 * losses[0]
    again, other = run(precision)
    assert pairs(other.batches[:2]) == pairs(seen.batches[:2])
    assert other.drawn == seen.drawn
    prompts = sorted(each["input_ids"].tolist() for each in PROMPTS)
    written = pairs(seen.batches[:2])
    assert sorted(text[: len(text) - len(own)] for text, own in written) == prompts
    assert len(again.history) == len(losses)


def test_given_and_written_batches_are_mixed_there():
    found, _ = run("fp32", prompts=TEXTS, share=0.5)
    assert 0 < sum(each["written/texts"] for each in found.history) < 64
