"""Arms whose students are evaluated as exported files, and take those of another arm."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.exporting import OnnxModel
from tutelage.reports.report import record_page
from tutelage.results.record import read_record

TENSOR = torch.zeros(2, 64)
ARMS = {"soft": tl.SoftTargets(4), "soft, int8": tl.Arm(of="soft", precision="int8")}


@pytest.fixture(scope="module")
def found(setup, tmp_path_factory):
    folder = tmp_path_factory.mktemp("precision") / "study"
    return setup.study(arms=ARMS, controls={}, margin=0.1, out=folder)


def test_a_file_has_the_students_of_the_other_arm(found, setup):
    plain, small = (found.finished.done[name] for name in ARMS)
    assert [each.folder for each in plain] == [each.folder for each in small]  # trained once
    for one, other in zip(plain, small, strict=True):
        assert one.record["history"] == other.record["history"]
        expected = found.student("soft", one.seed)(setup.test[:][0])
        torch.testing.assert_close(one.test, expected.detach())
        assert not torch.equal(one.test, other.test)
        torch.testing.assert_close(other.test, one.test, rtol=0, atol=0.1 * one.test.abs().max())


def test_its_outputs_are_those_that_onnx_runtime_alone_gives(found, setup):
    for each in found.finished.done["soft, int8"]:
        session = onnxruntime.InferenceSession(each.folder / "student-int8.onnx")
        # In the same batches: the scale of activations is that of a batch.
        batches = setup.test[:][0].split(64)
        alone = [session.run(None, {"input": batch.numpy()})[0] for batch in batches]
        torch.testing.assert_close(each.test, torch.from_numpy(np.concatenate(alone)))


def test_it_is_compared_with_the_teacher_and_priced_as_a_file(found):
    record = found.results
    against = {each.arm: each for each in record.against_teacher}
    assert against["soft, int8"].non_inferiority is not None
    models = [record.models[record.arm(name).model] for name in ARMS]
    assert models[0] is not models[1]
    assert models[0].cost.parameters == models[1].cost.parameters == 64 * 6 + 6 + 6 * 10 + 10
    file = found.finished.done["soft, int8"][0].folder / "student-int8.onnx"
    assert models[1].cost.file_bytes == file.stat().st_size
    assert models[1].latencies
    assert record.seconds == sum(each.seconds for each in record.arm("soft").trials)
    assert record.arm("soft, int8").settings["exported"] == "ONNX, int8"
    assert isinstance(found.student("soft, int8"), OnnxModel)
    assert "soft, int8" in str(record_page(read_record(found.out / "results.json")))


def test_the_same_call_neither_trains_nor_exports_again(found, setup):
    before = {path: path.stat().st_mtime_ns for path in Path(found.out).rglob("*.onnx")}
    assert len(before) == 2
    again = setup.study(arms=ARMS, controls={}, margin=0.1, out=found.out)
    assert again.results.arm("soft, int8").trials == found.results.arm("soft, int8").trials
    assert before == {path: path.stat().st_mtime_ns for path in Path(found.out).rglob("*.onnx")}


def test_an_arm_of_its_own_has_a_precision_too(setup):
    arms = {"as it is": tl.Arm(objective=tl.SoftTargets(4), precision="float32")}
    plain = setup.study(controls={}, seeds=[0])
    file = setup.study(arms=arms, controls={}, seeds=[0])
    one, other = plain.finished.done["soft"][0], file.finished.done["as it is"][0]
    np.testing.assert_allclose(one.test, other.test, rtol=1e-4, atol=1e-4)


def test_a_control_in_int8(setup):
    arms = {"soft": tl.SoftTargets(4), "labels, int8": tl.Arm(of="labels", precision="int8")}
    controls = {"labels": tl.HardLabels()}
    record = setup.study(arms=arms, controls=controls, seeds=[0]).results
    assert record.arm("labels, int8").metrics["accuracy"] == pytest.approx(
        record.arm("labels").metrics["accuracy"], abs=0.05
    )


@pytest.mark.parametrize(
    ("arm", "match"),
    [
        (tl.Arm(of="hard", precision="int8"), r"one of the arms \['soft'\].*got of='hard'"),
        (tl.Arm(of="soft"), "`precision`, got of='soft', precision=None"),
        (tl.Arm(of="mine", precision="int8"), "got of='mine'"),
        (tl.Arm(of="soft", precision="int8", batch_size=8), r"\['batch_size'\] for itself"),
        (tl.Arm(of="soft", precision="int8", student=nn.Identity), r"\['student'\] for itself"),
        (tl.Arm(of="soft", precision="int8", train=TENSOR), r"\['train'\] for itself"),
    ],
)
def test_arms_that_take_no_students(setup, arm, match):
    with pytest.raises(tl.ArgumentError, match=match):
        setup.study(arms={"soft": tl.SoftTargets(4), "mine": arm}, controls={})
    with pytest.raises(tl.ArgumentError, match=r"`precision` must be one of .*'int4'"):
        tl.Arm(precision="int4")


def test_a_swept_arm_in_int8_sweeps_over_the_same_trainings(setup, tmp_path):
    swept = tl.Arm(objective=tl.SoftTargets(4), sweep={"learning_rate": [1e-4, 1e-2]})
    found = setup.study(
        arms={"soft": swept, "small": tl.Arm(of="soft", precision="int8")},
        val=setup.val, controls={}, seeds=[0], out=tmp_path / "study",
    )  # fmt: skip
    assert len(list((tmp_path / "study" / "trials").iterdir())) == 2
    settings = [found.results.arm(name).settings["chosen"] for name in ("soft", "small")]
    assert settings == ["learning rate 0.01"] * 2
