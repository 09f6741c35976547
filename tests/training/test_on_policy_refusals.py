"""What cannot be learned on-policy is refused with what to do, and another run is told apart."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import tutelage as tl
from language_models import make, texts

TEXTS = texts(8)
PROMPTS = [{"input_ids": each["input_ids"][:2]} for each in TEXTS]
SOFT = tl.RowMean(tl.ReverseKL())


def run(policy: Any = None, student: Any = None, teacher: Any = None, **settings: Any) -> tl.Run:
    settings = {"objective": SOFT, "epochs": 1, "batch_size": 4} | settings
    policy = policy or tl.OnPolicy(PROMPTS, share=1, max_new_tokens=3)
    teacher = make("Llama", seed=1) if teacher is None else teacher
    student = student or make("Llama")
    engine = tl.Engine(progress=False, device="cpu")
    return tl.distill(teacher, student, train=policy, engine=engine, **settings)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"share": 1.5}, "`share` must lie in"),
        ({"share": -0.1}, "`share` must lie in"),
        ({"share": tl.schedules.Linear(0, 2)}, "`share` must lie in"),
        ({"share": "half"}, "`share` must be a number"),
        ({"max_new_tokens": 0}, "`max_new_tokens` must be at least 1"),
        ({"temperature": 0}, "`temperature` must be positive"),
        ({"top_k": 0}, "`top_k` must be at least 1"),
        ({"top_p": 0}, "`top_p` must be above 0"),
        ({"top_p": 1.1}, "`top_p` must lie in"),
        ({"eos_token_id": "</s>"}, "`eos_token_id` must be an integer"),
        ({"eos_token_id": [2, -1]}, "`eos_token_id` must be at least 0"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(tl.ArgumentError, match=words):
        tl.OnPolicy(PROMPTS, **{"share": 1, "max_new_tokens": 3} | settings)


class Broken(list):
    """A data set that cannot be read."""

    def __len__(self) -> int:
        return 1


IDS = torch.tensor([[4, 5], [6, 7]])


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([], "at least one text"),
        (DataLoader(PROMPTS), "give a loader's data set"),  # type: ignore[arg-type]
        (iter(PROMPTS), "list or data set of dicts"),
        ({"input_ids": IDS}, "list or data set of dicts"),
        (IDS, "dicts with `input_ids`"),
        ([{"text": "Hello"}], "tokenise"),
        (Broken(), "load its example 0"),
    ],
)
def test_prompts_that_are_none(prompts: Any, words: str) -> None:
    with pytest.raises(tl.DataError, match=words):
        tl.OnPolicy(prompts, share=1, max_new_tokens=3)


def test_given_texts_need_labels_or_data_of_their_own() -> None:
    with pytest.raises(tl.DataError, match="`prompts` must have labels"):
        tl.OnPolicy(PROMPTS, max_new_tokens=3)
    with pytest.raises(tl.DataError, match="`texts` must have dicts"):
        tl.OnPolicy(PROMPTS, [3, 4], max_new_tokens=3)
    tl.OnPolicy(PROMPTS, TEXTS, max_new_tokens=3)
    tl.OnPolicy(TEXTS, max_new_tokens=3)


def learned(first: int) -> dict[str, torch.Tensor]:
    labels = torch.tensor([4, 5, 6])
    labels[:first] = -100
    return {"input_ids": torch.tensor([4, 5, 6]), "labels": labels}


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([learned(1), learned(0)], r"token before the first learned one.*example 1"),
        ([{"input_ids": torch.tensor([], dtype=torch.int64)}] * 2, "token before the first"),
        ([{"input_ids": torch.arange(3), "attention_mask": torch.zeros(3).long()}], "token before"),
        ([{"input_ids": torch.arange(3), "attention_mask": torch.tensor([1, 1, 2])}], "packed"),
        ([{"input_ids": torch.arange(3), "labels": torch.tensor(1)}], "`labels` of prompts"),
        ([{"input_ids": torch.ones(62).long()}], "at most 64 tokens"),
        ([{"input_ids": IDS[0], "position_ids": torch.arange(2)}], "position_ids"),
    ],
)
def test_prompts_that_cannot_be_gone_on_with(prompts: Any, words: str) -> None:
    student = make("GPT2", max_position_embeddings=64)
    with pytest.raises(tl.DataError, match=words):
        run(tl.OnPolicy(prompts, share=1, max_new_tokens=3), student, make("GPT2", seed=1))


@pytest.mark.parametrize("kind", ["stored", "recorded", "member"])
def test_teachers_that_know_other_texts_only(kind: str, tmp_path: Path) -> None:
    live = make("Llama", seed=1)
    store = tl.label(live, TEXTS, out=tmp_path / "store")
    (tmp_path / "answers.jsonl").write_text('{"prompt_logprobs": [null]}\n')
    teacher: Any = {
        "stored": store,
        "recorded": tl.teachers.Recorded(tmp_path / "answers.jsonl"),
        "member": [live, store],
    }[kind]
    with pytest.raises(tl.DataError, match=r"needs? the index of each"):
        run(tl.OnPolicy(TEXTS, share=0.5, max_new_tokens=3), teacher=teacher)


@pytest.mark.parametrize("name", ["T5", "Bert"])
def test_students_that_do_not_generate(name: str) -> None:
    with pytest.raises(tl.ModelError, match="causal language model"):
        run(student=make(name))
    with pytest.raises(tl.ModelError, match="causal language model"):
        run(student=nn.Embedding(8, 8))


def test_an_end_must_be_known_or_left_out() -> None:
    student = make("Llama", eos_token_id=None)
    with pytest.raises(tl.ArgumentError, match="got none as `eos_token_id`"):
        run(student=student)
    with pytest.raises(tl.ArgumentError, match=r"one of the 64 tokens, got \[64\]"):
        run(tl.OnPolicy(PROMPTS, share=1, max_new_tokens=3, eos_token_id=64))
    run(tl.OnPolicy(PROMPTS, share=1, max_new_tokens=3, eos_token_id=None), student)


@pytest.mark.parametrize(
    ("objective", "share", "words"),
    [
        (tl.HardLabels(), 0.5, "must be judged by a teacher"),
        (tl.DKD() + tl.HardLabels(), 0.5, "must be judged by a teacher"),
        (tl.OwnLoss() + tl.ReverseKL(), 0.5, "have no labels, and must be judged"),
        (tl.HardLabels() + tl.ReverseKL(), 1, "learns from labels, and with share=1"),
    ],
)
def test_objectives_that_learn_nothing_of_what_is_written(
    objective: tl.Objective, share: float, words: str
) -> None:
    with pytest.raises(tl.ArgumentError, match=words):
        run(tl.OnPolicy(TEXTS, share=share, max_new_tokens=3), objective=objective)


def test_an_epoch_may_have_no_given_text() -> None:
    share = tl.schedules.Step({0: 1, 0.5: 0})
    policy = tl.OnPolicy(TEXTS, share=share, max_new_tokens=3)
    found = run(policy, objective=tl.HardLabels() + tl.ReverseKL(), epochs=2)
    assert found.history[0]["train/hard_labels"] == 0
    assert found.history[1]["train/hard_labels"] > 0


def test_it_is_data_for_training_alone(tmp_path: Path) -> None:
    policy = tl.OnPolicy(TEXTS, max_new_tokens=3)
    with pytest.raises(tl.DataError, match=r"tl.OnPolicy is data for `train`"):
        run(policy, val=policy)
    with pytest.raises(tl.DataError, match=r"tl.OnPolicy is data for `train`"):
        tl.evaluation.perplexity(make("Llama"), policy)
    with pytest.raises(tl.DataError):
        tl.label(make("Llama"), policy, out=tmp_path)
    with pytest.raises(tl.ArgumentError, match="judged by a teacher"):
        tl.fit(make("Llama"), train=policy, epochs=1)


@pytest.mark.parametrize(
    "other",
    [
        {"max_new_tokens": 4},
        {"temperature": 0.9},
        {"top_k": 9},
        {"top_p": 0.9},
        {"eos_token_id": 3},
        {"share": 0.75},
        {"prompts": [*TEXTS[:-1], TEXTS[0]]},
        {"texts": texts(8, seed=5)},
        {"texts": texts(7)},
        "end of the model",
    ],
)
def test_another_run_is_refused(other: Any, tmp_path: Path) -> None:
    settings = {"prompts": TEXTS, "texts": texts(8), "max_new_tokens": 3}
    student = partial(make, "Llama")
    run(tl.OnPolicy(**settings), student(), out=tmp_path / "run")
    run(tl.OnPolicy(**settings), student(), out=tmp_path / "run")
    changed = student()
    if isinstance(other, str):
        changed.generation_config.eos_token_id = 5
    else:
        settings |= other
    with pytest.raises(tl.RunFolderError):
        run(tl.OnPolicy(**settings), changed, out=tmp_path / "run")


def test_a_run_can_be_continued_unless_its_share_follows_a_schedule(tmp_path: Path) -> None:
    for share in (0.5, tl.schedules.Linear(0, 1)):
        policy, out = tl.OnPolicy(TEXTS, share=share, max_new_tokens=3), tmp_path / repr(share)
        run(policy, out=out)
        if share == 0.5:
            longer = run(policy, out=out, epochs=2).student.state_dict()
            whole = run(policy, epochs=2).student.state_dict()
            assert all(torch.equal(longer[name], whole[name]) for name in whole)
        else:
            with pytest.raises(tl.RunFolderError, match="the schedule"):
                run(policy, out=out, epochs=2)
