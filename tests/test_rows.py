"""Outputs with several answers an example: tokens, pixels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import tutelage as tl
from tutelage.errors import DataError, ModelError
from tutelage.layers import Output
from tutelage.positions import flatten_rows, labels_by_row
from tutelage.rows import Rows
from tutelage.signals import Batch, Signals

CLASSES = 4
CLASS_OBJECTIVES = [
    tl.HardLabels(),
    tl.HardLabels(smoothing=0.1),
    tl.SoftTargets(3),
    tl.LogitRegression(),
    tl.DKD(),
    tl.NKD(),
    tl.WTTM(),
    tl.DIST(),
]


class Same(nn.Module):
    """A model whose output is its input, with a parameter to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def masks(shape: tuple[int, ...]) -> st.SearchStrategy[Tensor]:
    """Masks of a shape, of bool."""
    count = int(torch.Size(shape).numel())
    return st.lists(st.booleans(), min_size=count, max_size=count).map(
        lambda flat: torch.tensor(flat).reshape(shape)
    )


@given(masks((3, 2, 4)))
def test_padded_is_the_inverse_of_of(mask: Tensor) -> None:
    rows = Rows(mask, bool(mask.all()))
    values = torch.arange(24.0).reshape(3, 2, 4) + 1
    assert torch.equal(rows.padded(rows.of(values)), values.where(mask, 0))
    assert len(rows) == int(mask.sum()) == len(rows.examples)
    assert torch.equal(rows.examples.bincount(minlength=3), rows.counts)


@given(masks((3, 5)), masks((3, 5)))
def test_the_mean_of_an_example_is_over_its_valid_rows(mask: Tensor, valid: Tensor) -> None:
    rows = Rows(mask, bool(mask.all()))
    values = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    found = rows.mean(rows.of(values), rows.of(valid))
    for number in range(3):
        own = values[number][mask[number] & valid[number]]
        expected = own.mean() if len(own) else torch.zeros((), dtype=torch.float64)
        assert torch.allclose(found[number], expected)
    found.sum().backward()
    assert values.grad is not None
    assert bool(values.grad.isfinite().all())
    assert not bool(values.grad[~(mask & valid)].any())


@given(masks((4, 3)), st.lists(st.integers(0, 3), max_size=6))
def test_selected_rows_are_those_of_the_examples(mask: Tensor, examples: list[int]) -> None:
    rows = Rows(mask)
    owners = rows.examples[rows.selected(examples)].tolist()
    assert owners == [each for each in examples for _ in range(int(mask[each].sum()))]


class Fixed(nn.Module):
    """A teacher with the same outputs for any input."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        del x
        return self.values


def plain(objective: tl.Objective, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """Return an objective's values on rows that are examples of their own."""
    batch = Batch(student, labels)
    return objective(Signals(student), Signals(teacher), batch)


@pytest.mark.parametrize("objective", CLASS_OBJECTIVES, ids=repr)
@pytest.mark.parametrize("form", ["tokens", "pixels"])
def test_a_loss_of_rows_is_that_of_as_many_examples(objective: tl.Objective, form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (3, 6) if form == "tokens" else (3, 2, 3)
    student, teacher = torch.randn(2, *shape, CLASSES, generator=generator)
    labels = torch.randint(0, CLASSES, shape, generator=generator)
    labels[0, 0] = -100
    mask = labels != -100

    def of_model(logits: Tensor) -> Tensor:
        return logits if form == "tokens" else logits.movedim(-1, 1)

    values = plain(objective, student[mask], teacher[mask], labels[mask])
    examples = mask.flatten(1).nonzero()[:, 0]
    expected = torch.stack([values[examples == each].mean() for each in range(3)]).mean()
    distiller = tl.Distiller(Same(), Fixed(of_model(teacher)), objective)
    losses = distiller(Batch(of_model(student), labels))
    assert torch.allclose(losses.total, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_few_bits_are_compared_in_float32(dtype: torch.dtype) -> None:
    student, teacher = torch.randn(2, 2, 7, CLASSES).to(dtype)
    objective = tl.SoftTargets(2)
    found = tl.Distiller(Same(), Fixed(teacher), objective)(Batch(student)).total
    flat = plain(objective, student.flatten(0, 1).float(), teacher.flatten(0, 1).float(), student)
    assert torch.allclose(found, flat.mean(), rtol=1e-3)


def outputs_of(shape: tuple[int, ...], **parts: Any) -> tuple[Tensor, Rows | None]:
    """Return the rows of random outputs."""
    torch.manual_seed(0)
    output = torch.randn(shape)
    batch = Batch(parts.pop("inputs", torch.zeros(shape[0], 1)), **parts)
    found = flatten_rows(Signals(output), batch, "student")
    return found.logits, found.rows


def ids(*shape: int) -> Tensor:
    """Return class ids."""
    return torch.zeros(shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("shape", "labels", "expected"),
    [
        ((2, 5, 3), ids(2, 5), (10, 3)),  # tokens
        ((2, 3, 5), ids(2, 5), (10, 3)),  # classes second, as torch's cross_entropy takes them
        ((2, 3, 3), ids(2, 3), (6, 3)),  # both fit: last
        ((2, 5, 3), None, (10, 3)),
        ((2, 3, 4, 6), ids(2, 4, 6), (48, 3)),
        ((2, 4, 6, 3), ids(2, 4, 6), (48, 3)),  # classes last
        ((2, 3, 4, 6), None, (48, 3)),
        ((2, 3, 4, 6), ids(2, 8, 12), (192, 3)),  # resized
        ((2, 3, 2, 4, 6), ids(2, 2, 4, 6), (96, 3)),  # volumes
        ((2, 1, 4, 6), torch.zeros(2, 4, 6), (48, 1)),  # depth
        ((2, 3, 4, 6), torch.zeros(2, 3, 4, 6), (48, 3)),  # values
        ((2, 5, 3), ids(2), (10, 3)),  # labels of whole examples
    ],
)
def test_where_the_classes_are(
    shape: tuple[int, ...], labels: Tensor | None, expected: tuple[int, int]
) -> None:
    assert outputs_of(shape, labels=labels)[0].shape == expected


def test_rows_keep_the_order_of_positions() -> None:
    output = torch.arange(24.0).reshape(1, 2, 3, 4)  # classes second
    found = flatten_rows(Signals(output), Batch(output, ids(1, 3, 4)), "student").logits
    assert torch.equal(found, output[0].flatten(1).T)


def test_a_map_is_resized_bilinearly_to_the_labels() -> None:
    output = torch.randn(2, 3, 4, 6)
    found = flatten_rows(Signals(output), Batch(output, ids(2, 8, 12)), "student").logits
    expected = F.interpolate(output, (8, 12), mode="bilinear", align_corners=False)
    assert torch.equal(found, expected.movedim(1, -1).flatten(0, 2))


def test_one_answer_an_example_has_no_rows() -> None:
    output, rows = outputs_of((4, 3), labels=ids(4))
    assert output.shape == (4, 3)
    assert rows is None


def test_padding_and_void_are_no_rows() -> None:
    labels = torch.tensor([[1, -100, 2, -100], [-100, -100, -100, -100]])
    padding = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    inputs = {"input_ids": ids(2, 4), "attention_mask": padding}
    _, rows = outputs_of((2, 4, 3), labels=labels, inputs=inputs)
    assert rows is not None
    # The second text has no label at all: its teacher teaches all its tokens.
    assert rows.mask.tolist() == [[True, False, True, False], [True, True, False, False]]


def test_a_row_mask_decides_alone() -> None:
    labels = torch.tensor([[1, -100, 2, -100]])
    mask = torch.tensor([[True, True, False, False]])
    objective = tl.HardLabels() + tl.SoftTargets(1)
    student, teacher = torch.randn(2, 1, 4, 3)
    batch = Batch(student, labels, row_mask=mask)
    losses = tl.Distiller(Same(), Fixed(teacher), objective)(batch)
    log_q = student.log_softmax(-1)[0]
    assert torch.allclose(losses.parts["hard_labels"], -log_q[0, 1])
    log_p = teacher.log_softmax(-1)[0]
    kl = (log_p.exp() * (log_p - log_q)).sum(-1)
    assert torch.allclose(losses.parts["soft_targets"], kl[:2].mean(), atol=1e-6)


def test_a_decoder_is_not_masked_by_its_encoders_padding() -> None:
    inputs = {
        "input_ids": ids(1, 4),
        "attention_mask": torch.tensor([[1, 1, 0, 0]]),
        "decoder_input_ids": ids(1, 4),
    }
    _, rows = outputs_of((1, 4, 3), inputs=inputs)
    assert rows is not None
    assert len(rows) == 4


def test_examples_without_rows_count_for_nothing() -> None:
    student, teacher = torch.randn(2, 3, 4, CLASSES)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[1] = False
    labels = torch.randint(0, CLASSES, (3, 4))
    for objective in (tl.SoftTargets(2), tl.HardLabels()):
        distiller = tl.Distiller(Same(), Fixed(teacher), objective)
        found = distiller(Batch(student, labels, row_mask=mask)).total
        distiller = tl.Distiller(Same(), Fixed(teacher[[0, 2]]), objective)
        expected = distiller(Batch(student[[0, 2]], labels[[0, 2]])).total
        assert torch.allclose(found, expected)


def test_nothing_but_void_trains_nothing_and_says_so() -> None:
    data = [(torch.randn(4, 3), torch.full((4,), -100)) for _ in range(4)]
    with pytest.raises(DataError, match="no example of the whole epoch has one"):
        tl.fit(nn.Linear(3, 3), train=data, objective=tl.HardLabels(), epochs=1)


@pytest.mark.parametrize(
    ("shape", "parts", "message"),
    [
        ((2, 5, 3), {"labels": ids(2, 4)}, r"one output for each of the \[4\] positions"),
        ((2, 4, 6, 3), {"labels": ids(2, 8, 12)}, "of the same aspect"),
        ((2, 5, 3), {"row_mask": torch.ones(2, 4, 4).bool()}, "`row_mask` must have one value"),
    ],
)
def test_outputs_that_fit_no_label_are_refused(
    shape: tuple[int, ...], parts: dict[str, Tensor], message: str
) -> None:
    with pytest.raises((ModelError, DataError), match=message):
        outputs_of(shape, **parts)


def test_sides_with_answers_for_other_positions_are_refused() -> None:
    objective = tl.SoftTargets()
    for teacher in (torch.randn(2, 5), torch.randn(2, 6, 5)):
        distiller = tl.Distiller(Same(), Fixed(teacher), objective)
        with pytest.raises(ModelError, match="for the same positions"):
            distiller(Batch(torch.randn(2, 4, 5)))


def test_class_ids_of_rows_out_of_range_are_refused() -> None:
    with pytest.raises(DataError, match="labels must lie from 0 to 2"):
        tl.Distiller(Same(), None, tl.HardLabels())(Batch(torch.randn(2, 4, 3), ids(2, 4) + 3))


def test_labels_of_examples_do_not_serve_rows() -> None:
    with pytest.raises(DataError, match="class ids of shape"):
        tl.Distiller(Same(), None, tl.HardLabels())(Batch(torch.randn(2, 4, 3), ids(2)))


def test_mixed_labels_of_rows() -> None:
    student = torch.randn(2, 4, 3)
    own, partner = torch.randint(0, 3, (2, 2, 4))
    fraction = torch.tensor([0.25, 1.0])
    batch = Batch(student, own, mixture=tl.signals.Mixture(partner, fraction))
    found = tl.Distiller(Same(), None, tl.HardLabels())(batch).total
    log_q = student.log_softmax(-1)
    picked = [-log_q.gather(-1, each[..., None])[..., 0] for each in (own, partner)]
    expected = fraction[:, None] * picked[0] + (1 - fraction[:, None]) * picked[1]
    assert torch.allclose(found, expected.mean())


def test_an_output_can_be_turned_where_labels_do_not_tell() -> None:
    turned = Output(Same(), lambda output: output.transpose(1, 2))
    teacher = torch.randn(2, 5, 3)
    distiller = tl.Distiller(turned, Fixed(teacher), tl.SoftTargets(1))
    losses = distiller(Batch(teacher.transpose(1, 2)))
    assert abs(losses.total.item()) < 1e-6


@pytest.mark.parametrize("channels", [-1, 1])
def test_values_of_void_positions_alone_are_no_label(channels: int) -> None:
    output = torch.randn(2, 3, 4, 2)
    labels = torch.zeros(2, 3, 4, 2)
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    mask[0] = False
    expected = output[1].square().mean()
    batch = Batch(output.movedim(-1, channels), labels.movedim(-1, channels), row_mask=mask)
    assert batch.labelled().tolist() == [False, True]
    losses = tl.Distiller(Same(), None, tl.LabelRegression())(batch)
    torch.testing.assert_close(losses.total, expected)


def test_labels_by_row_leaves_one_answer_alone() -> None:
    batch = Batch(torch.zeros(2, 3), ids(2))
    assert labels_by_row(batch, None) is batch


def test_an_output_of_other_positions_than_the_tokens_is_taken_as_it_is() -> None:
    """Such as one vector for each of four questions about a text."""
    inputs = {"input_ids": ids(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}
    output, rows = outputs_of((2, 4, 3), inputs=inputs, labels=ids(2))
    assert output.shape == (8, 3)
    assert rows is not None
    assert rows.complete


def test_a_mask_of_another_size_than_the_labels_is_refused() -> None:
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    with pytest.raises(DataError, match="must be of the same positions"):
        outputs_of((2, 3, 8, 8), labels=ids(2, 8, 8), row_mask=mask)
