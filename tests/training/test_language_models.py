"""Runs of language models: lists of texts in, logits chunk by chunk, and resumed after a kill."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import tutelage as tl
from children import PROGRAMS, Child
from language_models import make, padded, texts
from tutelage.evaluation import TokenScores, evaluate, perplexity
from tutelage.rows import Rows
from tutelage.signals import Batch

OBJECTIVE = 0.5 * tl.HardLabels() + tl.SoftTargets(1)
TEXTS = texts(8)


class Texts(Dataset[Any]):
    """A data set of dicts of lists, as the library `datasets` yields them."""

    def __len__(self) -> int:
        return len(TEXTS)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {key: value.tolist() for key, value in TEXTS[index].items()}


def run(train: object = TEXTS, least: int | None = 0, **settings: Any) -> tl.Run:
    student, teacher = make("Llama"), make("Llama", 32, seed=1)
    engine = tl.Engine(progress=False, chunk_logits_from=least, **settings.pop("engine", {}))
    settings = {"objective": OBJECTIVE, "batch_size": 4, "val": TEXTS, "epochs": 2} | settings
    sgd = partial(torch.optim.SGD, lr=settings.pop("optimizer_rate", 0.5))
    return tl.distill(teacher, student, train=train, optimizer=sgd, engine=engine, **settings)


def weights(found: tl.Run) -> dict[str, torch.Tensor]:
    return found.student.state_dict()


def numbers(found: tl.Run) -> list[dict[str, float]]:
    return [{k: v for k, v in each.items() if k != "seconds"} for each in found.history]


@pytest.fixture(scope="module")
def usual() -> tl.Run:
    return run()


def test_the_numbers_are_those_of_whole_logits(usual: tl.Run) -> None:
    whole = run(least=None)
    torch.testing.assert_close(weights(usual), weights(whole), rtol=1e-5, atol=1e-6)
    for ours, expected in zip(numbers(usual), numbers(whole), strict=True):
        assert ours == pytest.approx(expected, rel=1e-4)
    assert {"val/accuracy", "val/agreement", "val/loss"} <= usual.history[0].keys()


def test_it_learns(usual: tl.Run) -> None:
    longer = run(epochs=20)
    assert longer.history[-1]["val/loss"] < usual.history[0]["val/loss"] - 0.1


def test_a_list_a_data_set_and_a_loader_are_alike() -> None:
    order = partial(DataLoader, batch_size=4, collate_fn=padded)
    found = [weights(run(each, epochs=1)) for each in (order(TEXTS), order(list(TEXTS)))]
    torch.testing.assert_close(*found)
    found = [weights(run(each, epochs=1)) for each in (TEXTS, Texts())]
    torch.testing.assert_close(*found)


def test_accumulated_batches_make_one_step_where_tokens_weigh_the_same() -> None:
    objective = tl.RowMean(OBJECTIVE)
    whole = run(objective=objective, batch_size=8)
    pieces = run(objective=objective, batch_size=2, engine={"accumulation": 4})
    torch.testing.assert_close(weights(pieces), weights(whole), rtol=1e-4, atol=1e-5)


def test_mixed_precision_trains() -> None:
    found = run(epochs=8, engine={"precision": "bf16"})
    assert found.history[-1]["val/loss"] < found.history[0]["val/loss"]


def test_metrics_of_the_users_own_see_whole_logits_of_next_tokens() -> None:
    seen = []

    def perplexity(output: torch.Tensor, labels: torch.Tensor) -> float:
        seen.append((output.shape, len(labels)))
        return torch.nn.functional.cross_entropy(output, labels).exp().item()

    found = run(metrics={"perplexity": perplexity}, epochs=1)
    learned = sum(int((each["labels"][1:] != -100).sum()) for each in TEXTS)
    assert seen == [((learned, 64), learned)]
    model = found.student
    model.eval()
    losses = []
    for each in TEXTS:
        logits = model(input_ids=each["input_ids"][None]).logits[0]
        losses.append(
            torch.nn.functional.cross_entropy(logits[:-1], each["labels"][1:], reduction="sum")
        )
    expected = (torch.stack(losses).sum() / learned).exp().item()
    assert found.history[0]["val/perplexity"] == pytest.approx(expected, rel=1e-5)


def test_the_best_epoch_is_that_of_the_lowest_perplexity() -> None:
    found = run(epochs=3, optimizer_rate=2.0)
    values = [each["val/perplexity"] for each in found.history]
    assert found.best_epoch == 1 + values.index(min(values))
    assert perplexity(found.student, TEXTS) == pytest.approx(min(values), rel=1e-5)


@pytest.mark.parametrize("least", [0, None])
def test_metrics_of_scores_need_no_logits_and_know_their_direction(least: int | None) -> None:
    seen = []

    class Likely:
        """The fraction of tokens with a label whose probability is above a half."""

        reads_scores = True
        higher_is_better = True

        def of_rows(self, output: TokenScores, labels: torch.Tensor, rows: Rows) -> float:
            seen.append((type(output), len(labels), len(rows)))
            return (output.column("nll") < math.log(2)).double().mean().item()

    found = run(metrics={"likely": Likely()}, monitor="likely", epochs=1, least=least)
    learned = sum(int((each["labels"][1:] != -100).sum()) for each in TEXTS)
    assert seen == [(TokenScores, learned, learned)]
    assert 0 <= found.history[0]["val/likely"] <= 1


def test_accuracy_and_agreement_are_of_learned_tokens() -> None:
    student, teacher = make("GPT2"), make("GPT2", 32, seed=1)
    raw = padded(TEXTS)
    labels = raw.pop("labels")
    batch = Batch(raw, labels)

    class Once:
        def epoch(self, number: int, skip: int = 0) -> list[Batch]:
            return [batch]

    once: Any = Once()
    found = [
        evaluate(
            student, tl.teachers.Live(teacher), tl.SoftTargets(1), once, chunk_logits_from=each
        ).metrics
        for each in (0, None)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    ours, theirs = (each(**raw).logits[:, :-1].argmax(-1) for each in (student, teacher))
    learned = labels[:, 1:] != -100
    right = (ours == labels[:, 1:])[learned].float().mean().item()
    assert found[0]["accuracy"] == pytest.approx(right)
    assert found[0]["agreement"] == pytest.approx((ours == theirs)[learned].float().mean().item())


def test_stored_targets_are_those_of_next_tokens(tmp_path: Path) -> None:
    """Of a prompt, the store has what its last token says of the next one."""
    ids = torch.randint(3, 64, (8, 6), generator=torch.Generator().manual_seed(3))
    labels = ids.clone()
    labels[:, :3] = -100
    data = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]
    teacher = make("Llama", 32, seed=1)
    store = tl.label(teacher, data, out=tmp_path / "store", dtype="float32", top_k=64)
    engine = tl.Engine(progress=False, chunk_logits_from=0)
    found = [
        tl.distill(
            each, make("Llama"), train=data, objective=tl.SoftTargets(1), epochs=1, engine=engine,
            optimizer=partial(torch.optim.SGD, lr=0.5),
        )
        for each in (store, teacher)
    ]  # fmt: skip
    torch.testing.assert_close(*map(weights, found), rtol=1e-4, atol=1e-5)


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    program = PROGRAMS / "killed_language_model.py"
    for name, death in (("whole", 0), ("killed", 2), ("killed", 3), ("killed", 0)):
        errors = tmp_path / "errors"
        code = Child(program, (tmp_path / name, death), errors).wait()
        assert code == (-9 if death else 0), errors.read_text()
    files = [tmp_path / name / "student.safetensors" for name in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_batch_of_texts_of_one_token_teaches_nothing() -> None:
    found = run(train=[{"input_ids": torch.tensor([3])}] * 4 + TEXTS[:4], batch_size=1, val=None)
    assert found.history[-1]["train/loss"] > 0


def test_batches_of_similar_length_teach_the_same_texts_and_make_another_run(
    tmp_path: Path,
) -> None:
    grouped = run(texts(40, longest=30), engine={"group_by_length": True}, out=tmp_path)
    again = run(texts(40, longest=30), engine={"group_by_length": True}, out=tmp_path)
    torch.testing.assert_close(weights(again), weights(grouped), rtol=0, atol=0)
    assert grouped.history[-1]["train/loss"] < grouped.history[0]["train/loss"]
    with pytest.raises(tl.TutelageError, match="group_by_length"):
        run(texts(40, longest=30), out=tmp_path)


def test_texts_that_the_student_writes_are_not_grouped_by_length() -> None:
    prompts = [{"input_ids": each["input_ids"][:2]} for each in TEXTS]
    policy = tl.OnPolicy(prompts, share=1, max_new_tokens=2, eos_token_id=None)
    with pytest.raises(tl.TutelageError, match="got OnPolicy as `train`"):
        run(policy, objective=tl.ReverseKL(), val=None, engine={"group_by_length": True})
