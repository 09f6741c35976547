"""examples/convert_topk.py: files of DistillKit and NeMo-Aligner, by encoders of their formats."""

import json
import random
import runpy
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

import tutelage as tl
from language_models import VOCABULARY, make
from tutelage.teachers import Recorded

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "convert_topk.py"))
convert = EXAMPLE["main"]

K = 8
PLAIN = {"d": VOCABULARY, "k": K, "exact_k": K, "delta_encoding": False, "residual_bins": []}


def a_bin(dtype, bits, number):
    return {"scale_dtype": dtype, "element_bits": bits, "num_elements": number}


SETTINGS = {
    "exact": PLAIN,
    "exact differences": PLAIN | {"delta_encoding": True},
    "default": PLAIN | {"exact_k": 4, "polynomial_terms": [0, 1, 2], "delta_encoding": True},
    "odd bits": PLAIN
    | {"exact_k": 1, "polynomial_terms": [0, 1, "sqrt"], "term_dtype": "float16",
       "residual_bins": [a_bin("float16", 5, 3), a_bin("bfloat16", 9, 2)]},
    "normalized": PLAIN
    | {"exact_k": 2, "exact_dtype": "float16", "polynomial_terms": [0, "exp"], "normalize_t": True,
       "residual_bins": [a_bin("float32", 8, 6)]},
    "no polynomial": PLAIN
    | {"exact_k": 2, "exact_dtype": "bfloat16", "residual_bins": [a_bin("float32", 16, 6)]},
    "a bit": PLAIN
    | {"exact_k": 3, "polynomial_terms": [0, 1], "residual_bins": [a_bin("float32", 1, 5)]},
    "nothing exact": PLAIN
    | {"exact_k": 0, "polynomial_terms": [0, 1, 2], "delta_encoding": True,
       "residual_bins": [a_bin("float64", 12, 8)]},
    "17 bits of an id": PLAIN | {"d": 100_000},
}  # fmt: skip


def bits_of(numbers, width):
    """Pack integers from the highest bit on, by way of a text of 0 and 1."""
    text = "".join(format(each, f"0{width}b") for each in numbers)
    text += "0" * (-len(text) % 8)
    return [int(text[at : at + 8], 2) for at in range(0, len(text), 8)]


def bytes_of(values, dtype):
    made = torch.tensor(np.asarray(values)).to(getattr(torch, dtype))
    return made.double().numpy(), list(made.view(torch.uint8).numpy().tobytes())


def encoded(row, given):
    """Return the bytes of a row of log-probabilities, and the values that they stand for."""
    exact_k, exact_dtype = given["exact_k"], given.get("exact_dtype", "float32")
    delta = given["delta_encoding"]
    row = np.diff(row, prepend=0) if delta else row
    kept, found = bytes_of(row[:exact_k], exact_dtype)
    rest, approximate = row[exact_k:], np.zeros(len(row) - exact_k)
    terms = given.get("polynomial_terms")
    if terms:
        at = np.linspace(0, 1, len(rest)) if given.get("normalize_t") else np.arange(len(rest))
        table = np.stack([getattr(np, each)(at) if isinstance(each, str) else at**each
                          for each in terms], axis=1).astype(float)  # fmt: skip
        fit = np.linalg.lstsq(table, rest, rcond=None)[0]
        fit, more = bytes_of(fit, given.get("term_dtype", "float32"))
        found += more
        approximate = table @ fit
    first = 0
    for each in given["residual_bins"]:
        bits, number = each["element_bits"], each["num_elements"]
        part = rest[first : first + number] - approximate[first : first + number]
        [scale], more = bytes_of([np.abs(part).max() / 2 ** (bits - 1)], each["scale_dtype"])
        least = 0 if bits == 1 else -(2 ** (bits - 1))
        steps = np.clip(np.round(part / scale), least, 1 if bits == 1 else -least - 1).astype(int)
        found += more + bits_of((steps - least).tolist(), bits)
        approximate[first : first + number] += (2 * steps - 1 if bits == 1 else steps) * scale
        first += number
    values = np.concatenate([kept, approximate])
    return found, np.cumsum(values) if delta else values


def texts(number=6):
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(VOCABULARY, (4 + place % 3,), generator=generator).tolist()
            for place in range(number)]  # fmt: skip


def answers(ids, model):
    """Return the most probable tokens after each token of a text, and their log-probabilities."""
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(1).topk(K)


@pytest.fixture(scope="module")
def model():
    found = make("Llama", seed=1)
    with torch.no_grad():
        found.lm_head.weight *= 8
    return found


def record(ids, model, given, rows=-1):
    values, places = answers(ids, model)
    made = [encoded(row, given) for row in values.numpy()[:rows]]
    width = (given["d"] - 1).bit_length()
    return {
        "input_ids": ids,
        "compressed_logprobs": [each for each, _ in made],
        "bytepacked_indices": [bits_of(row, width) for row in places.tolist()[:rows]],
    }, [each for _, each in made]


def captured(folder, records, given):
    """Write a folder as DistillKit does, whose rows are in any order."""
    folder.mkdir()
    (folder / "compression_config.yaml").write_text(yaml.safe_dump(given))
    mixed = random.Random(0).sample(records, len(records))
    for number, part in enumerate((mixed[:4], mixed[4:])):
        pq.write_table(pa.Table.from_pylist(part), folder / f"data_{number}.parquet")
    return folder


def converted(*arguments, data=None):
    """Convert and read what is known of some texts."""
    out = arguments[1].with_suffix(".converted.jsonl")
    convert(*map(str, (*arguments, out)))
    data = texts() if data is None else data
    return Recorded(out, vocabulary=VOCABULARY).logprobs(data, None)


@pytest.mark.parametrize("given", SETTINGS.values(), ids=SETTINGS)
def test_distillkit_is_read_as_it_was_written(given, model, tmp_path):
    made = [record(ids, model, given) for ids in texts()]
    folder = captured(tmp_path / "captured", [each for each, _ in made], given)
    found_of = converted("distillkit", folder)
    for found, ids, (_, values) in zip(found_of, texts(), made, strict=True):
        assert found.ids.tolist() == answers(ids, model)[1].tolist()[:-1]
        close = 0.05 if "float16" in str(given) else 1e-4
        np.testing.assert_allclose(found.values, values, rtol=close, atol=close)
        if given["exact_k"] == K:
            np.testing.assert_allclose(found.values, answers(ids, model)[0][:-1], atol=2e-6)


def test_as_many_rows_as_tokens_of_packed_texts(model, tmp_path):
    """The last row is about a token that no one has."""
    given = SETTINGS["exact"]
    made = [record(ids, model, given, rows=None)[0] for ids in texts()]
    folder = captured(tmp_path / "captured", made, given)
    for each, ids in zip(converted("distillkit", folder), texts(), strict=True):
        assert each.ids.tolist() == answers(ids, model)[1].tolist()[:-1]


def test_a_store_of_it_is_that_of_the_model(model, tmp_path):
    given, data = SETTINGS["exact"], [{"input_ids": torch.tensor(each)} for each in texts()]
    folder = captured(tmp_path / "c", [record(ids, model, given)[0] for ids in texts()], given)
    runs = []
    convert("distillkit", str(folder), str(tmp_path / "c.jsonl"))
    for name, teacher in (("c", Recorded(tmp_path / "c.jsonl", VOCABULARY)), ("live", model)):
        store = tl.label(teacher, data, out=tmp_path / f"of {name}", top_k=K, dtype="float32")
        student = make("Llama", seed=2)
        run = tl.distill(store, student, train=data, objective=tl.SoftTargets(1), epochs=1,
                         batch_size=2, engine=tl.Engine(device="cpu", progress=False))  # fmt: skip
        runs.append(run.student.state_dict())
    torch.testing.assert_close(*runs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "other", [{"exact_dtype": "float16"}, {"d": 2 * VOCABULARY + 1}, {"exact_k": 4}]
)
def test_settings_of_other_data_are_refused(other, model, tmp_path):
    folder = captured(tmp_path / "c", [record(each, model, PLAIN)[0] for each in texts()], PLAIN)
    (folder / "compression_config.yaml").write_text(yaml.safe_dump(PLAIN | other))
    with pytest.raises(SystemExit, match="bytes a token by compression_config"):
        converted("distillkit", folder)


def test_compressed_values_are_those_of_hand():
    """Two values as they are, a line 1 + 2t, and steps of ½ in three bits."""
    given = {"d": 5, "k": 4, "exact_k": 2, "exact_dtype": "float16", "polynomial_terms": [0, 1],
             "term_dtype": "float16", "residual_bins": [a_bin("float16", 3, 2)],
             "delta_encoding": False}  # fmt: skip
    # −1.0, −2.0, 1.0, 2.0 and 0.5 in float16, then 000 and 111: −4 and 3 steps.
    row = [0x00, 0xBC, 0x00, 0xC0, 0x00, 0x3C, 0x00, 0x40, 0x00, 0x38, 0b00011100]
    found = EXAMPLE["decompressed"](torch.tensor([row], dtype=torch.uint8), given)
    assert found.tolist() == [[-1.0, -2.0, 1 - 2.0, 3 + 1.5]]


def nemo(ids, model, number, pad=2):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids[:-1] + [0] * pad])).logits[0].double()
    logits = logits - logits.amax(dim=1, keepdim=True)
    values, places = logits.topk(K)
    return {
        "tokens": ids[:-1] + [0] * pad, "labels": ids[1:] + [0] * pad, "index": number,
        "topk_logits": values.tolist(), "topk_token_ids": places.tolist(),
        "log_sum_exp_logits": logits.logsumexp(1).tolist(),
    }  # fmt: skip


def test_nemo_aligner_in_any_order_and_of_no_other_texts(model, tmp_path):
    path, data = tmp_path / "topk.jsonl", tmp_path / "texts.jsonl"
    records = [nemo(ids, model, number) for number, ids in enumerate(texts())]
    path.write_text("\n".join(map(json.dumps, records[::-1])))
    data.write_text("\n".join(json.dumps({"input_ids": each}) for each in texts()))
    for each, ids in zip(converted("nemo", path, data), texts(), strict=True):
        assert each.ids.tolist() == answers(ids, model)[1].tolist()[:-1]
        np.testing.assert_allclose(each.values, answers(ids, model)[0][:-1], atol=1e-5)
    with pytest.raises(tl.DataError, match="by its ids, got none"):
        converted("nemo", path, data, data=[[1, 2]])
    data.write_text("\n".join(json.dumps({"input_ids": each}) for each in texts()[::-1]))
    with pytest.raises(SystemExit, match="must be of the text's own tokens"):
        converted("nemo", path, data)
