"""Models of ONNX by reference, and files that lie or are damaged."""

import pickle

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

import tutelage as tl
from onnx_files import WEIGHT, onnx_file
from tutelage.datasets import Column, Columns
from tutelage.errors import ModelError
from tutelage.references import load_model, with_columns
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

TENSOR = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def answer(teacher, inputs=TENSOR):
    return teacher.signals(Batch(inputs), OUTPUT).output


def test_returns_the_outputs_of_the_model(tmp_path):
    teacher = load_model("teacher", str(onnx_file(tmp_path / "m.onnx")))
    torch.testing.assert_close(answer(teacher), TENSOR.float() @ torch.from_numpy(WEIGHT))
    assert load_model("x", str(tmp_path / "m.onnx"), classes=3).fingerprint()
    with pytest.raises(ModelError, match="must have 5 classes, got a model with 3"):
        load_model("teacher", str(tmp_path / "m.onnx"), classes=5)


def test_texts_are_given_as_codes_which_is_told(tmp_path, caplog):
    columns = Columns((Column("job", "category", ("cook", "smith")), Column("x", "number")))
    with_columns(load_model("teacher", str(onnx_file(tmp_path / "m.onnx"))), columns)
    assert "(m.onnx) was fitted on arrays and gets texts by their position" in caplog.text
    assert "in 'job' cook as 0, smith as 1" in caplog.text


def test_probabilities_are_named_so(tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "weight"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["p"]),
    ]
    outputs = [
        helper.make_tensor_value_info(each, TensorProto.FLOAT, ["batch", 3])
        for each in ("logits", "p")
    ]
    path = onnx_file(tmp_path / "m.onnx", nodes, outputs=outputs)
    with pytest.raises(ModelError, match=r"one tensor of floats, got logits .*\?output=NAME"):
        load_model("teacher", str(path))
    logits = load_model("teacher", f"{path}?output=logits")
    known = load_model("teacher", f"{path}?output=p&probabilities")
    torch.testing.assert_close(answer(known), answer(logits).log_softmax(1))
    with pytest.raises(ModelError, match="pass probabilities=True"):
        answer(load_model("teacher", f"{path}?output=p"))
    assert len({each.fingerprint() for each in (logits, known)}) == 2
    nodes[1].output[0] = outputs[1].name = "probabilities"
    named = load_model("x", f"{onnx_file(path, nodes, outputs=outputs)}?output=probabilities")
    torch.testing.assert_close(answer(named), answer(known))


def test_images_are_normalised_as_the_options_say(tmp_path):
    nodes = [helper.make_node("Flatten", ["x"], ["logits"])]
    shape = ["batch", 3, 2, 2]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 12])]
    path = onnx_file(tmp_path / "m.onnx", nodes, inputs, outputs)
    teacher = load_model("teacher", f"{path}?mean=0.5&std=0.5,0.25,0.25&size=2")
    found = answer(teacher, torch.ones(2, 3, 4, 4))
    assert found[0].tolist() == [1.0] * 4 + [2.0] * 8


def test_distils_a_student_of_another_preprocessing(tmp_path):
    teacher = load_model("teacher", str(onnx_file(tmp_path / "m.onnx")))
    student = tl.layers.Prepared(nn.Linear(4, 3), lambda rows: rows.float() * 2)
    data = [(row, index % 3) for index, row in enumerate(TENSOR)]
    run = tl.distill(teacher, student, train=data, objective=tl.SoftTargets(2), epochs=1)
    assert run.student(TENSOR).shape == (6, 3)


def test_a_copy_in_another_process_is_the_same(tmp_path):
    teacher = load_model("teacher", str(onnx_file(tmp_path / "m.onnx")))
    twin = pickle.loads(pickle.dumps(teacher))
    assert torch.equal(answer(twin), answer(teacher))
    assert twin.fingerprint() == teacher.fingerprint()


def test_a_file_that_lies_about_its_output(tmp_path):
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 7])]
    path = onnx_file(tmp_path / "m.onnx", outputs=outputs)
    assert answer(load_model("teacher", str(path))).shape == (6, 3)  # ONNX Runtime knows better


def test_a_file_that_lies_about_its_input_is_refused(tmp_path):
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 9])]
    path = onnx_file(tmp_path / "m.onnx", inputs=inputs)
    with pytest.raises(ModelError, match=r"could not be loaded|refused its inputs"):
        answer(load_model("teacher", str(path)), torch.zeros(6, 9))


def test_a_file_that_lies_about_its_weights_is_refused(tmp_path):
    model = onnx.load(onnx_file(tmp_path / "m.onnx"))
    model.graph.initializer[0].dims[0] = 10**12
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model("teacher", str(tmp_path / "m.onnx"))


def test_weights_outside_of_the_files_folder_are_not_read(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret").write_bytes(WEIGHT.tobytes())
    model = onnx.load(onnx_file(tmp_path / "m.onnx"))
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for where in ("../secret", str(tmp_path / "secret")):
        del weight.external_data[:]
        weight.external_data.add(key="location", value=where)
        (tmp_path / "inner" / "m.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", str(tmp_path / "inner" / "m.onnx"))


def test_weights_beside_the_file_are_part_of_what_the_teacher_is(tmp_path):
    found = []
    for name, weight in (("a", WEIGHT), ("b", WEIGHT + 1), ("c", WEIGHT)):
        path = onnx_file(tmp_path / "m.onnx", weight=weight)
        (tmp_path / name).mkdir()
        options = {"save_as_external_data": True, "location": "m.onnx.data", "size_threshold": 0}
        onnx.save(onnx.load(path), tmp_path / name / "m.onnx", **options)
        found.append(load_model("teacher", str(tmp_path / name / "m.onnx")))
        torch.testing.assert_close(answer(found[-1]), TENSOR.float() @ torch.from_numpy(weight))
    one, other, same = (each.fingerprint() for each in found)
    assert one == same != other


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64])
def test_numbers_are_not_cut_off_to_integers(tmp_path, kind):
    cast = helper.make_node("Cast", ["x"], ["floats"], to=TensorProto.FLOAT)
    product = helper.make_node("MatMul", ["floats", "weight"], ["logits"])
    inputs = [helper.make_tensor_value_info("x", kind, ["batch", 4])]
    path = onnx_file(tmp_path / "m.onnx", [cast, product], inputs)
    teacher = load_model("teacher", str(path))
    whole = torch.tensor([[0.0, 1, 2, 200]])
    torch.testing.assert_close(answer(teacher, whole), whole @ torch.from_numpy(WEIGHT))
    for other in (0.5, torch.nan, torch.inf):
        with pytest.raises(ModelError, match="must be integers"):
            answer(teacher, torch.tensor([[0.0, 1, 2, other]]))


def test_a_truncated_file_is_refused(tmp_path):
    path = onnx_file(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="could not be loaded"):
        load_model("teacher", str(path))
