"""`tl.export`: files that ONNX Runtime alone runs, with the outputs of the model."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import tutelage as tl
from tutelage.datasets import Column, Columns, TableInputs
from tutelage.exporting import OnnxModel, as_exported
from tutelage.layers import ImageInputs, Prepared, TextInputs
from tutelage.wants import OUTPUT


def session(path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def outputs(path, **given):
    (found,) = session(path).run(None, {name: np.asarray(each) for name, each in given.items()})
    return torch.from_numpy(found)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "models" / "student.onnx"


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


INPUTS = torch.randn(70, 6, generator=torch.Generator().manual_seed(1))


def test_the_file_alone_gives_the_outputs_for_any_number_of_examples(net, file):
    found = tl.export(net, TensorDataset(INPUTS), file, metadata={"classes": '["a", "b", "c"]'})
    for size in (1, 2, 70):
        expected = net.eval()(INPUTS[:size])
        torch.testing.assert_close(outputs(file, input=INPUTS[:size]), expected)
    assert session(file).get_modelmeta().custom_metadata_map == {"classes": '["a", "b", "c"]'}
    assert found.file_bytes == file.stat().st_size
    assert found.examples == 70
    assert 0 <= found.difference < 1e-5 < found.largest
    assert found.inputs == {"input": "tensor(float) [batch, 6]"}
    assert found.outputs == {"output": "tensor(float) [batch, 3]"}
    assert found.seconds.keys() == {"PyTorch", "ONNX Runtime"}
    assert str(file) in str(found)


def test_the_model_and_the_random_state_are_left_as_they_were(net, file):
    net.train()
    state = {name: each.clone() for name, each in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    found = tl.export(net, DataLoader(TensorDataset(INPUTS), 7), file, examples=40)
    assert found.examples == 40  # as many as are asked for, of whole batches of 7
    assert torch.equal(torch.rand(1), expected)
    assert net.training
    assert all(each.requires_grad for each in net.parameters())
    assert all(torch.equal(each, state[name]) for name, each in net.state_dict().items())


def test_one_example_is_enough(net, file):
    assert tl.export(net, TensorDataset(INPUTS[:1]), file).examples == 1
    torch.testing.assert_close(outputs(file, input=INPUTS), net.eval()(INPUTS))


class RulesOut(nn.Module):
    def forward(self, inputs):
        return inputs.masked_fill(inputs < 0, -torch.inf)


def test_classes_that_are_ruled_out_stay_so(file):
    found = tl.export(RulesOut(), TensorDataset(INPUTS), file)
    assert found.largest == INPUTS.amax().item()
    assert torch.equal(outputs(file, input=INPUTS), RulesOut()(INPUTS))


def test_several_inputs_by_position(file):
    class Two(nn.Module):
        def forward(self, first, second):
            return first * 2 + second.sum(dim=1, keepdim=True)

    data = [((each, each[:2]), 0) for each in INPUTS]
    tl.export(Two(), data, file)
    found = outputs(file, input_0=INPUTS[:3], input_1=INPUTS[:3, :2])
    torch.testing.assert_close(found, Two()(INPUTS[:3], INPUTS[:3, :2]))


class Texts(Dataset):
    """Token ids of texts, all of one length."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return 40

    def __getitem__(self, place):
        ids = torch.arange(self.length) * (place + 3) % 20
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.fixture
def bert():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=8, max_position_embeddings=32,
        )
    ).eval()  # fmt: skip


def test_texts_of_any_length(bert, file):
    """Although all examples have one length; those of the next test have several."""
    found = tl.export(bert, Texts(6), file)
    assert found.inputs["input_ids"] == "tensor(int64) [batch, length]"
    ids = torch.tensor([[1, 5, 7, 9, 2, 4, 4, 8, 1, 3, 2, 0], [4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]])
    mask = (ids > 0).long()
    expected = bert(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(outputs(file, input_ids=ids, attention_mask=mask), expected)


def test_of_texts_the_file_takes_tokens(bert, file):
    from tokenizing import tokenizer  # noqa: PLC0415 - imports transformers

    prepare = TextInputs(tokenizer(), 16)
    student = Prepared(bert, prepare)
    texts = ["the cat sat", "un happy dog ran", "very"]
    tl.export(student, [(each, 0) for each in texts], file)
    names = {each.name for each in session(file).get_inputs()}
    given = {name: each for name, each in prepare(texts).items() if name in names}
    torch.testing.assert_close(outputs(file, **given), student(texts).logits)


def test_images_are_resized_and_normalised_in_the_file(file):
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 2))
    student = Prepared(body, ImageInputs(resize=14, crop=12, mean=0.4, std=0.3)).eval()
    images = torch.rand(8, 3, 20, 28)
    tl.export(student, TensorDataset(images), file)
    torch.testing.assert_close(outputs(file, input=images), student(images), rtol=1e-4, atol=1e-5)


def test_rows_of_a_table_are_imputed_scaled_and_encoded_in_the_file(file):
    columns = Columns((Column("age", "number"), Column("job", "category", ("cook", "smith"))))
    rows = torch.tensor([[20.0, 0], [40, 1], [torch.nan, 0], [30, torch.nan]], dtype=torch.float64)
    inputs = TableInputs.fit(columns, rows)
    torch.manual_seed(0)
    student = Prepared(nn.Linear(inputs.features, 2), inputs)
    tl.export(student, TensorDataset(rows), file)
    torch.testing.assert_close(outputs(file, input=rows), student(rows))


class Other(nn.Module):
    """A model that a tracing exporter sees otherwise than it runs."""

    def forward(self, inputs):
        return inputs * (2 if torch.onnx.is_in_onnx_export() else 1)


class Embeds(nn.Module):
    def forward(self, inputs):
        return {"hidden": inputs}


class Broken(nn.Module):
    def forward(self, inputs):
        return inputs * torch.nan


class OfTheValues(nn.Module):
    def forward(self, inputs):
        return inputs if inputs.sum() > 0 else -inputs


@pytest.mark.parametrize(
    ("model", "reason"),
    [(Other(), r"close to the model's, whose largest is .*, got a difference of"),
     (OfTheValues(), "the model cannot be exported: "),
     (Broken(), "a finite number for some of 70 examples, got none"),
     (Embeds(), r"or an object or dict with `logits`, got \{hidden: .*; choose the output")],
)  # fmt: skip
def test_a_file_that_is_not_the_model_is_not_written(file, model, reason):
    file.parent.mkdir()
    file.write_bytes(before := b"the file of another model")
    with pytest.raises(tl.ModelError, match=reason):
        tl.export(model, TensorDataset(INPUTS), file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_model_that_generates_is_refused_with_the_way_out(file):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=20, n_embd=8, n_layer=1, n_head=1)
    with pytest.raises(tl.ModelError, match="save_pretrained"):
        tl.export(transformers.GPT2LMHeadModel(config), Texts(3), file)


def in_int8(model, data, file):
    """Export in both precisions; return how many times smaller int8 is, and its relative error."""
    plain = tl.export(model, data, file)
    found = tl.export(model, data, file, precision="int8", metadata={"classes": "a b"})
    assert session(file).get_modelmeta().custom_metadata_map["classes"] == "a b"
    assert found.inputs == plain.inputs
    assert found.difference > plain.difference
    return plain.file_bytes / found.file_bytes, found.difference / found.largest


def test_int8_quantizes_linear_layers_and_embeddings(bert, file):
    net = nn.Sequential(
        nn.Linear(6, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)
    )
    smaller, error = in_int8(net, TensorDataset(INPUTS), file)
    assert smaller > 3
    assert error < 0.05
    for size in (1, 70):
        found, expected = outputs(file, input=INPUTS[:size]), net(INPUTS[:size])
        assert (found - expected).abs().max() < 0.05 * expected.abs().max()
    in_int8(bert, Texts(6), file)


def test_int8_of_convolutions_has_ranges_of_the_data(file):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)).eval()
    images = torch.rand(40, 3, 8, 8)
    smaller, error = in_int8(net, TensorDataset(images), file)
    assert smaller > 2
    assert error < 0.05
    far = outputs(file, input=1000 * images)  # beyond the ranges activations are cut
    assert far.abs().max() < 0.1 * net(1000 * images).abs().max()


def test_weights_in_int8_cannot_overflow_where_products_are_added_in_16_bits(file):
    """255 · 64 · 2 < 2¹⁵: on CPUs without VNNI two products of full 8 bits would."""
    onnx = pytest.importorskip("onnx")
    net = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 3))
    tl.export(net, TensorDataset(INPUTS), file, precision="int8")
    weights = [
        onnx.numpy_helper.to_array(each)
        for each in onnx.load(file).graph.initializer
        if each.data_type == onnx.TensorProto.INT8 and len(each.dims) > 1
    ]
    assert weights
    assert max(abs(each.astype(int)).max() for each in weights) <= 64


def test_the_module_of_a_file_takes_the_inputs_of_the_model(bert, file):
    from tokenizing import tokenizer  # noqa: PLC0415 - imports transformers

    student = Prepared(bert, TextInputs(tokenizer(), 16))
    texts = ["the cat sat", "un happy dog ran", "very"]
    tl.export(student, [(each, 0) for each in texts], file)
    found = OnnxModel(student, file.read_bytes())
    torch.testing.assert_close(found(texts), student(texts).logits)
    columns = Columns((Column("age", "number"), Column("job", "category", ("cook", "smith"))))
    rows = torch.tensor([[20.0, 0, 5], [40, 1, 6]], dtype=torch.float64)  # with one of a teacher
    inputs = TableInputs.fit(columns, rows[:, :2])
    of_rows = Prepared(nn.Linear(inputs.features, 2), inputs)
    tl.export(of_rows, TensorDataset(rows), file)
    found = OnnxModel(of_rows, file.read_bytes())
    torch.testing.assert_close(found(rows), of_rows(rows))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"path": "student.pt"}, tl.ArgumentError, r"must end in \.onnx, got student\.pt"),
        ({"examples": 0}, tl.ArgumentError, "`examples` must be at least 1"),
        ({"precision": "int4"}, tl.ArgumentError, r"one of \['float32', 'int8'\], got 'int4'"),
        ({"model": "net"}, tl.ModelError, r"`model` must be a torch\.nn\.Module, got str"),
        ({"data": INPUTS[:, :5]}, tl.ModelError, r"the model \(Sequential\) refused its inputs"),
        ({"path": "/proc/nowhere/a.onnx"}, tl.RunFolderError, "choose another path"),
    ],
)
def test_bad_arguments(net, file, change, error, match):
    arguments = {"model": net, "data": TensorDataset(INPUTS), "path": file} | change
    with pytest.raises(error, match=match):
        tl.export(**arguments)


def test_the_extra_is_named_where_it_is_missing(net, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(tl.ModelError, match=r"pip install 'tutelage\[onnx\]'"):
        tl.export(net, TensorDataset(INPUTS), file)


RECIPE = {
    "teacher": "tutelage.recipes.fitted:boosted_trees",
    "student": {"mlp": {"hidden": [8]}},
    "data": {"train": "old.csv", "label": "income"},
    "objective": {"SoftTargets": 2},
    "training": {"epochs": 1},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The working folder with `old.csv`, and a student of it that was trained and exported."""
    folder = tmp_path_factory.mktemp("recipe")
    jobs = ("cook", "smith", "tailor")
    rows = [f"{n},{20 + n % 50},{jobs[n % 3]},{'low' if n % 7 < 3 else 'high'}" for n in range(200)]
    # With a number of the row, which is no input.
    (folder / "old.csv").write_text("\n".join(["id,age,job,income", *rows]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        recipe = tl.Recipe(RECIPE, name="old")
        with pytest.raises(tl.RunFolderError, match="must be trained before it is exported"):
            recipe.export()
        student = recipe.run().student
        return folder, student, tl.Recipe.from_file("runs/old").export()


@pytest.fixture
def of_recipe(exported, monkeypatch):
    monkeypatch.chdir(exported[0])
    return exported[1:]


def test_a_teacher_of_tables_gets_its_own_columns_and_codes(of_recipe, tmp_path):
    student, exported = of_recipe
    assert exported.inputs == {"input": "tensor(double) [batch, 2]"}
    lines = (line.split(",")[1:] for line in Path("old.csv").read_text().splitlines()[1:])
    (tmp_path / "new.csv").write_text(  # other columns first, and another category before all
        "size,job,age,income\n"
        + "".join(f"{int(age) + 3},{job},{age},{income}\n" for age, job, income in lines)
        + "5,baker,30,low\n" * 9
    )
    new = tl.datasets.load_data("data", {"train": str(tmp_path / "new.csv"), "label": "income"})
    teacher = tl.references.load_model("teacher", str(exported.path))
    teacher = tl.references.with_columns(teacher, new.columns)
    inputs, _ = new.train[:]
    found = teacher.signals(tl.Batch(inputs), OUTPUT).output
    old, _ = tl.datasets.load_data("data", RECIPE["data"]).train[:]
    torch.testing.assert_close(found[:200], student(old))
    unknown = torch.tensor([[30.0, torch.nan]], dtype=torch.float64)
    torch.testing.assert_close(found[200:], student(unknown).expand(9, -1))
    assert torch.equal(
        pickle.loads(pickle.dumps(teacher)).signals(tl.Batch(inputs), OUTPUT).output, found
    )
    (tmp_path / "less.csv").write_text("age,income\n" + "30,low\n40,high\n" * 9)
    changed = {"teacher": str(exported.path), "out": str(tmp_path / "less")}
    changed["data"] = {"train": str(tmp_path / "less.csv"), "label": "income"}
    with pytest.raises(tl.DataError, match="must have the column 'job' of kind 'category'"):
        tl.Recipe(RECIPE | changed).run()


def test_the_folder_of_another_run_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(tl.RecipeError, match=r"without recipe\.yaml; .* tl\.export\(run\.student"):
        tl.Recipe.from_file(tmp_path)


def test_the_student_of_a_recipe_says_what_it_takes_and_gives(of_recipe):
    student, exported = of_recipe
    rows = torch.tensor([[20.0, 0], [60, 2], [torch.nan, 1]], dtype=torch.float64)
    torch.testing.assert_close(outputs(exported.path, input=rows), student(rows))
    carried = session(exported.path).get_modelmeta().custom_metadata_map["student.json"]
    assert json.loads(carried) == json.loads(Path("runs/old/student.json").read_text())
    assert json.loads(carried)["classes"] == ["high", "low"]
    teacher = tl.references.load_model("teacher", str(exported.path))
    assert tl.references.class_names(teacher) == ("high", "low")


def test_one_text_is_timed_without_the_padding_of_a_batch():
    from transformers import BertConfig, BertForSequenceClassification  # noqa: PLC0415

    from tokenizing import SIZE, tokenizer  # noqa: PLC0415 - imports transformers

    config = BertConfig(
        vocab_size=SIZE, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=32, num_labels=2,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    texts = ["the cat sat on the mat and the dog ran", "the cat", "the cat sat"]
    _, batches, alone = as_exported(Prepared(model, TextInputs(tokenizer(), 30)), texts, 3)
    middle = tokenizer()(texts[2])["input_ids"]
    assert alone.inputs["input_ids"].tolist() == [middle]
    assert batches[0].inputs["input_ids"].shape[1] > len(middle)
    rows = torch.arange(6.0).reshape(3, 2)
    _, _, first = as_exported(nn.Linear(2, 2), rows, 3)
    assert first.inputs.tolist() == rows[:1].tolist()
