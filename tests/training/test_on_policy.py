"""A student that writes its own texts: what is learned of them, and what of given ones."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tutelage as tl
from children import PROGRAMS, start_two
from language_models import make, texts
from on_policy import PROMPTS, TEXTS, Recorder, ending, index_of, is_written, pairs, run, writing
from served import Server
from tutelage.signals import Batch


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
        found = tl.data.OnPolicySource("train", policy, 1, 3, tl.data.Shard())
        found.epochs = 50
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
    [record] = torch.load(tmp_path / "history.pt", weights_only=True)
    learned = [len(each) for _, each in pairs([*firsts, *lasts[:1]])]
    assert (record["written/texts"], record["written/tokens"]) == (len(learned), sum(learned))
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


def test_steps_in_place_of_epochs_follow_the_same_schedule() -> None:
    policy = tl.OnPolicy(TEXTS, share=tl.schedules.Linear(0, 1), max_new_tokens=3)
    whole, seen = run(policy, epochs=2)
    steps, same = run(policy, epochs=None, steps=whole.history[-1]["step"])
    assert [each.written for each in seen] == [each.written for each in same]
    for one, other in zip(whole.student.parameters(), steps.student.parameters(), strict=True):
        assert torch.equal(one, other)
