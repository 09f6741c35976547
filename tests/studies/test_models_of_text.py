"""A study of models of transformers: their times, and cheaper variants."""

import re

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

import tutelage as tl

QUIET = tl.Engine(device="cpu", progress=False)


def bert(layers):
    config = BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def texts(seed, size=24):
    ids = torch.randint(1, 20, (size, 6), generator=torch.Generator().manual_seed(seed))
    mask = torch.ones(6, dtype=torch.long)
    return [
        {"input_ids": each, "attention_mask": mask, "labels": int(each[0] > 10)} for each in ids
    ]


@pytest.fixture(scope="module")
def study():
    def fail(*_, **__):
        raise RuntimeError("not here")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", fail)  # takes half a minute
        torch.manual_seed(0)
        return tl.study(
            bert(2), lambda: bert(1), train=texts(0), test=texts(1), seeds=1, epochs=1,
            arms={"soft": tl.SoftTargets()}, training=tl.Training(engine=QUIET),
            report=tl.ReportOptions(variants=True), progress=False,
        )  # fmt: skip


def test_teacher_and_student_are_timed_and_counted(study):
    for model in study.results.models.values():
        assert [each.batch_size for each in model.latencies] == [1, 24]
        assert model.cost.flops > 0
        assert model.cost.activation_bytes > 0
        assert model.untimed == model.uncounted == ""
    assert re.search(r"[\d.]+× as long for one input", study.verdict)


def test_variants_are_measured_or_have_a_reason(study, tmp_path):
    results = study.results
    forms = {each.name: each for each in results.models[results.arm("soft").model].variants}
    assert list(forms) == ["plain", "compiled", "bf16", "int8", "onnx"]
    accuracy = results.arm("soft").metrics["accuracy"]
    for name in ("plain", "bf16", "int8", "onnx"):
        assert forms[name].reason == ""
        assert forms[name].metric == pytest.approx(accuracy, abs=0 if name == "plain" else 0.1)
        assert [each.batch_size for each in forms[name].latencies] == [1, 24]
    page = study.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Cheaper variants of the student" in page
    assert re.search(r"Not available here: compiled: torch.compile failed", page)
