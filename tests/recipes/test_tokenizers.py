"""Recipes of language models: texts in the student's tokens, and a teacher with other tokens."""

import csv
import json
from pathlib import Path

import pytest
import torch
import transformers

import tutelage as tl
from language_models import make
from tokenizing import TEXTS, byte_level
from tutelage.objectives import AlignedKL

OURS, THEIRS = byte_level(360), byte_level(300, digits=True)
VAL = ("something of the year 1987 else", "12 theatres")
VALUES = {
    "teacher": "hf:teacher",
    "student": "hf:student",
    "data": {"train": "texts.csv", "text": "text", "val": "val.csv"},
    "objective": {"HardLabels": {"weight": 0.5}, "AlignedKL": {}},
    "training": {"epochs": 1, "batch_size": 2, "engine": {"device": "cpu"}},
}


def folder(name, tokenizer, width, seed):
    model = make("Llama", width, seed, vocab_size=len(tokenizer), eos_token_id=0)
    model.save_pretrained(name)
    tokenizer.save_pretrained(name)
    return model


@pytest.fixture(autouse=True)
def models(job):
    """The working folder has two models with different tokenizers, and texts."""
    for name, texts in (("texts.csv", TEXTS), ("val.csv", VAL)):
        with (job / name).open("w", newline="") as file:
            csv.writer(file).writerows([["text"], *([each] for each in texts)])
    return folder("student", OURS, 16, 1), folder("teacher", THEIRS, 32, 2)


def tokens(texts, end=True, longest=10**6):
    found = [OURS(each)["input_ids"] for each in texts]
    return [{"input_ids": torch.tensor((each + [0] * end)[:longest])} for each in found]


def expected(teacher, student, objective, train, val):
    return tl.distill(
        teacher, student, train=train, val=val, objective=objective, epochs=1, batch_size=2,
        engine=tl.Engine(device="cpu"),
    ).student.state_dict()  # fmt: skip


def same(run, weights):
    return all(torch.equal(each, weights[name]) for name, each in run.student.named_parameters())


def test_a_teacher_with_another_tokenizer_needs_nothing_more(models):
    student, teacher = models
    found = tl.Recipe(VALUES).run()
    known = tl.teachers.Retokenized(teacher, THEIRS, OURS)
    objective = 0.5 * tl.HardLabels() + AlignedKL()
    assert same(found, expected(known, student, objective, tokens(TEXTS), tokens(VAL)))
    metrics = tl.Recipe(VALUES).evaluate("val")
    assert metrics["student"]["perplexity"] == pytest.approx(found.history[-1]["val/perplexity"])


def test_its_student_is_a_folder_that_can_be_loaded():
    found = tl.Recipe(VALUES).run()
    left = Path("runs/recipe")
    again = transformers.AutoModelForCausalLM.from_pretrained(left / "student")
    assert same(found, again.state_dict())
    tokenizer = transformers.AutoTokenizer.from_pretrained(left / "student")
    assert tokenizer(TEXTS[1])["input_ids"] == OURS(TEXTS[1])["input_ids"]
    assert json.loads((left / "student.json").read_text())["inputs"]["by"] == "tokenizer"
    assert tl.Recipe(VALUES | {"student": f"hf:{left}/student", "out": "more"}).run().student


def test_its_settings_can_be_given(models):
    student, teacher = models
    given = {"Retokenized": {"teacher": "hf:teacher", "max_length": 9}}
    found = tl.Recipe(VALUES | {"teacher": given}).run()
    known = tl.teachers.Retokenized(teacher, THEIRS, OURS, max_length=9)
    objective = 0.5 * tl.HardLabels() + AlignedKL()
    assert same(found, expected(known, student, objective, tokens(TEXTS), tokens(VAL)))


OTHERS = {
    "tokens": {"SoftTargets": 1},
    "beside labels": {"HardLabels": {}, "ReverseKL": {}},
    "by row": {"RowMean": {"objective": {"SoftTargets": 1}}},
    "layers": {"CKA": {"layer_map": {"model.norm": "model.norm"}}},
}


@pytest.mark.parametrize("objective", OTHERS.values(), ids=OTHERS)
def test_other_objectives_are_refused_before_anything_runs(objective):
    with pytest.raises(tl.TutelageError, match="another tokenizer"):
        tl.Recipe(VALUES | {"objective": objective}).run()
    assert not Path("runs/recipe/student.safetensors").exists()
    stages = [{"objective": {"AlignedKL": {}}, "epochs": 1}, {"objective": objective, "epochs": 1}]
    values = {key: each for key, each in VALUES.items() if key != "objective"}
    training = {"batch_size": 2}
    with pytest.raises(tl.TutelageError, match="another tokenizer"):
        tl.Recipe(values | {"stages": stages, "training": training}).run()


def test_a_study_refuses_them_too():
    study = {"seeds": 1, "arms": {"soft": {"SoftTargets": 1}}}
    Path("test.csv").write_text("text\nsomething else\n")
    data = {**VALUES["data"], "test": "test.csv"}
    with pytest.raises(tl.TutelageError, match="another tokenizer"):
        tl.Recipe(VALUES | {"study": study, "data": data}).study()


def test_equal_tokenizers_are_the_plain_call():
    teacher, student = folder("teacher", OURS, 32, 2), make("Llama", 16, 1, vocab_size=len(OURS))
    student.load_state_dict(
        transformers.AutoModelForCausalLM.from_pretrained("student").state_dict()
    )
    found = tl.Recipe(VALUES | {"objective": {"SoftTargets": 1}}).run()
    sets = tokens(TEXTS), tokens(VAL)
    assert same(found, expected(teacher, student, tl.SoftTargets(1), *sets))
    with pytest.raises(tl.ModelError, match="reads the student's tokens"):
        tl.Recipe(VALUES | {"out": "aligned"}).run()


def test_a_student_of_the_teachers_layers_has_its_tokens():
    values = VALUES | {"student": {"every_nth_layer": 2}, "objective": {"SoftTargets": 1}}
    found = tl.Recipe(values).run()
    assert found.student.config.num_hidden_layers == 1
    assert found.student.config.vocab_size == len(THEIRS)


def test_prompts_of_texts_that_the_student_writes_have_no_end():
    teacher, student = folder("teacher", OURS, 32, 2), make("Llama", 16, 1, vocab_size=len(OURS))
    student.load_state_dict(
        transformers.AutoModelForCausalLM.from_pretrained("student").state_dict()
    )
    student.generation_config.eos_token_id = 0
    policy = {"share": 1, "max_new_tokens": 3}
    found = tl.Recipe(VALUES | {"objective": {"ReverseKL": {}}, "on_policy": policy}).run()
    written = tl.OnPolicy(tokens(TEXTS, end=False), **policy)
    val = tokens(VAL, end=False)
    assert same(found, expected(teacher, student, tl.ReverseKL(), written, val))


def test_texts_of_domains_keep_them():
    rows = "\n".join(f"some words {place},{'ab'[place % 2]}" for place in range(4))
    for name in ("texts.csv", "val.csv"):
        Path(name).write_text(f"text,domain\n{rows}\n")
    data = {**VALUES["data"], "domain": "domain"}
    found = tl.Recipe(VALUES | {"data": data}).run()
    assert {"val/perplexity/a", "val/perplexity/b"} <= found.history[-1].keys()
    teacher = {"a": "hf:teacher", "b": "hf:student"}
    with pytest.raises(tl.TutelageError, match="tokenizer"):
        tl.Recipe(VALUES | {"data": data, "teacher": teacher, "out": "more"}).run()


def test_texts_are_cut_and_it_is_told(models, caplog):
    student, teacher = models
    found = tl.Recipe(VALUES | {"student": "hf:student?max_length=6"}).run()
    assert "5 of 5 texts of `train` have more than 6 tokens and are cut" in caplog.text
    known, objective = tl.teachers.Retokenized(teacher, THEIRS, OURS), 0.5 * tl.HardLabels()
    sets = tokens(TEXTS, longest=6), tokens(VAL, longest=6)
    assert same(found, expected(known, student, objective + AlignedKL(), *sets))


ARM = {"one": {"student": "hf:teacher", "objective": {"AlignedKL": {}}}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fine_tune": {"epochs": 1}}, "to be fine-tuned, on texts in tokens of its own"),
        ({"label": {}}, "another tokenizer"),
        ({"teacher": ["hf:teacher", "hf:teacher"]}, "tokenizer"),
        ({"teacher": {"Retokenized": {"teacher": "job.py:net"}}}, "must be a causal language mod"),
        ({"student": "job.py:net"}, "causal language model, which needs texts without labels"),
        ({"study": {"seeds": 1, "arms": ARM}}, "must have the tokenizer of the recipe's student"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    values = VALUES | {"data": {**VALUES["data"], "test": "val.csv"}} | changes
    recipe = tl.Recipe(values)
    with pytest.raises(tl.TutelageError, match=words):
        recipe.study() if "study" in changes else recipe.run()


def test_a_teacher_of_the_students_tokens_is_evaluated_too(models):
    student = {"every_nth_layer": 2}
    changes = {"teacher": "hf:student", "student": student, "objective": {"SoftTargets": 1}}
    recipe = tl.Recipe(VALUES | changes)
    before = recipe.evaluate("val")["teacher"]
    recipe.run()
    after = recipe.evaluate("val")
    assert after["teacher"] == before
    assert [*after] == ["teacher", "student"]
    rows = [each["input_ids"] for each in tokens(VAL)]
    losses = [models[0](each[None]).logits[0, :-1].log_softmax(1) for each in rows]
    picked = [
        -loss.gather(1, each[1:, None])[:, 0] for loss, each in zip(losses, rows, strict=True)
    ]
    assert before["perplexity"] == pytest.approx(torch.cat(picked).mean().exp().item(), rel=1e-4)
