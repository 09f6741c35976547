"""Models of transformers by reference: their heads, tokenizers, and what is refused."""

import json
import pickle

import pytest
import tokenizers
import torch
import transformers as hf
from onnx import TensorProto, helper
from torch import nn

import tutelage as tl
from onnx_files import WEIGHT, onnx_file
from tokenizing import SIZE, tokenizer
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import ByWord
from tutelage.references import class_names, load_model
from tutelage.wants import OUTPUT

TEXTS = ["the cat sat", "the very unhappyly dog ran"]
SMALL = {
    "hidden_size": 8,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "max_position_embeddings": 24,
}
NAMES = {0: "calm", 1: "glad", 2: "sad"}


def config(**settings):
    return hf.BertConfig(vocab_size=SIZE, **SMALL, **settings)


@pytest.fixture
def saved(tmp_path):
    """A function that saves a tiny model with its tokenizer in a folder."""

    def save(model, name="model"):
        folder = tmp_path / name
        model.save_pretrained(folder)
        tokenizer().save_pretrained(folder)
        return folder

    torch.manual_seed(0)
    return save


def changed(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def test_a_text_classifier_with_its_tokenizer_and_class_names(saved):
    model = hf.BertForSequenceClassification(config(id2label=NAMES)).eval()
    found = load_model("teacher", f"hf:{saved(model)}").eval()
    tokens = tokenizer()(TEXTS, padding=True, return_tensors="pt")
    assert torch.equal(found(TEXTS).logits, model(**tokens).logits)
    assert class_names(found) == ("calm", "glad", "sad")
    assert found.prepare.max_length == 16
    assert load_model("x", f"hf:{saved(model)}?max_length=5").prepare.max_length == 5


def test_weights_are_loaded_in_float32(saved):
    folder = saved(hf.BertForSequenceClassification(config()).bfloat16())
    assert {each.dtype for each in load_model("x", f"hf:{folder}").parameters()} == {torch.float32}


def test_a_token_classifier_has_an_output_for_each_word(saved):
    model = hf.BertForTokenClassification(config(num_labels=3)).eval()
    found = load_model("teacher", f"hf:{saved(model)}").eval()
    assert isinstance(found.wrapped, ByWord)
    output = found(TEXTS)
    assert output.shape == (2, 5, 3)
    assert output[0, 3:].isnan().all()
    tokens = tokenizer()([TEXTS[1]], return_tensors="pt")
    assert torch.allclose(output[1], model(**tokens).logits[0, [1, 2, 3, 6, 7]])
    assert class_names(found) is None


def test_an_encoder_gets_a_head_for_the_task(saved):
    folder = saved(hf.BertModel(config()))
    for task, shape in (("texts", (2, 5)), ("tokens", (2, 5, 5))):
        found = load_model("x", f"hf:{folder}?task={task}", classes=5).eval()
        output = found(TEXTS)
        assert getattr(output, "logits", output).shape == shape
        assert class_names(found) is None
    assert load_model("x", f"hf:{folder}", classes=2)(TEXTS).logits.shape == (2, 2)


def test_another_number_of_classes_gives_a_new_head(saved):
    model = hf.BertForSequenceClassification(config(id2label=NAMES))
    folder = saved(model)
    found = load_model("x", f"hf:{folder}", classes=5)
    assert found(TEXTS).logits.shape == (2, 5)
    assert class_names(found) is None
    same = load_model("x", f"hf:{folder}", classes=3)
    assert torch.equal(same.classifier.weight, model.classifier.weight)
    assert class_names(same) == ("calm", "glad", "sad")


@pytest.mark.parametrize("pool", ["mean", "first"])
def test_an_encoder_of_embeddings(pool, saved):
    model = hf.BertModel(config()).eval()
    folder = saved(model)
    found = load_model("x", f"hf:{folder}?pool={pool}").eval()
    alone = model(**tokenizer()(TEXTS[:1], return_tensors="pt")).last_hidden_state
    expected = alone[:, 0] if pool == "first" else alone.mean(dim=1)
    torch.testing.assert_close(found(TEXTS)[:1], expected)
    assert load_model("x", f"hf:{folder}?pool={pool}", classes=3)(TEXTS).shape == (2, 3)


def test_random_weights_if_asked_for(saved):
    model = hf.BertForSequenceClassification(config())
    found = load_model("x", f"hf:{saved(model)}?untrained", classes=2)
    assert not torch.equal(found.classifier.weight, model.classifier.weight)


def byte_level(folder, limit=None):
    """Save a tokenizer that writes a space into the token behind it; return its folder."""
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>"))
    pieces.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    known = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    pieces.train_from_iterator(
        ["a dog ran", "the dog sat"] * 9,
        tokenizers.trainers.BpeTrainer(special_tokens=known, initial_alphabet=alphabet),
    )
    named = {"unk_token": "<unk>", "pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    limit = {} if limit is None else {"model_max_length": limit}
    hf.GPT2TokenizerFast(tokenizer_object=pieces, **named, **limit).save_pretrained(folder)
    return pieces.get_vocab_size()


@pytest.mark.parametrize("kind", ["Deberta", "GPT2", "Roberta"])
def test_words_of_a_text_have_the_space_before_them(kind, tmp_path):
    size = byte_level(tmp_path)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = getattr(hf, f"{kind}Config")(
        vocab_size=size, intermediate_size=8, pad_token_id=1, num_labels=2, **small
    )
    getattr(hf, f"{kind}ForTokenClassification")(made).save_pretrained(tmp_path)
    found = load_model("x", f"hf:{tmp_path}").prepare(["a dog ran"])["input_ids"][0]
    own = hf.AutoTokenizer.from_pretrained(tmp_path, add_prefix_space=True)
    assert found.tolist() == own(["a", "dog", "ran"], is_split_into_words=True)["input_ids"]
    assert "Ġdog" in own.convert_ids_to_tokens(found.tolist())


def test_texts_are_cut_at_the_tokens_for_which_there_are_positions(tmp_path):
    size = byte_level(tmp_path)
    made = hf.RobertaConfig(
        vocab_size=size, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=14, pad_token_id=1, num_labels=2,
    )  # fmt: skip
    hf.RobertaForSequenceClassification(made).save_pretrained(tmp_path)
    model = load_model("x", f"hf:{tmp_path}")
    assert model.prepare(["a dog ran " * 9])["input_ids"].shape == (1, 12)
    model(["a dog ran " * 9])


def test_a_model_without_a_padding_token_pads_with_its_last_token(tmp_path):
    settings = {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 24, "eos_token_id": 3}
    model = hf.GPT2ForSequenceClassification(hf.GPT2Config(vocab_size=SIZE, **settings)).eval()
    model.save_pretrained(tmp_path)
    tokenizer(pad=None).save_pretrained(tmp_path)
    found = load_model("teacher", f"hf:{tmp_path}").eval()
    with torch.no_grad():
        each = torch.cat([found([text]).logits for text in TEXTS])
        torch.testing.assert_close(found(TEXTS).logits, each)


def test_an_image_classifier_with_its_processor(tmp_path):
    vision = {key: SMALL[key] for key in SMALL if key != "max_position_embeddings"}
    vit = hf.ViTConfig(image_size=16, patch_size=8, num_labels=3, **vision)
    model = hf.ViTForImageClassification(vit).eval()
    model.save_pretrained(tmp_path)
    hf.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    found = load_model("teacher", f"hf:{tmp_path}").eval()
    assert found(torch.rand(2, 3, 20, 30)).logits.shape == (2, 3)
    assert found.prepare.resize == (16, 16)
    # Which pads images that are smaller than its crop.
    size = {"shortest_edge": 8, "longest_edge": 8}
    hf.CLIPImageProcessor(size=size).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="resizing, cropping and normalising"):
        load_model("teacher", f"hf:{tmp_path}")


@pytest.mark.parametrize("model", [hf.BertForSequenceClassification, hf.BertForTokenClassification])
def test_distils_a_half_student_from_raw_texts(model, saved):
    teacher = load_model("teacher", f"hf:{saved(model(config(num_labels=3)))}")
    student, layer_map = tl.students.every_nth_layer(teacher, n=2)
    assert student.config.num_hidden_layers == 2
    tokens = model is hf.BertForTokenClassification
    labels = [[0, 1, 2, -100, -100], [1, 1, 0, 2, 1]] if tokens else [0, 2]
    data = [(text, torch.tensor(label)) for text, label in zip(TEXTS, labels, strict=True)]
    run = tl.distill(
        teacher, student, train=data, epochs=1, batch_size=2,
        objective=tl.HardLabels() + tl.SoftTargets(2) + tl.FeatureMatch(layer_map),
    )  # fmt: skip
    assert len(run.student.bert.encoder.layer) == 2


@pytest.mark.parametrize("objective", [tl.FeatureMatch, tl.CKA])
def test_padding_of_raw_texts_is_no_part_of_objectives_on_layers(objective, saved):
    teacher = load_model("teacher", f"hf:{saved(hf.BertForSequenceClassification(config()))}")
    student, layer_map = tl.students.every_nth_layer(teacher, n=2)
    torch.manual_seed(1)
    changed = {k: v + 0.1 * torch.randn(v.shape) for k, v in student.state_dict().items()}
    student.load_state_dict(changed)
    raw = [*TEXTS, "the dog", "very unhappy cat"]  # two would be alike for CKA
    tokens = teacher.prepare(raw)
    pairs = ((student, teacher, raw), (student.wrapped, teacher.wrapped, tokens))
    losses = []
    for ours, theirs, inputs in pairs:
        torch.manual_seed(0)
        distiller = tl.Distiller(ours, theirs, objective(layer_map)).eval()
        distiller.build(tl.Batch(inputs))
        losses.append(distiller(tl.Batch(inputs)).total)
    assert losses[0] > 0
    torch.testing.assert_close(*losses)


def test_layers_of_different_tokens_are_not_compared(saved):
    folder = saved(hf.BertForSequenceClassification(config()))
    teacher, student = (load_model("x", f"hf:{folder}?max_length={n}") for n in (16, 4))
    objective = tl.FeatureMatch({"bert.encoder.layer.0": "bert.encoder.layer.0"})
    distiller = tl.Distiller(student, teacher, objective)
    distiller.build(tl.Batch(["the"]))
    with pytest.raises(ModelError, match=r"have the same tokens, got \[2, 4\].* and \[2, 9\]"):
        distiller(tl.Batch(TEXTS))


def test_distils_models_of_different_tokenizers(saved):
    teacher = load_model("teacher", f"hf:{saved(hf.BertForSequenceClassification(config()))}")
    small = hf.DistilBertConfig(vocab_size=SIZE, dim=8, hidden_dim=8, n_layers=1, n_heads=2)
    model = hf.DistilBertForSequenceClassification(small)
    student = load_model("student", f"hf:{saved(model, 'small')}?max_length=4")
    data = [(text, label) for label, text in enumerate(TEXTS)]
    run = tl.distill(
        teacher, student, train=data, epochs=1, batch_size=2, objective=tl.SoftTargets(2)
    )
    assert run.student(TEXTS).logits.shape == (2, 2)


def test_a_sentence_encoder_is_a_transformer_with_pooling(saved):
    folder = saved(hf.BertModel(config()))
    with pytest.raises(ModelError, match=r"must have a modules\.json .*got \[\] in"):
        load_model("teacher", f"sentence-transformers:{folder}")
    kinds = ("Transformer", "Pooling", "Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": "1_Pooling" if i == 1 else "", "type": f"a.b.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')
    found = load_model("teacher", f"sentence-transformers:{folder}").eval()
    plain = load_model("teacher", f"hf:{folder}?pool=mean&max_length=7").eval()
    assert found.prepare.max_length == 7
    torch.testing.assert_close(found(TEXTS), nn.functional.normalize(plain(TEXTS)))
    student, _ = tl.students.every_nth_layer(found)
    assert student(TEXTS).shape == (2, 8)
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ModelError, match=r"mean or first .*got \['Transformer', 'pooling_mode_max"):
        load_model("teacher", f"sentence-transformers:{folder}")
    (folder / "modules.json").write_text(json.dumps([{"type": "os.system"}, *modules]))
    with pytest.raises(ModelError, match=r"of a transformer, pooling .*got \['system', 'Transf"):
        load_model("teacher", f"sentence-transformers:{folder}")


def test_a_model_of_onnx_is_given_the_tokens_of_texts(tmp_path):
    tokenizer().save_pretrained(tmp_path / "tokens")
    nodes = [
        helper.make_node("Mul", ["input_ids", "attention_mask"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["number", "weight"], ["logits"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
    ]
    nodes = [nodes[-1], *nodes[:-1]]
    inputs = [
        helper.make_tensor_value_info(each, TensorProto.INT64, ["batch", "tokens"])
        for each in ("input_ids", "attention_mask")
    ]
    path = onnx_file(tmp_path / "m.onnx", nodes, inputs, weight=WEIGHT[:1])
    with pytest.raises(ModelError, match=r"columns, input_ids, .*\?tokenizer=FOLDER"):
        load_model("teacher", str(path)).signals(tl.Batch(torch.zeros(2, 3)), OUTPUT)
    teacher = load_model("teacher", f"{path}?tokenizer={tmp_path / 'tokens'}")
    byte_level(tmp_path / "others")
    other = load_model("teacher", f"{path}?tokenizer={tmp_path / 'others'}")
    again = load_model("teacher", f"{path}?tokenizer={tmp_path / 'tokens'}")
    assert teacher.fingerprint() == again.fingerprint() != other.fingerprint()
    found = teacher.signals(tl.Batch(["the cat sat", "the dog"]), OUTPUT).output
    sums = torch.tensor([[2.0 + 4 + 5 + 7 + 3], [2.0 + 4 + 6 + 3]])
    torch.testing.assert_close(found, sums @ torch.from_numpy(WEIGHT[:1]))


class TestBadInput:
    def test_a_folder_that_does_not_exist_is_refused(self):
        with pytest.raises(ArgumentError, match=r"got 'hf:\./nothing' and no such folder"):
            load_model("teacher", "hf:./nothing")

    @pytest.mark.parametrize("name", ["hf:models/bert", "hf:gone", "sentence-transformers:a/enc"])
    def test_a_folder_that_is_gone_is_not_found(self, name, monkeypatch):
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        with pytest.raises(tl.NotFoundError, match="could not be loaded"):
            load_model("teacher", name)

    def test_a_missing_head_needs_a_number_of_classes_or_pooling(self, saved):
        with pytest.raises(ModelError, match=r"without an output layer .*write \?pool=mean"):
            load_model("teacher", f"hf:{saved(hf.BertModel(config()))}")

    def test_lacking_weights_are_refused(self, saved):
        """The library transformers would make them up."""
        folder = saved(hf.BertForSequenceClassification(config()))
        changed(folder, num_hidden_layers=5)
        with pytest.raises(ModelError, match=r"must have all weights .* bert\.encoder\.layer\.4"):
            load_model("teacher", f"hf:{folder}")
        with pytest.raises(ModelError, match=r"must have all weights .* bert\.encoder\.layer\.4"):
            load_model("teacher", f"hf:{folder}", classes=7)

    def test_pool_and_task_exclude_each_other(self, saved):
        with pytest.raises(ArgumentError, match="`pool` and `task` exclude each other"):
            load_model("teacher", f"hf:{saved(hf.BertModel(config()))}?pool=mean&task=texts")

    def test_an_unknown_option_is_refused(self, saved):
        with pytest.raises(ArgumentError, match="did you mean 'max_length'"):
            load_model("teacher", f"hf:{saved(hf.BertModel(config()))}?maxlength=3")


class TestSafety:
    @pytest.mark.parametrize(
        "settings",
        [
            {"auto_map": {"AutoConfig": "evil.EvilConfig"}, "model_type": "evil"},
            {"auto_map": {"AutoModelForSequenceClassification": "evil.EvilModel"}},
            {"_attn_implementation": "evil/kernel"},
            {"text_config": {"attn_implementation": "evil/kernel"}},
        ],
    )
    @pytest.mark.parametrize("of_the_reference", [False, True])
    def test_code_in_a_repository_does_not_run(self, settings, of_the_reference, saved, tmp_path):
        """Where the library transformers has the class itself, it takes that."""
        folder = changed(saved(hf.BertForSequenceClassification(config())), **settings)
        (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
        try:
            load_model("teacher", f"hf:{folder}{'?trust_remote_code' * of_the_reference}")
        except ModelError as error:
            assert "with trust=True" in str(error)  # noqa: PT017 - not all are refused
        except ArgumentError as error:
            assert "cannot consent to code itself" in str(error)  # noqa: PT017
        assert not (tmp_path / "ran").exists()

    def test_code_in_a_repository_runs_where_the_caller_trusts_it(self, saved):
        model = hf.BertForSequenceClassification(config()).eval()
        settings = {"auto_map": {"AutoModelForSequenceClassification": "own.Own"}}
        folder = changed(saved(model), **settings)
        (folder / "own.py").write_text(
            "import transformers\nclass Own(transformers.BertForSequenceClassification): pass"
        )
        found = load_model("teacher", f"hf:{folder}", trust=True)
        assert type(found.wrapped).__name__ == "Own"
        assert torch.equal(
            found.eval()(TEXTS).logits, load_model("x", f"hf:{folder}")(TEXTS).logits
        )

    def test_a_malicious_pickle_in_the_folder_does_not_run(self, saved, tmp_path):
        class Evil:
            def __reduce__(self):
                return open, (str(tmp_path / "ran"), "w")

        folder = saved(hf.BertForSequenceClassification(config()))
        (folder / "model.safetensors").unlink()
        torch.save({"bert.embeddings": Evil()}, folder / "pytorch_model.bin")
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", f"hf:{folder}")
        (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
        with pytest.raises(ModelError, match="could not be loaded"):
            load_model("teacher", f"hf:{folder}")
        assert not (tmp_path / "ran").exists()

    def test_damaged_files_are_refused(self, saved):
        folder = saved(hf.BertForSequenceClassification(config()))
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ModelError, match="could not be loaded: SafetensorError"):
            load_model("teacher", f"hf:{folder}")
        (folder / "config.json").write_text("{")
        with pytest.raises(ModelError, match="could not be loaded: OSError"):
            load_model("teacher", f"hf:{folder}")
