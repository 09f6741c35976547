"""Stored and served language models that are evaluated without a student, and in reports."""

import re

import pytest
import torch
from tests.served import Server

import tutelage as tl
from language_models import VOCABULARY, make, texts
from tutelage.evaluation import Outputs, acceptance_rate, perplexity, token_scores
from tutelage.signals import CoarseLogits
from tutelage.tasks import TASKS
from tutelage.teachers import Served, Stored
from tutelage.training.record import record_of

DATA = texts(7, 11, seed=4)
QUIET = tl.Engine(device="cpu", progress=False)


@pytest.fixture(scope="module")
def teacher():
    model = make("Llama", 32, seed=1)
    with torch.no_grad():
        model.lm_head.weight *= 30
    return model


def store(teacher, out, data=DATA, **settings):
    return tl.label(teacher, data, out=out, batch_size=4, engine=QUIET, dtype="float32", **settings)


def distilled(teacher, data=DATA):
    return tl.distill(
        teacher, make("Llama", 16), train=data, val=data, objective=tl.SoftTargets(1), epochs=1,
        batch_size=4, engine=QUIET,
    )  # fmt: skip


def metrics(scores):
    """All that the task tells of scores without labels."""
    task, outputs = TASKS["language"], Outputs(None, scores=scores, language=True)
    return task.metrics(outputs) | task.fidelity(outputs)


def test_a_whole_store_has_the_perplexity_of_its_model(teacher, tmp_path):
    expected = perplexity(teacher, DATA)
    kept = store(teacher, tmp_path)
    assert perplexity(kept, DATA, asked_as=make("Llama")) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(tl.ArgumentError, match="`asked_as` must be a student"):
        perplexity(kept, DATA)


def test_a_store_of_the_most_probable_tokens_is_exact_or_refused(teacher, tmp_path):
    student, expected = make("Llama"), perplexity(teacher, DATA)
    most = store(teacher, tmp_path / "most", top_k=VOCABULARY - 1)
    few = store(teacher, tmp_path / "few", top_k=2)
    sampled = store(teacher, tmp_path / "sampled", sampled_classes=3)
    labels = sum(int((each["labels"][1:] != -100).sum()) for each in DATA)
    try:  # unless a label happens to be the least probable token of all
        assert perplexity(most, DATA, asked_as=student) == pytest.approx(expected, rel=1e-5)
    except tl.ModelError as error:
        assert "for 1 of" in str(error)  # noqa: PT017
    with pytest.raises(tl.ModelError, match=rf"no probability .* of {labels} tokens"):
        perplexity(few, DATA, asked_as=student)
    with pytest.raises(tl.ModelError, match="must return logits of classes"):
        perplexity(sampled, DATA, asked_as=student)
    for each in (few, sampled):
        with pytest.raises(tl.ModelError, match="`teacher` must have the probability"):
            acceptance_rate(student, each, DATA)


def test_a_served_model_tells_its_perplexity_exactly(teacher):
    data = [{"input_ids": each["input_ids"]} for each in DATA]
    expected = perplexity(teacher, data)
    with Server(teacher) as server:
        found = perplexity(Served(server.url, top_k=3), data)
    assert found == pytest.approx(expected, rel=1e-4)


def test_what_a_teacher_of_some_tokens_does_not_know_is_not_said():
    probabilities = torch.tensor([[0.5, 0.3], [0.4, 0.1], [0.6, 0.1]])
    coarse = CoarseLogits(
        torch.tensor([[3, 1], [2, 0], [1, -1]]),
        probabilities.log().where(torch.tensor([[1, 1], [1, 1], [1, 0]]).bool(), -torch.inf),
        torch.tensor([0.2, 0.5, 0.4]).log(),
    )
    found = token_scores(coarse, None, torch.tensor([1, 2, 4]))
    expected = -torch.tensor([0.3, 0.4]).double().log()
    assert torch.allclose(found.column("nll")[:2], expected, atol=1e-6)
    assert found.column("nll")[2].isnan()
    assert found.column("predicted").nan_to_num(-1).tolist() == [3, -1, 1]  # 0.4 < 0.5 of others
    student = torch.zeros(3, 5)
    compared = token_scores(student, coarse, None)
    assert compared.column("teacher_predicted").nan_to_num(-1).tolist() == [3, -1, 1]
    assert metrics(compared) == {}
    some = token_scores(student[::2], coarse[torch.tensor([0, 2])], None)
    assert metrics(some) == {"agreement": 0.0}


@pytest.mark.usefixtures("charts_undrawn")
def test_reports_say_what_a_store_does_not_tell(teacher, tmp_path):
    whole = distilled(store(teacher, tmp_path / "whole"))
    live = distilled(teacher)
    ours, theirs = record_of(whole), record_of(live)
    for name in ("perplexity", "agreement", "kl", "acceptance_rate"):
        found = ours.arm("student").metrics[name]
        assert found == pytest.approx(theirs.arm("student").metrics[name], rel=1e-4, abs=1e-6)
    assert ours.teacher.metrics["perplexity"] == pytest.approx(perplexity(teacher, DATA), rel=1e-5)
    page = whole.report(tmp_path / "whole.html").with_suffix(".md").read_text(encoding="utf-8")
    assert "Not measured: teacher (its outputs are read from a store)" in page
    assert "No speed-up is shown" in page
    few = distilled(store(teacher, tmp_path / "few", top_k=2))
    record = record_of(few)
    assert "perplexity" not in record.teacher.metrics
    assert record.arm("student").metrics.keys() >= {"perplexity", "accuracy"}
    assert not record.arm("student").metrics.keys() & {"kl", "acceptance_rate"}
    page = few.report(tmp_path / "few.html").with_suffix(".md").read_text(encoding="utf-8")
    assert re.search(r"it has no probability of the text's own token for \d+ of \d+ tokens", page)


def test_a_run_by_a_server_is_reported_exactly(teacher):
    data = [{"input_ids": each["input_ids"]} for each in DATA]
    with Server(teacher) as server:
        run = distilled(Served(server.url, top_k=3, vocabulary=VOCABULARY), data)
        record = record_of(run)
    expected = perplexity(teacher, data)
    assert record.teacher.metrics["perplexity"] == pytest.approx(expected, rel=1e-4)
    assert record.unmeasured == ""
    model = record.models["teacher"]
    assert (model.untimed, model.ungenerated) == ("it does not run here",) * 2
    assert not record.arm("student").metrics.keys() & {"kl", "acceptance_rate"}


def test_a_study_by_stores_is_one_by_their_model(teacher, tmp_path):
    parts = {"train": texts(8, seed=1), "val": texts(4, seed=2), "test": DATA}
    options = {
        **parts, "arms": {"soft": tl.SoftTargets(1)}, "controls": {}, "seeds": 1, "epochs": 1,
        "training": tl.Training(engine=QUIET), "progress": False, "allow_overlap": True,
    }  # fmt: skip

    def make_student():
        return make("Llama", 16)

    kept = [store(teacher, tmp_path / name, data) for name, data in parts.items()]
    few = [store(teacher, tmp_path / f"{name} 2", each, top_k=2) for name, each in parts.items()]
    live = tl.study(teacher, make_student, **options).results
    whole = tl.study(Stored(*kept), make_student, **options).results
    some = tl.study(Stored(*few), make_student, **options).results
    assert whole.arm("soft").metrics == pytest.approx(live.arm("soft").metrics, rel=1e-4, abs=1e-6)
    assert whole.teacher.metrics == pytest.approx(live.teacher.metrics, rel=1e-5)
    assert not some.arm("soft").metrics.keys() & {"kl", "acceptance_rate"}
    assert "perplexity" not in some.teacher.metrics
    assert "no probability of the text's own token" in some.unmeasured
    assert whole.unmeasured == live.unmeasured == ""
