"""Studies of language models, whose logits are never kept."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tutelage as tl
from language_models import make, texts
from tutelage import heads
from tutelage.evaluation import BitsPerByte, Perplexity, paired_interval, reliability
from tutelage.results.models import MOST_TOKENS
from tutelage.studies.controls import built_in_controls
from tutelage.tasks import TASKS

QUIET = tl.Engine(device="cpu", progress=False, chunk_logits_from=16)
TEST, VAL = texts(9, 12, seed=3), texts(5, seed=2)


def teacher() -> nn.Module:
    """A teacher whose probabilities are far from even."""
    model = make("Llama", 32, seed=1)
    with torch.no_grad():
        model.lm_head.weight *= 30
    return model


def study(**changes: Any) -> tl.Study:
    options: dict[str, Any] = {
        "train": texts(12, seed=1),
        "val": VAL,
        "test": TEST,
        "arms": {"soft": tl.RowMean(tl.SoftTargets(1))},
        "seeds": 2,
        "epochs": 1,
        "training": tl.Training(engine=QUIET, batch_size=4),
        "progress": False,
        "allow_overlap": True,
    }
    return tl.study(teacher(), lambda: make("Llama", 16, seed=5), **(options | changes))


@pytest.fixture(scope="module")
def found() -> tl.Study:
    return study()


def logits(model: nn.Module, example: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the logits of the tokens of a text that are learned, and these."""
    with torch.no_grad():
        output = model(input_ids=example["input_ids"][None]).logits[0, :-1]
    known = example["labels"][1:] != -100
    return output[known].double(), example["labels"][1:][known]


def plain(student: nn.Module, judge: nn.Module) -> dict[str, Tensor]:
    """Return what each token adds to each metric, from whole logits, text by text."""
    rows = [(*logits(student, each), logits(judge, each)[0]) for each in TEST]
    q, labels, p = (torch.cat(each) for each in zip(*rows, strict=True))
    owners = torch.cat([torch.full((len(each[1]),), place) for place, each in enumerate(rows)])
    log_q, log_p = q.log_softmax(1), p.log_softmax(1)
    return {
        "owners": owners,
        "logits": q,
        "labels": labels,
        "nll": -log_q[torch.arange(len(labels)), labels],
        "accuracy": (q.argmax(1) == labels).double(),
        "agreement": (q.argmax(1) == p.argmax(1)).double(),
        "kl": (log_p.exp() * (log_p - log_q)).sum(1),
        "acceptance_rate": torch.minimum(log_p.exp(), log_q.exp()).sum(1),
    }


def test_metrics_are_those_of_whole_logits(found: tl.Study) -> None:
    judge = teacher()
    for arm in found.results.arms:
        for trial in arm.trials:
            expected = plain(found.student(arm.name, trial.seed), judge)
            for name in ("accuracy", "agreement", "kl", "acceptance_rate"):
                assert trial.metrics[name] == pytest.approx(expected[name].mean().item(), abs=1e-5)
            perplexity = expected["nll"].mean().exp().item()
            assert trial.metrics["perplexity"] == pytest.approx(perplexity, rel=1e-5)
            assert trial.calibration is not None
            assert trial.calibration.nll == pytest.approx(expected["nll"].mean().item(), abs=1e-5)
            error = reliability(expected["logits"], expected["labels"]).error
            assert trial.calibration.ece == pytest.approx(error, abs=1e-5)


def test_the_teacher_is_judged_on_the_same_tokens(found: tl.Study) -> None:
    expected = plain(teacher(), teacher())["nll"].mean().exp().item()
    assert found.results.teacher is not None
    assert found.results.teacher.metrics["perplexity"] == pytest.approx(expected, rel=1e-5)


def test_it_is_decided_by_perplexity_of_which_less_is_better(found: tl.Study) -> None:
    metric = found.results.metric
    assert metric is not None
    assert (metric.name, metric.higher, metric.is_fraction) == ("perplexity", False, False)
    pairs = {(each.arm, each.other): each for each in found.results.comparisons}
    ours, theirs = found.results.arm("soft"), found.results.arm("labels")
    expected = np.subtract(theirs.values("perplexity"), ours.values("perplexity"))
    assert pairs["soft", "labels"].differences == pytest.approx(expected.tolist(), abs=1e-6)


def test_intervals_are_over_texts_and_pool_their_tokens(found: tl.Study) -> None:
    tables = []
    for name in ("labels", "soft"):
        rows = []
        for seed in found.results.seeds:
            each = plain(found.student(name, seed), teacher())
            sums = torch.zeros(len(TEST)).double().index_add(0, each["owners"], each["nll"])
            counts = each["owners"].bincount().double()
            whole = (sums.sum() / counts.sum()).exp()
            less = ((sums.sum() - sums) / (counts.sum() - counts)).exp()
            rows.append((whole + (len(TEST) - 1) * (less.mean() - less)).numpy())
        tables.append(np.stack(rows))
    expected = paired_interval(tables[0] - tables[1])
    [pair] = [e for e in found.results.comparisons if (e.arm, e.other) == ("soft", "labels")]
    assert pair.over == "seeds and examples"
    assert pair.interval is not None
    assert pair.interval.low == pytest.approx(expected.low, rel=1e-3, abs=1e-4)
    assert pair.interval.high == pytest.approx(expected.high, rel=1e-3, abs=1e-4)


def test_no_more_logits_than_a_chunk_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    classes, most = 20_000, 0
    given = nn.functional.linear

    def watched(hidden: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        nonlocal most
        if len(weight) == classes:
            most = max(most, hidden.numel() // hidden.shape[-1])
        return given(hidden, weight, bias)

    monkeypatch.setattr(nn.functional, "linear", watched)
    generator = torch.Generator().manual_seed(0)
    data = [
        [{"input_ids": torch.randint(3, classes, (length,), generator=generator)} for _ in "12345"]
        for length in (20, 90, 150)
    ]
    results = tl.study(
        make("Llama", 8, seed=1, vocab_size=classes),
        lambda: make("Llama", 8, seed=2, vocab_size=classes),
        train=data[0], val=data[1], test=data[2], arms={"soft": tl.SoftTargets(1)}, controls={},
        seeds=1, epochs=1, training=tl.Training(engine=tl.Engine(device="cpu", progress=False)),
        progress=False,
    ).results  # fmt: skip
    trial = results.arm("soft").trials[0]
    assert trial.metrics["perplexity"] > 1
    assert trial.train.keys() == {"agreement", "kl", "acceptance_rate"}
    chunk = heads._LOGITS_AT_ONCE["cpu"] // classes
    assert 0 < most <= max(chunk, MOST_TOKENS) < 5 * 149


def words(ids: list[int]) -> str:
    """A text that each token adds one or two bytes to."""
    return "".join("é" if each % 2 else "e" for each in ids)


def test_perplexity_and_bits_per_byte_are_metrics_that_may_decide() -> None:
    own = {"perplexity": Perplexity(), "bits": BitsPerByte(words)}
    done = study(metrics=own, monitor="bits", seeds=1)
    metric = done.results.metric
    assert metric is not None
    assert (metric.name, metric.higher) == ("bits", False)
    for arm in done.results.arms:
        tokens = plain(done.student(arm.name), teacher())
        size = sum(len(words([each]).encode()) for each in tokens["labels"].tolist())
        bits = tokens["nll"].sum().item() / math.log(2) / size
        assert arm.metrics["bits"] == pytest.approx(bits, rel=1e-5)
        assert arm.metrics["perplexity"] == pytest.approx(
            tokens["nll"].mean().exp().item(), rel=1e-5
        )
        assert arm.intervals["bits"].mean == pytest.approx(bits, rel=1e-5)
    assert all(each.over == "examples" for each in done.results.comparisons)


def test_a_study_of_language_models_without_a_teacher() -> None:
    done = tl.study(
        None, lambda: make("Llama", 16), train=texts(12, seed=1), test=TEST, seeds=1, epochs=1,
        arms={"by text": tl.HardLabels()}, controls={"by token": tl.RowMean(tl.HardLabels())},
        training=tl.Training(engine=QUIET), progress=False, allow_overlap=True,
    )  # fmt: skip
    assert done.results.arm("by text").metrics.keys() == {"accuracy", "perplexity"}


def test_scores_against_another_teacher_are_others(tmp_path: Any) -> None:
    arms = {"plain": tl.HardLabels()}
    options: dict[str, Any] = {"arms": arms, "controls": {}, "seeds": 1, "out": tmp_path}
    first = study(**options).results.arm("plain").metrics
    other = tl.study(
        make("Llama", 24, seed=9), lambda: make("Llama", 16, seed=5), train=texts(12, seed=1),
        val=VAL, test=TEST, epochs=1, training=tl.Training(engine=QUIET, batch_size=4),
        progress=False, allow_overlap=True, **options,
    ).results.arm("plain").metrics  # fmt: skip
    assert other["perplexity"] == pytest.approx(first["perplexity"], rel=1e-6)
    assert other["kl"] != pytest.approx(first["kl"], rel=1e-2)


def test_controls_weigh_tokens_or_texts_as_the_arms_do(found: tl.Study) -> None:
    by_token = {"soft": tl.Arm(objective=tl.SoftTargets(1))}
    controls, _ = built_in_controls(by_token, TASKS["language"], texts(12, seed=1), 1, 0)
    assert repr(controls["labels"].objective) == "HardLabels()"
    assert found.results.arm("labels").settings["objective"] == "RowMean(HardLabels())"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"mine": nn.functional.cross_entropy}}, r"keeps scores .* \['mine'\]"),
        ({"report": tl.ReportOptions(variants=True)}, "has no variants"),
        ({"report": tl.ReportOptions(class_names=["a"])}, "has no class_names"),
        ({"metrics": {"acceptance_rate": Perplexity()}}, "must not be named"),
        ({"monitor": "f1"}, "must be one of"),
    ],
)
def test_what_needs_logits_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(tl.ArgumentError, match=message):
        study(**changes)


def test_domains_and_groups_of_texts() -> None:
    names = ["news" if place % 3 else "code" for place in range(len(TEST))]
    test = [{**each, "domain": name} for each, name in zip(TEST, names, strict=True)]
    groups = [place // 2 for place in range(len(TEST))]
    done = study(
        test=test,
        groups=groups,
        seeds=1,
        val=None,
        controls={"labels": tl.RowMean(tl.HardLabels())},
    )
    tokens = plain(done.student("soft"), teacher())
    owners = tokens["owners"]
    found = done.results.arm("soft").trials[0].domains
    for name in ("news", "code"):
        own = torch.tensor([names[place] == name for place in owners.tolist()])
        expected = tokens["nll"][own].mean().exp().item()
        assert found[name]["perplexity"] == pytest.approx(expected, rel=1e-5)
    tables = []
    for arm in ("labels", "soft"):
        each = plain(done.student(arm), teacher())
        groups_of = torch.tensor([groups[place] for place in each["owners"].tolist()])
        sums = torch.zeros(max(groups) + 1).double().index_add(0, groups_of, each["nll"])
        counts = groups_of.bincount().double()
        less = ((sums.sum() - sums) / (counts.sum() - counts)).exp()
        whole = (sums.sum() / counts.sum()).exp()
        tables.append((whole + (len(counts) - 1) * (less.mean() - less)).numpy())
    expected = paired_interval((tables[0] - tables[1])[None])
    [pair] = done.results.comparisons
    assert pair.interval is not None
    assert pair.interval.low == pytest.approx(expected.low, rel=1e-3, abs=1e-4)
    assert done.results.groups == 5
