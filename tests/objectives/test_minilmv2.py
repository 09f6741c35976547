import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from objective_samples import TOKENS, Formula, LayerSample
from tutelage.errors import ModelError
from tutelage.objectives import MiniLMv2, minilmv2

PARTS = {1: ("key",), 2: ("query", "value")}
SAMPLES = [
    Formula(lambda s, t, mask=None: minilmv2(s, t, 2, mask), (TOKENS,)),
    LayerSample(
        lambda pairs=1: MiniLMv2({"attention": "attention"}, 2, *[PARTS[pairs]] * 2),
        lambda _, s, t, mask: minilmv2(s, t, 2, mask),
        "MiniLMv2({'attention.key': 'attention.key'}, relation_heads=2)",
    ),
]

GRID = st.integers(-8, 8).map(lambda k: k / 4)
HEADS = st.integers(1, 3)


def texts(width, tokens=3):
    return arrays(np.float64, (2, tokens, width), elements=GRID)


def reference(student, teacher, heads, lengths=None):
    """Head by head and token by token; each text as long as `lengths` says."""
    values = []
    for number, (ours, theirs) in enumerate(zip(student, teacher, strict=True)):
        length = len(ours) if lengths is None else lengths[number]
        divergences = []
        for head in range(heads):
            log_q, log_p = (log_relations(side[:length], heads, head) for side in (ours, theirs))
            for q, p in zip(log_q, log_p, strict=True):
                divergences.append((np.exp(p) * (p - q)).sum())
        values.append(np.mean(divergences))
    return np.array(values)


def log_relations(vectors, heads, head):
    width = vectors.shape[1] // heads
    part = vectors[:, head * width : (head + 1) * width]
    scores = [[sum(a * b) / np.sqrt(width) for b in part] for a in part]
    return log_softmax(np.array(scores), axis=1)


def test_value_by_hand():
    # Scores 4/√2 on the diagonal, 0 beside it, against ½ and ½.
    teacher = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]]).double()
    p = 1 / (1 + np.exp(-4 / np.sqrt(2)))
    expected = np.log(2) + p * np.log(p) + (1 - p) * np.log(1 - p)
    values = minilmv2(torch.ones(1, 2, 1).double(), teacher, relation_heads=1)
    assert values.tolist() == pytest.approx([expected])


@given(HEADS, texts(6), texts(12))
def test_equals_plain_loops_for_any_two_widths(heads, student, teacher):
    ours = minilmv2(*map(torch.from_numpy, (student, teacher)), heads)
    expected = reference(student, teacher, heads)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


@given(texts(6, tokens=4), texts(4, tokens=4), st.tuples(*[st.integers(1, 4)] * 2))
def test_equals_plain_loops_over_the_tokens_that_are_no_padding(student, teacher, lengths):
    mask = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    ours = minilmv2(*map(torch.from_numpy, (student, teacher)), 2, mask)
    expected = reference(student, teacher, 2, lengths)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-9, atol=1e-12)


def test_relations_are_the_attention_of_a_token_to_others_by_its_own_kind_of_vector():
    """The same as torch's attention weights, for queries that are keys too."""
    student, teacher = torch.randn(2, 2, 5, 8, dtype=torch.float64)
    weights = []
    for side in (student, teacher):
        heads = side.view(2, 5, 4, 2).transpose(1, 2)
        pick = torch.eye(5, dtype=torch.float64).expand(2, 4, 5, 5)
        weights.append(torch.nn.functional.scaled_dot_product_attention(heads, heads, pick))
    expected = (weights[1] * (weights[1] / weights[0]).log()).sum(dim=3).mean(dim=(1, 2))
    torch.testing.assert_close(minilmv2(student, teacher, 4), expected)


@given(texts(6), texts(6), st.permutations(range(3)))
def test_ignores_the_order_of_the_tokens(student, teacher, order):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    torch.testing.assert_close(
        minilmv2(student[:, order], teacher[:, order], 2),
        minilmv2(student, teacher, 2),
    )


@given(texts(6), texts(6))
def test_ignores_a_rotation_within_each_head(student, teacher):
    student, teacher = torch.from_numpy(student), torch.from_numpy(teacher)
    turns = torch.linalg.qr(torch.randn(2, 3, 3, dtype=torch.float64))[0]
    turned = student @ torch.block_diag(*turns)
    torch.testing.assert_close(minilmv2(turned, teacher, 2), minilmv2(student, teacher, 2))


@given(HEADS, texts(6), texts(12))
def test_is_zero_or_more(heads, student, teacher):
    values = minilmv2(*map(torch.from_numpy, (student, teacher)), heads)
    assert values.min() >= -1e-12


def test_the_number_of_heads_matters():
    student, teacher = torch.randn(2, 2, 5, 12)
    values = [minilmv2(student, teacher, heads) for heads in (1, 2, 12)]
    assert not torch.allclose(values[0], values[1])
    assert not torch.allclose(values[1], values[2])


@pytest.mark.parametrize(
    ("student", "teacher"), [((2, 3), (2, 3)), ((2, 3, 4), (2, 5, 4)), ((2, 3, 4), (1, 3, 4))]
)
def test_other_tokens_are_refused(student, teacher):
    with pytest.raises(ModelError, match=r"\[batch, tokens, d\] of the same tokens, got \[2, 3.*"):
        minilmv2(torch.zeros(student), torch.zeros(teacher), 1)
