"""One answer for each word, of models that tokenize differently."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import tutelage as tl
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import ByWord
from tutelage.layers.output import Pool, of_words
from tutelage.signals import Batch


class Tagger(nn.Module):
    """A token classifier."""

    def __init__(self, seed: int = 0, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table = nn.Embedding(20, classes)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.table(input_ids)}


@given(st.data(), st.sampled_from(["first", "mean"]))
def test_the_output_of_a_word_is_that_of_its_tokens(data: st.DataObject, pool: Pool) -> None:
    words = torch.tensor(
        data.draw(st.lists(st.lists(st.integers(-2, 3), min_size=5, max_size=5), min_size=1))
    )
    tokens = torch.randn(*words.shape, 2, dtype=torch.float64)
    found = of_words(tokens, words, pool)
    assert found.shape == (len(words), max(int(words.max()) + 1, 0), 2)
    for number, row in enumerate(words.tolist()):
        for word in range(found.shape[1]):
            own = tokens[number][[each == word for each in row]]
            if not len(own):
                assert found[number, word].isnan().all()
                continue
            expected = own[0] if pool == "first" else own.mean(0)
            assert torch.allclose(found[number, word], expected)


@pytest.mark.parametrize("pool", ["first", "mean"])
def test_gradients_reach_tokens_of_words_only(pool: Pool) -> None:
    words = torch.tensor([[-1, 0, 0, 2], [1, 1, -1, -1]])
    tokens = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    found = of_words(tokens, words, pool)
    known = ~found.isnan().any(-1)
    found[known].sum().backward()
    assert tokens.grad is not None
    assert bool(tokens.grad.isfinite().all())
    reached = tokens.grad.abs().sum(-1) > 0
    expected = words >= 0
    if pool == "first":
        expected &= torch.tensor([[True, True, False, True], [True, False, True, True]])
    assert torch.equal(reached, expected)


def two_tokenizers() -> dict[str, Tensor]:
    """Two texts of three and two words, in two tokenizations."""
    return {
        "input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]),
        "words": torch.tensor([[0, 1, 1, 2], [0, 1, -1, -1]]),
        "teacher_ids": torch.tensor([[7, 8, 9, 10, 11, 12], [7, 13, 14, 15, 12, 0]]),
        "teacher_words": torch.tensor([[-1, 0, 0, 1, 2, -1], [-1, 0, 0, 1, -1, -1]]),
        "labels": torch.tensor([[0, 1, 2], [1, 0, -100]]),
    }


def test_a_student_learns_from_a_teacher_of_another_tokenizer() -> None:
    ours, theirs = Tagger(0), Tagger(1)
    student = ByWord(ours, "words", inputs={"input_ids": "input_ids"})
    teacher = ByWord(theirs, "teacher_words", inputs={"input_ids": "teacher_ids"})
    raw = two_tokenizers()
    losses = tl.Distiller(student, teacher, tl.SoftTargets(2))(Batch.of(raw))
    first = [[1, 2, 4], [5, 6]], [[8, 10, 11], [13, 15]]
    expected = [
        tl.objectives.soft_targets(ours.table.weight[mine], theirs.table.weight[other], 2).mean()
        for mine, other in zip(*first, strict=True)
    ]
    assert torch.allclose(losses.total, torch.stack(expected).mean())
    assert list(student.state_dict()) == ["table.weight"]


def test_a_word_that_was_cut_off_is_not_learnt_in_silence() -> None:
    raw = two_tokenizers() | {"labels": torch.tensor([[0, 1, 2], [1, 0, 2]])}
    student = ByWord(Tagger(0), "words", inputs={"input_ids": "input_ids"})
    losses = tl.Distiller(student, None, tl.HardLabels())(Batch.of(raw))
    assert bool(losses.total.isnan())


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ArgumentError, match="must be 'first' or 'mean'"):
        ByWord(Tagger(), "w", "last")  # type: ignore[arg-type]


def test_words_that_are_not_those_of_the_tokens_are_refused() -> None:
    student = ByWord(Tagger(), "words")
    ids = torch.zeros(2, 4, dtype=torch.int64)
    with pytest.raises(ModelError, match="the word of each"):
        student(input_ids=ids, words=ids[:, :3])


def test_the_words_may_be_an_argument_of_the_model_too() -> None:
    class Counting(Tagger):
        def forward(self, input_ids: Tensor, words: Tensor) -> dict[str, Tensor]:
            return {"logits": self.table(input_ids) * (words >= 0).unsqueeze(2)}

    ids, words = torch.tensor([[1, 2, 3]]), torch.tensor([[-1, 0, 1]])
    names = {"input_ids": "ids", "words": "words"}
    model = ByWord(Counting(), "words", inputs=names)
    assert torch.equal(model(ids=ids, words=words)[0], model.wrapped.table(ids)[0, 1:])
