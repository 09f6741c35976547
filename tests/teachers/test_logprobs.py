"""Records of log-probabilities that are incomplete, padded or no probabilities."""

import json

import pytest
import torch

import tutelage as tl
from tutelage.teachers import Recorded
from tutelage.teachers._logprobs import TokenLogprobs


def columns(ids, values):
    return {"target_token_ids": ids, "target_logprobs": values}


@pytest.mark.parametrize(
    ("ids", "values"),
    [([3, 5], [float("nan"), -1.0]), ([3, -1], [-0.1, -5.0]), ([3, -7], [-0.1, -5.0])],
    ids=["nan", "an id that pads", "a negative id"],
)
def test_what_is_no_probability_of_a_token_is_refused(ids, values):
    """NaN is no probability of 0, and −1 no token."""
    record = columns([[4], ids], [[-0.5], values])
    with pytest.raises(tl.DataError, match=r"must be of ids from 0 on, .* for token 2"):
        TokenLogprobs.of(record, [1, 2, 3])


def test_a_row_padded_by_a_known_id_keeps_its_probability():
    found = TokenLogprobs.of(columns([[0, 2, 0, 0]], [[-0.1, -3.0, -1e9, -torch.inf]]), [1, 2])
    assert found.ids.tolist() == [[0, 2, -1, -1]]
    assert found.values.tolist() == [[-0.1, -3.0, -torch.inf, -torch.inf]]


@pytest.mark.parametrize(
    "record",
    [
        columns([[1, 2]], [[-0.1]]),
        columns([[1, 2]], [[-0.1, -2.0], [-0.1, -2.0]]),
        columns(None, None),
        {"prompt_logprobs": [None, {"3": {"rank": 1}}]},
        {"input_top_logprobs": [None, [[-0.5]]]},
        {"logprobs": [[{"token": "3"}]]},
        {"input_top_logprobs_val_flat_b64": "?", "input_top_logprobs_shape": [1, 1]},
    ],
)
def test_an_incomplete_record_is_refused(record):
    with pytest.raises(tl.DataError, match="must be complete, in a form that is known"):
        TokenLogprobs.of(record, [1, 2])


def test_the_own_tokens_of_a_completion_stay_with_their_position():
    """The first token may be left out of the most probable ones alone."""
    top = [{"token_id:8": -2.0}, {"token_id:9": -2.0}]
    own = {"tokens": ["token_id:5", "token_id:6", "token_id:7"], "token_logprobs": [None, -1, -0.5]}
    for first in ([], [None]):
        found = TokenLogprobs.of({"logprobs": {"top_logprobs": first + top} | own}, [5, 6, 7])
        assert found.ids.tolist() == [[8, 6], [9, 7]]
        assert found.values.tolist() == [[-2.0, -1.0], [-2.0, -0.5]]


def recorded(path, texts):
    rows = [columns([[1, 2]] * (n - 1), [[-1.0, -2.0]] * (n - 1)) for n in texts]
    path.write_text("\n".join(map(json.dumps, rows)))
    return Recorded(path, vocabulary=9)


def label(teacher, data, out):
    return tl.label(teacher, data, out=out, engine=tl.Engine(progress=False))


def test_a_text_without_tokens_has_no_output(tmp_path):
    mask = torch.tensor([[1, 1, 1], [0, 0, 0], [1, 0, 0]])
    data = [{"input_ids": torch.tensor([1, 2, 3]), "attention_mask": each} for each in mask]
    found = label(recorded(tmp_path / "a.jsonl", [3, 1, 1]), data, tmp_path / "out")
    assert found.answers([0, 1, 2]).tolist() == [2, 0, 0]
    assert found.read("output", [2, 0, 1]).ids.tolist() == [[1, 2], [1, 2]]


@pytest.mark.parametrize("team", ["specialists", "specialist"])
def test_a_team_of_records_can_be_labelled(team, tmp_path):
    """Though none of its members is a module that tells that outputs are about the next token."""
    one, other = (recorded(tmp_path / f"{name}.jsonl", [4] * 4) for name in "ab")
    teacher = {
        "specialists": lambda: tl.teachers.Specialists({"a": one, "b": other}),
        "specialist": lambda: tl.teachers.Specialists({"a": one}, generalist=other),
    }[team]()
    data = [{"input_ids": torch.tensor([1, 2, 3, 4]), "domain": "ab"[n % 2]} for n in range(4)]
    found = label(teacher, data, tmp_path / "out")
    assert found.answers(range(4)).tolist() == [3] * 4


def test_a_record_whose_ids_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"input_ids": "abc"}')
    with pytest.raises(tl.DataError, match="must be a file of records"):
        Recorded(tmp_path / "a.jsonl")
