"""A student that writes its own texts: what is learned of them, and that it can be repeated."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tutelage as tl
from children import PROGRAMS, Child, start_two
from language_models import VOCABULARY, make, padded, texts
from served import Server
from tutelage.signals import Batch

TEXTS = texts(8)
PROMPTS = [{"input_ids": each["input_ids"][: len(each["input_ids"]) // 3]} for each in TEXTS]
SOFT = tl.RowMean(tl.ReverseKL())
END = 2


class Recorder:
    """A transform that changes nothing and remembers the batches."""

    def __init__(self, draws: int = 0) -> None:
        self.draws, self.batches, self.drawn = draws, [], []

    def __call__(self, batch: Batch) -> Batch:
        self.drawn += torch.rand(self.draws).tolist()
        self.batches.append(batch)
        return batch


def ending(name: str = "Llama", **settings: Any) -> Any:
    """Return a student that ends its texts often."""
    model = make(name, **settings)
    with torch.no_grad():
        model.get_output_embeddings().weight[END] += 0.3
    return model


def sharp(name: str = "Llama", **settings: Any) -> Any:
    """Return a student that prefers some tokens clearly."""
    model = make(name, **settings)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


def run(policy: tl.OnPolicy, student: Any = None, **settings: Any) -> tuple[tl.Run, list[Batch]]:
    seen = Recorder(settings.pop("draws", 0))
    engine = tl.Engine(progress=False, device="cpu", **settings.pop("engine", {}))
    settings = {
        "objective": SOFT, "batch_size": 4, "epochs": 1,
        "optimizer": partial(torch.optim.SGD, lr=1.0),
        "teacher": make("Llama", 32, seed=1),
    } | settings  # fmt: skip
    found = tl.distill(
        settings.pop("teacher"), student or ending(), train=policy, engine=engine, transform=seen,
        **settings,
    )  # fmt: skip
    return found, seen.batches


def writing(prompts: Any = PROMPTS, **settings: Any) -> tl.OnPolicy:
    return tl.OnPolicy(prompts, **{"share": 1, "max_new_tokens": 6} | settings)


def pairs(batches: list[Batch]) -> list[tuple[list[int], list[int]]]:
    """Return each written text, and the tokens of it that are learned, without padding."""
    found = []
    for batch in batches:
        mask, learned_of = batch.inputs["attention_mask"].bool(), batch.row_mask
        assert learned_of is not None
        for ids, own, learned in zip(batch.inputs["input_ids"], mask, learned_of, strict=True):
            assert not (learned & ~own).any()
            found.append((ids[own].tolist(), ids[learned].tolist()))
    return found


def index_of(batch: Batch) -> list[int]:
    return [] if batch.index is None else batch.index.tolist()


def is_written(batch: Batch) -> bool:
    return batch.row_mask is not None


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


@pytest.mark.parametrize("row_mean", [True, False])
@pytest.mark.parametrize("pieces", [1, 4])
def test_a_step_is_that_of_a_loop_by_hand(row_mean: bool, pieces: int) -> None:
    """The mean is over generated tokens (or texts, of their means), and over no prompt."""
    student, teacher = ending(), make("Llama", 32, seed=1)
    before = {name: each.clone() for name, each in student.named_parameters()}
    objective = tl.RowMean(tl.ReverseKL()) if row_mean else tl.ReverseKL()
    found, batches = run(
        writing(), student, teacher=teacher, objective=objective, batch_size=8 // pieces,
        engine={"accumulation": pieces},
    )  # fmt: skip
    check_by_hand(before, dict(found.student.named_parameters()), teacher, batches, row_mean)


def check_by_hand(
    before: dict[str, torch.Tensor], after: Any, teacher: Any, batches: list[Batch], row_mean: bool
) -> None:
    """Check one step at a rate of 1 against texts that are run one by one."""
    student = ending()
    student.load_state_dict(before, strict=False)
    by_text = []
    for text, own in pairs(batches):
        ids = torch.tensor([text])
        asked = slice(len(text) - len(own) - 1, len(text) - 1)
        q = student(input_ids=ids).logits[0, asked].log_softmax(1)
        with torch.no_grad():
            p = teacher(input_ids=ids).logits[0, asked].log_softmax(1)
        by_text.append((q.exp() * (q - p)).sum(1))
    assert len(by_text) == 1 or len({len(each) for each in by_text}) > 1
    loss = torch.cat(by_text).mean()
    if not row_mean:
        loss = torch.stack([each.mean() for each in by_text]).mean()
    loss.backward()
    for name, each in student.named_parameters():
        expected = before[name] - each.grad
        torch.testing.assert_close(after[name], expected, rtol=1e-4, atol=1e-6, msg=name)


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


def test_specialists_know_the_domains_of_prompts() -> None:
    teachers = {name: make("Llama", 32, seed=seed) for name, seed in (("law", 1), ("art", 2))}
    prompts = [
        {**each, "domain": name} for each, name in zip(PROMPTS, ["law", "art"] * 4, strict=True)
    ]
    student = ending()
    before = {name: each.clone() for name, each in student.named_parameters()}
    found, batches = run(writing(prompts), student, teacher=dict(teachers), batch_size=8)
    [batch] = batches
    names = [str(each) for each in batch.domain or []]
    assert sorted(names) == ["art"] * 4 + ["law"] * 4

    def asked(input_ids: torch.Tensor) -> Any:
        place = [text for text, _ in pairs(batches)].index(input_ids[0].tolist())
        return teachers[names[place]](input_ids=input_ids)

    check_by_hand(before, dict(found.student.named_parameters()), asked, batches, row_mean=True)


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


def test_each_example_is_a_prompt_or_a_text_in_an_epoch() -> None:
    _, batches = run(writing(TEXTS, share=0.5), batch_size=1, epochs=4)
    given = [each for each in batches if not is_written(each)]
    assert len(given) == 16
    firsts = {tuple(each["input_ids"].tolist()): place for place, each in enumerate(PROMPTS)}
    wholes = {tuple(each["input_ids"].tolist()): place for place, each in enumerate(TEXTS)}
    for epoch in range(4):
        seen = []
        for batch in batches[8 * epoch : 8 * epoch + 8]:
            if is_written(batch):
                [(text, own)] = pairs([batch])
                seen.append(firsts[tuple(text[: len(text) - len(own)])])
                assert batch.index is None
            else:
                seen.append(wholes[tuple(batch.inputs["input_ids"][0].tolist())])
                assert batch.labels.equal(TEXTS[seen[-1]]["labels"][None])
                assert index_of(batch) == [seen[-1]]
        assert sorted(seen) == list(range(8))


def test_given_texts_of_their_own_go_on_through_the_epochs() -> None:
    others = texts(5, seed=9)
    policy = tl.OnPolicy(PROMPTS, others, share=0, max_new_tokens=4)
    _, batches = run(policy, batch_size=2, epochs=3)
    assert len(batches) == 12
    found = [each for batch in batches for each in index_of(batch)]
    assert [sorted(found[at : at + 5]) for at in (0, 5, 10, 15)] == [list(range(5))] * 4


def test_the_share_follows_a_schedule() -> None:
    """And any stretch of batches has very nearly its share."""
    for share, counts in (
        (0.25, [25, 25, 25, 25]),
        (tl.schedules.Linear(0, 1), [12.5, 37.5, 62.5, 87.5]),
        (tl.schedules.Step({0: 0, 0.5: 1}), [0, 0, 100, 100]),
    ):
        policy = tl.OnPolicy(TEXTS, share=share, max_new_tokens=4)
        found = tl.data.OnPolicySource("train", policy, 1, 3, tl.data.Shard(), epochs=50)
        written = [found.is_written(number // 8, number % 8) for number in range(400)]
        for quarter, expected in enumerate(counts):
            assert abs(sum(written[100 * quarter : 100 * quarter + 100]) - expected) <= 4


def test_labels_are_learned_from_given_texts_alone() -> None:
    """With a weight of zero for the teacher, written batches leave the student as it is."""
    objective = tl.HardLabels() + 0 * tl.ReverseKL()
    weights: list[dict[str, torch.Tensor]] = []
    student = ending()

    class Kept(Recorder):
        def __call__(self, batch: Batch) -> Batch:
            weights.append({name: each.clone() for name, each in student.state_dict().items()})
            return super().__call__(batch)

    seen = Kept()
    found = tl.distill(
        make("Llama", 32, seed=1), student, train=tl.OnPolicy(TEXTS, max_new_tokens=4),
        objective=objective, epochs=2, batch_size=2, transform=seen,
        optimizer=partial(torch.optim.SGD, lr=0.1), engine=tl.Engine(progress=False, device="cpu"),
    )  # fmt: skip
    weights.append(found.student.state_dict())
    kinds = [is_written(each) for each in seen.batches]
    assert True in kinds
    assert False in kinds
    for kind, before, after in zip(kinds, *zip(*pairwise(weights), strict=True), strict=True):
        same = all(torch.equal(before[name], after[name]) for name in before)
        assert same == kind


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


def test_two_processes_write_a_part_each_and_average_over_both(tmp_path: Path) -> None:
    """Of the last batch, which is of one prompt, both write the same text."""
    errors = tmp_path / "errors"
    for child in start_two(PROGRAMS / "on_policy_processes.py", (tmp_path,), errors):
        child.finish()
    batches = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in (0, 1)]
    firsts, lasts = map(list, zip(*batches, strict=True))
    assert [len(each) for each in firsts] == [4, 4]
    assert [len(each) for each in lasts] == [1, 1]
    assert pairs(lasts[:1]) == pairs(lasts[1:])
    weights = [load_file(tmp_path / f"{step}.safetensors") for step in range(3)]
    teacher = make("Llama", 32, seed=1)
    for (before, after), seen in zip(pairwise(weights), (firsts, lasts[:1]), strict=True):
        check_by_hand(before, after, teacher, seen, row_mean=True)


def test_a_served_teacher_judges_as_the_model_itself() -> None:
    small: dict[str, Any] = {"vocab_size": 20}
    teacher = make("Llama", 32, seed=1, **small)
    prompts = [{"input_ids": each["input_ids"] % 17 + 3} for each in PROMPTS]
    with Server(teacher) as server:
        served = tl.teachers.Served(server.url, top_k=20, vocabulary=20, retries=0)
        found, batches = [], []
        for each in (teacher, served):
            one, seen = run(writing(prompts), ending(**small), teacher=each, batch_size=4)
            found.append(one.student.state_dict())
            batches.append(pairs(seen))
    assert batches[0] == batches[1]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_mixed_precision_writes_and_learns() -> None:
    settings: dict[str, Any] = {"epochs": 12, "optimizer": partial(torch.optim.AdamW, lr=1e-2)}
    found, _ = run(writing(), engine={"precision": "bf16"}, **settings)
    assert found.history[-1]["train/loss"] < 0.7 * found.history[0]["train/loss"]


def test_a_large_vocabulary_in_pieces_gives_the_same_student() -> None:
    found = [
        run(writing(TEXTS, share=0.5), engine={"chunk_logits_from": each}, batch_size=2)[0]
        for each in (0, None)
    ]
    torch.testing.assert_close(*[each.student.state_dict() for each in found], rtol=1e-4, atol=1e-5)


def test_it_learns_what_its_teacher_says_on_its_own_texts() -> None:
    settings: dict[str, Any] = {"epochs": 30, "optimizer": partial(torch.optim.AdamW, lr=1e-2)}
    found, _ = run(writing(), val=TEXTS, objective=tl.ReverseKL(), **settings)
    first, last = found.history[0], found.history[-1]
    assert last["train/loss"] < 0.5 * first["train/loss"]
    assert last["val/loss"] < first["val/loss"]


def test_the_log_counts_what_is_written() -> None:
    found, batches = run(writing(TEXTS, share=0.5), batch_size=2, epochs=2)
    for epoch, record in enumerate(found.history):
        own = pairs([each for each in batches[4 * epoch : 4 * epoch + 4] if is_written(each)])
        assert record["written/texts"] == len(own)
        assert record["written/tokens"] == sum(len(learned) for _, learned in own)
        assert 0 < record["written/seconds"] < record["seconds"]
