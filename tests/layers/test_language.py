"""What is asked of language models: each case against a reference, text by text."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import tutelage as tl
from language_models import VOCABULARY, make, padded, texts
from tutelage.errors import DataError
from tutelage.layers.language import next_tokens, shift_labels_for
from tutelage.signals import Batch

MODELS = ("Llama", "GPT2", "Gemma", "Gemma2")


def batch_of(raw):
    raw = dict(raw)
    labels = raw.pop("labels", None)
    return Batch(raw, labels, row_mask=raw.pop("row_mask", None))


def reference(model, examples, learned=None):
    """The mean over texts of the mean cross-entropy of their learned tokens, one text at a time.

    `learned` has the numbers of the tokens of each text that are learned; None for those with a
    label.
    """
    means = []
    for place, each in enumerate(examples):
        ids = each["input_ids"]
        logits = model(input_ids=ids[None]).logits[0]
        chosen = (
            learned[place] if learned else (each["labels"] != -100).nonzero().flatten().tolist()
        )
        losses = [F.cross_entropy(logits[t - 1], ids[t]) for t in chosen if t > 0]
        means.append(torch.stack(losses).mean())
    return torch.stack(means).mean()


def loss(model, batch, objective=None, least=0):
    return tl.Distiller(model, None, objective or tl.HardLabels(), least)(batch).total


def close(ours, expected):
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("least", [0, None], ids=["head", "logits"])
@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("name", MODELS)
def test_padding_on_either_side_and_prompts(name, left, least):
    model, examples = make(name), texts()
    raw = padded(examples, left)
    if left and name == "GPT2":  # whose positions are not relative
        raw["position_ids"] = (raw["attention_mask"].cumsum(1) - 1).clamp(min=0)
    close(loss(model, batch_of(raw), least=least), reference(model, examples))


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_models_own_loss_where_all_texts_are_equally_long(name):
    model, ids = make(name), torch.randint(3, VOCABULARY, (3, 7))
    expected = model(input_ids=ids, labels=ids).loss
    close(loss(model, Batch({"input_ids": ids}, ids)), expected)
    close(loss(model, Batch({"input_ids": ids})), expected)  # its own tokens


def test_a_models_own_loss_is_given_labels_as_they_are():
    """It shifts them itself, also beside an objective on the output."""
    model, examples = make("Llama"), texts()
    raw = padded(examples)
    expected = model(**raw).loss
    both = tl.OwnLoss() + 0 * tl.HardLabels()
    for objective in (tl.OwnLoss(), both):
        ours = tl.Distiller(model, None, objective, 0)(batch_of(raw))
        close(ours.parts["own_loss"], expected.detach())


def test_labels_of_texts_are_not_read_where_no_output_is():
    student, teacher = make("Llama"), make("Llama", seed=1)
    batch = Batch({"input_ids": torch.tensor([[5, 6, 7]])}, torch.tensor([1]))
    objective = tl.AttentionTransfer({"model.layers.0": "model.layers.0"})
    assert tl.Distiller(student, teacher, objective)(batch).total.isfinite()


def test_every_token_weighs_the_same_under_row_mean():
    model, examples = make("Llama"), texts()
    raw = padded(examples)
    expected = model(**raw).loss  # transformers averages over tokens
    close(loss(model, batch_of(raw), tl.RowMean(tl.HardLabels())), expected)


def test_the_end_of_a_text_counts_though_padding_has_its_id():
    """And BOS is no target, as nothing comes before it."""
    model, end = make("Llama"), 2
    examples = [{"input_ids": torch.tensor(ids)} for ids in ([1, 9, 8, end], [1, 7, 6, 5, 4, end])]
    for each in examples:
        each["labels"] = each["input_ids"]
    raw = padded(examples, pad=end)
    raw.pop("labels")
    asked = next_tokens(batch_of(raw))
    assert asked.labels.tolist() == [[9, 8, end, -100, -100, -100], [7, 6, 5, 4, end, -100]]
    close(loss(model, batch_of(raw)), reference(model, examples))


def test_packed_texts_do_not_predict_each_others_first_token():
    """Told by `position_ids` that begin anew, or by the numbers of texts in the mask."""
    first, second, third = [5, 6, 7], [8], [9, 10]
    ids = torch.tensor([first + second + third + [0]])
    positions = torch.tensor([[0, 1, 2, 0, 0, 1, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1, 1, 0]])
    expected = [[6, 7, -100, -100, 10, -100, -100]]
    by_positions = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
    by_mask = {"input_ids": ids, "attention_mask": torch.tensor([[1, 1, 1, 2, 3, 3, 0]])}
    for inputs in (by_positions, by_mask):
        assert next_tokens(Batch(inputs)).labels.tolist() == expected
        assert next_tokens(Batch(inputs, ids)).labels.tolist() == expected


def test_packed_rows_have_the_loss_of_their_texts():
    """By a mask of blocks, so that texts do not see each other."""
    model, examples = make("Llama"), texts(3)
    lengths = [len(each["input_ids"]) for each in examples]
    numbers = torch.cat([torch.full((n,), k) for k, n in enumerate(lengths)])
    seen = (numbers[:, None] == numbers) & torch.ones(sum(lengths), sum(lengths)).tril().bool()
    inputs = {
        "input_ids": torch.cat([each["input_ids"] for each in examples])[None],
        "position_ids": torch.cat([torch.arange(n) for n in lengths])[None],
        "attention_mask": torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None],
    }
    labels = torch.cat([each["labels"] for each in examples])[None]
    parts = [loss(model, batch_of(padded([each]))) for each in examples]
    counts = [int((each["labels"] != -100).sum()) for each in examples]
    expected = sum(part * n for part, n in zip(parts, counts, strict=True)) / sum(counts)
    close(loss(model, Batch(inputs, labels)), expected)


@pytest.mark.parametrize("name", ["row_mask", "assistant_masks", "completion_mask", "loss_mask"])
@pytest.mark.parametrize("objective", [tl.HardLabels(), tl.SoftTargets(2)])
def test_tokens_that_a_mask_of_a_chat_leaves_out_are_not_learned(name, objective):
    """As if they had the label −100, also where a teacher could teach them."""
    ask, raw = tl.Distiller(make("Llama"), make("Llama", seed=1), objective, 0), padded(texts())
    expected = ask(batch_of(raw)).total
    marks = (raw.pop("labels") != -100).long()
    close(ask(Batch.of({**raw, name: marks})).total, expected)


def test_of_two_masks_a_token_must_be_in_both():
    ids = torch.tensor([[5, 6, 7, 8]])
    masks = {"completion_mask": [[0, 1, 1, 1]], "assistant_masks": [[1, 1, 0, 1]]}
    batch = Batch.of({"input_ids": ids, **masks})
    assert batch.row_mask.tolist() == [[False, True, False, True]]
    assert [*batch.inputs] == ["input_ids"]


def test_an_input_that_a_model_does_not_name_is_told_once(caplog):
    model, inputs = make("Llama"), {"input_ids": torch.tensor([[5, 6, 7]])}
    with caplog.at_level("WARNING", "tutelage"):
        for _ in range(2):
            loss(model, Batch({**inputs, "sample_weight": torch.ones(1)}))
        loss(model, Batch({**inputs, "position_ids": torch.arange(3)[None]}))
    (message,) = [each.getMessage() for each in caplog.records]
    assert message.startswith("LlamaForCausalLM names no input 'sample_weight'")


def test_an_example_without_labels_is_taught_everywhere_by_its_teacher():
    ids = torch.tensor([[5, 6, 7, 8], [5, 6, 7, 0]])
    labels = torch.tensor([[-100, -100, 7, 8], [-100] * 4])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    asked = next_tokens(Batch({"input_ids": ids, "attention_mask": mask}, labels))
    assert asked.row_mask.tolist() == [[False, True, True, False], [True, True, False, False]]
    assert asked.labels.tolist() == [[-100, 7, 8, -100], [-100] * 4]


def test_a_row_mask_says_which_tokens_are_learned():
    ids, chosen = torch.tensor([[5, 6, 7, 8]]), torch.tensor([[True, False, True, False]])
    asked = next_tokens(Batch({"input_ids": ids}, row_mask=chosen))
    assert asked.labels.tolist() == [[-100, 7, -100, -100]]
    assert asked.row_mask.tolist() == [[False, True, False, False]]


def test_it_is_shifted_once():
    model, ids = make("Llama"), torch.tensor([[5, 6, 7]])
    once = shift_labels_for(Batch({"input_ids": ids}), model)
    assert shift_labels_for(once, model) is once
    assert once.to(torch.device("cpu")).next_tokens
    assert once[:1].next_tokens


def test_other_models_and_data_are_not_shifted():
    ids = torch.tensor([[5, 6, 7]])
    tagger = Batch({"input_ids": ids}, ids)
    assert shift_labels_for(tagger, make("Bert")) is tagger
    assert shift_labels_for(tagger, nn.Linear(2, 2)) is tagger
    plain = Batch(torch.zeros(2, 3))
    assert shift_labels_for(plain, make("Llama")) is plain


@pytest.mark.parametrize("least", [0, None], ids=["head", "logits"])
@pytest.mark.parametrize("name", ["T5", "Bart"])
def test_an_encoder_decoder_is_given_the_tokens_before_its_labels(name, least):
    model, raw = make(name), padded(texts())
    raw["labels"][raw["labels"] == -100] = 5
    raw["labels"][0, 4:] = -100
    ours = loss(model, batch_of(raw), tl.RowMean(tl.HardLabels()), least)
    close(ours, model(**raw).loss)
    student, teacher = make(name), make(name, 32, seed=1)
    both = tl.Distiller(student, teacher, tl.SoftTargets(2), least)(batch_of(raw))
    assert both.total > 0


@pytest.mark.parametrize("name", ["T5", "Bart"])
def test_without_a_label_a_decoder_has_no_text_to_be_taught(name):
    teacher, student = make(name, 32, seed=1), make(name)
    examples = padded(texts())
    for objective in (tl.SoftTargets(1), tl.RowMean(tl.SoftTargets(1))):
        distiller = tl.Distiller(student, teacher, objective)
        expected = distiller(batch_of({key: each[1:] for key, each in examples.items()})).total
        hidden = {**examples, "labels": examples["labels"].clone()}
        hidden["labels"][0] = -100
        close(distiller(batch_of(hidden)).total, expected)


@pytest.mark.parametrize("given", [False, True], ids=["labels", "inputs of the decoder"])
@pytest.mark.parametrize(
    ("name", "depth", "path"),
    [("T5", "num_layers", "decoder.block.0"), ("Bart", "decoder_layers", "model.decoder.layers.0")],
)
def test_layers_of_a_decoder_are_compared_where_it_has_text(name, depth, path, given):
    """Also where its texts are as long as those of the encoder, whose padding is elsewhere."""
    student, teacher = (make(name, seed=seed, **{depth: 2}) for seed in (0, 1))
    raw = padded(texts())
    raw["labels"] = raw["labels"].flip(0).sort(dim=1, descending=True).values
    mask = raw["labels"] != -100
    ours, theirs = (
        model(**raw, output_hidden_states=True).decoder_hidden_states[1]
        for model in (student, teacher)
    )
    expected = (((ours - theirs) ** 2).mean(dim=2) * mask).sum(dim=1) / mask.sum(dim=1)
    if given:
        raw["decoder_input_ids"] = student.prepare_decoder_input_ids_from_labels(raw["labels"])
        raw["decoder_attention_mask"] = mask.long()
    objective = tl.FeatureMatch({path: path}, projector=lambda *_: nn.Identity())
    distiller = tl.Distiller(student, teacher, objective)
    distiller.build(batch_of(raw))
    close(distiller(batch_of(raw)).total, expected.mean())


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"labels": torch.zeros(1, 4, dtype=torch.int64)}, "labels"),
        ({"labels": torch.zeros(1, dtype=torch.int64)}, "labels"),
        ({"row_mask": torch.ones(1, 2, dtype=torch.bool)}, "row_mask"),
        ({"attention_mask": torch.ones(1, 5)}, "attention_mask"),
        ({"position_ids": torch.ones(1, 5)}, "position_ids"),
    ],
)
def test_what_does_not_fit_the_tokens_is_refused(wrong, name):
    batch = batch_of({"input_ids": torch.tensor([[5, 6, 7]]), **wrong})
    with pytest.raises(DataError, match=rf"`{name}` of a causal language model must .*\[1, 3\], "):
        next_tokens(batch)


def test_what_has_no_table_of_tokens_is_refused():
    with pytest.raises(DataError, match=r"must be \[batch, tokens\], got int64 \[3\]"):
        shift_labels_for(batch_of({"input_ids": torch.tensor([5, 6, 7])}), make("Llama"))
    raw = {"inputs_embeds": torch.zeros(1, 3, 16), "labels": torch.tensor([[5, 6, 7]])}
    with pytest.raises(DataError, match="must have `input_ids`, with whose labels"):
        shift_labels_for(batch_of(raw), make("Llama"))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32])
def test_labels_of_any_integers_can_be_unlabelled(dtype):
    ids, mask = torch.tensor([[5, 6, 0]], dtype=dtype), torch.tensor([[1, 1, 0]])
    found = next_tokens(batch_of({"input_ids": ids, "attention_mask": mask}))
    assert found.labels.tolist() == [[6, -100, -100]]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.booleans(), st.integers(0, 99))
def test_targets_of_any_packed_and_padded_rows(lengths, left, seed):
    """Against a loop over tokens."""
    generator = torch.Generator().manual_seed(seed)
    owners = [number for number, length in enumerate(lengths, 1) for _ in range(length)]
    owners = [0, 0, *owners] if left else [*owners, 0, 0]
    ids = torch.randint(3, 50, (len(owners),), generator=generator)
    learned = torch.rand(len(owners), generator=generator) < 0.7
    labels = ids.where(learned, -100)
    places, last = [], None
    for owner in owners:
        places.append(places[-1] + 1 if owner == last else 0)
        last = owner
    expected = [
        int(labels[t + 1]) if owners[t] and t + 1 < len(owners) and owners[t + 1] == owners[t]
        else -100
        for t in range(len(owners))
    ]  # fmt: skip
    inputs = {
        "input_ids": ids[None],
        "attention_mask": torch.tensor([[int(owner > 0) for owner in owners]]),
        "position_ids": torch.tensor([places]),
    }
    asked = next_tokens(Batch(inputs, labels[None]))
    assert asked.labels.tolist() == [expected]
