"""A student that writes its own texts: samples of what it computes, and the same each time."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

import tutelage as tl
from children import PROGRAMS, Child
from language_models import VOCABULARY, make, padded
from on_policy import END, PROMPTS, SOFT, TEXTS, Recorder, ending, pairs, run, sharp, writing
from tutelage.signals import Batch


def test_a_text_is_its_prompt_and_what_is_learned_and_an_end_ends_it() -> None:
    _, batches = run(writing(), epochs=6)
    prompts = sorted(each["input_ids"].tolist() for each in PROMPTS)
    found = pairs(batches)
    assert sorted(text[: len(text) - len(own)] for text, own in found[:8]) == prompts
    ended = [own for _, own in found if own[-1] == END]
    assert ended
    assert len(ended) < len(found)
    for text, own in found:
        assert text[len(text) - len(own) :] == own
        assert END not in own[:-1]
        assert len(own) == 6 or own[-1] == END
    assert all((each.labels == -100).all() for each in batches)


@pytest.mark.parametrize("name", ["Llama", "GPT2"])
def test_tokens_are_samples_of_the_students_distribution(name: str) -> None:
    """Whatever padding is in front, and whatever generation settings the student has."""
    student = sharp(name, vocab_size=8)
    student.generation_config.repetition_penalty = 9.0
    student.generation_config.top_k = 1
    student.generation_config.suppress_tokens = [5]
    settings = student.generation_config
    ids = [torch.tensor([4, 5, 6, 7, 3]), torch.tensor([6, 4])]
    prompts = [{"input_ids": ids[place % 2]} for place in range(4000)]
    teacher = make(name, 32, vocab_size=8, seed=1)
    policy = writing(prompts, max_new_tokens=1)
    _, batches = run(policy, student, batch_size=4000, teacher=teacher)
    assert student.generation_config is settings
    student = sharp(name, vocab_size=8)
    found = [(tuple(text[:-1]), own[0]) for text, own in pairs(batches)]
    largest = 0.0
    for each in ids:
        expected = student(input_ids=each[None]).logits[0, -1].softmax(0).detach()
        own = torch.tensor([token for prompt, token in found if prompt == tuple(each.tolist())])
        frequency = own.bincount(minlength=8) / len(own)
        assert len(own) == 2000
        error = 4 * (expected * (1 - expected) / 2000).sqrt() + 1e-3
        assert ((frequency - expected).abs() < error).all()
        largest = max(largest, float(expected.max()))
    assert 0.3 < largest < 0.95


def test_sampling_can_be_narrowed() -> None:
    student = sharp()
    greedy, batches = run(writing(top_k=1, eos_token_id=None), sharp(), batch_size=8)
    for text, own in pairs(batches):
        for place in range(len(text) - len(own), len(text)):
            logits = student(input_ids=torch.tensor([text[:place]])).logits[0, -1]
            assert text[place] == int(logits.argmax())
    for settings in ({"top_p": 1e-6}, {"temperature": 1e-4}):
        _, other = run(writing(eos_token_id=None, **settings), sharp(), batch_size=8)
        assert pairs(other) == pairs(batches)
    assert greedy.settings["train"]["on_policy"]["top_k"] == 1


def test_texts_are_those_of_the_student_as_it_is_at_that_step() -> None:
    student, weights = sharp(), []

    class Kept(Recorder):
        def __call__(self, batch: Batch) -> Batch:
            weights.append({name: each.clone() for name, each in student.state_dict().items()})
            return super().__call__(batch)

    seen, policy = Kept(), writing(top_k=1, eos_token_id=None)
    tl.distill(
        make("Llama", 32, seed=1), student, train=policy, objective=SOFT, epochs=2, batch_size=2,
        optimizer=partial(torch.optim.SGD, lr=1.0), transform=seen,
        engine=tl.Engine(progress=False, device="cpu", accumulation=2),
    )  # fmt: skip
    model, first = make("Llama"), []
    for batch, own in zip(seen.batches, weights, strict=True):
        model.load_state_dict(own)
        for text, written in pairs([batch]):
            logits = model(input_ids=torch.tensor([text])).logits[0, :-1].argmax(1)
            assert logits[-len(written) :].tolist() == written
        model.load_state_dict(weights[0])
        for text, written in pairs([batch]):
            logits = model(input_ids=torch.tensor([text])).logits[0, :-1].argmax(1)
            first.append(logits[-len(written) :].tolist() == written)
    assert all(first[:4])
    assert not all(first)


def test_padding_with_the_id_of_the_end_hides_no_end() -> None:
    """Prompts that are padded by the end's id, on either side, and a student whose pad it is."""
    student = ending()
    student.generation_config.pad_token_id = END
    raw = padded([{**each, "labels": each["input_ids"]} for each in PROMPTS], left=True, pad=END)
    del raw["labels"]
    prompts = [dict(zip(raw, each, strict=True)) for each in zip(*raw.values(), strict=True)]
    _, batches = run(writing(prompts), student, epochs=4)
    _, expected = run(writing(), epochs=4)
    assert pairs(batches) == pairs(expected)
    assert any(own[-1] == END for _, own in pairs(batches))


def test_several_ends_and_none() -> None:
    everything = list(range(VOCABULARY))
    _, batches = run(writing(eos_token_id=everything))
    assert all(len(own) == 1 for _, own in pairs(batches))
    _, batches = run(writing(eos_token_id=None))
    assert all(len(own) == 6 for _, own in pairs(batches))
    assert any(END in own for _, own in pairs(batches))


def test_the_mode_is_restored_and_no_dropout_falls_on_what_is_written() -> None:
    modes, student = [], ending(attention_dropout=0.5)
    student.model.layers[0].register_forward_pre_hook(
        lambda module, _: modes.append((module.training, torch.is_grad_enabled()))
    )
    _, batches = run(writing(), student, batch_size=8)
    assert (False, False) in modes
    assert modes[-1] == (True, True)
    _, plain = run(writing(), ending(), batch_size=8)
    assert pairs(batches) == pairs(plain)


def test_texts_depend_on_the_seed_and_not_on_the_global_random_state() -> None:
    first, second = (run(writing(), epochs=2, draws=each)[1] for each in (0, 7))
    assert pairs(first) == pairs(second)
    assert pairs(run(writing(), epochs=2, seed=1)[1]) != pairs(first)
    both = [pairs(first[:2]), pairs(first[2:])]  # of two epochs
    assert sorted(own for _, own in both[0]) != sorted(own for _, own in both[1])


def test_writing_leaves_the_global_random_state_as_it_is() -> None:
    drawn = []
    for share in (0, 1):
        seen = Recorder(3)
        tl.distill(
            make("Llama", 32, seed=1), ending(), train=writing(TEXTS, share=share), epochs=1,
            objective=SOFT, batch_size=4, transform=seen,
            engine=tl.Engine(progress=False, device="cpu"),
        )  # fmt: skip
        drawn.append(seen.drawn)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 6


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Killed twice in the middle of an epoch; with dropout, a schedule and given texts."""
    program = PROGRAMS / "killed_on_policy.py"
    for name, death in (("whole", 0), ("killed", 3), ("killed", 4), ("killed", 0)):
        errors = tmp_path / "errors"
        code = Child(program, (tmp_path / name, death), errors).wait()
        assert code == (-9 if death else 0), errors.read_text()
    files = [tmp_path / name / "student.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()
    counts = []
    for name in ("whole", "killed"):
        history = torch.load(tmp_path / name / "last.pt", weights_only=True)["state"]["history"]
        counts.append([(each["written/texts"], each["written/tokens"]) for each in history])
    assert counts[0] == counts[1]
    assert 0 < counts[0][0][0] < 10
