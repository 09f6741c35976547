"""Pseudo-values of metrics of counts: the jackknife."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import DataError, NonFiniteError
from tutelage.evaluation import CountedMetric, EntityF1, MeanIoU, jackknife, mean_interval
from tutelage.rows import Rows

CONFUSION = torch.tensor(
    [
        [[9, 1, 0], [2, 5, 0], [0, 0, 0]],
        [[3, 0, 0], [0, 7, 1], [0, 2, 4]],
        [[8, 2, 0], [1, 6, 0], [0, 0, 0]],
        [[5, 0, 1], [0, 4, 0], [1, 0, 6]],
    ]
)
TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@st.composite
def tables(draw):
    """Logits and labels of examples with different numbers of rows, the last without labels."""
    counts = draw(st.lists(st.integers(1, 6), min_size=2, max_size=6))
    seed = draw(st.integers(0, 2**31))
    generator = torch.Generator().manual_seed(seed)
    size = sum(counts)
    logits = torch.randn(size, len(TAGS), generator=generator)
    labels = torch.randint(len(TAGS), (size,), generator=generator)
    labels[torch.rand(size, generator=generator) < 0.2] = -100
    labels[0] = 1
    return logits, labels, Rows.counted(torch.tensor(counts))


@pytest.mark.parametrize("metric", [MeanIoU(), EntityF1(TAGS), EntityF1(TAGS, strict=True)])
class TestCounts:
    @given(tables())
    def test_of_all_and_of_some_examples_give_the_metric_itself(self, metric, table):
        logits, labels, rows = table
        counts = metric.counts(logits, labels, rows)
        assert isinstance(metric, CountedMetric)
        assert len(counts) == len(rows.counts)
        for examples in (range(len(counts)), range(len(counts) - 1)):
            places = rows.selected(examples)
            if not bool((labels[places] != -100).any()):
                continue
            some = logits[places], labels[places], rows[torch.tensor(examples)]
            of_rows = getattr(metric, "of_rows", lambda a, b, _: metric(a, b))
            own = counts[list(examples)].sum(dim=0)
            assert metric.of_counts(own).item() == pytest.approx(of_rows(*some))
            values = metric.by_class_of_counts(own).items()
            known = {name: each.item() for name, each in values if not each.isnan()}
            assert known == pytest.approx(metric.by_class(*some))

    def test_each_row_is_an_example_without_rows(self, metric):
        logits, labels = torch.eye(len(TAGS)), torch.tensor([0, 1, 1, 3, 4])
        counts = metric.counts(logits, labels, None)
        alone = metric.counts(logits, labels, Rows.counted(torch.ones(5, dtype=torch.int64)))
        assert counts.tolist() == alone.tolist()

    def test_dimensions_before_the_counts_are_kept(self, metric):
        logits = torch.randn(6, len(TAGS), generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1, 2, 3, 4, 0])
        counts = metric.counts(logits, labels, None)
        assert metric.of_counts(counts).shape == (6,)
        assert metric.of_counts(counts[None]).shape == (1, 6)


class TestJackknife:
    def test_is_the_definition(self):
        """Shifted so that the mean is the metric of all."""
        mean = MeanIoU().of_counts
        whole = mean(CONFUSION.sum(dim=0)).item()
        others = [mean(CONFUSION[[k for k in range(4) if k != left]].sum(0)) for left in range(4)]
        values = [4 * whole - 3 * each.item() for each in others]
        expected = [each - sum(values) / 4 + whole for each in values]
        assert jackknife(CONFUSION, MeanIoU()).tolist() == pytest.approx(expected)

    def test_equal_examples_have_equal_values(self):
        confusion = CONFUSION[:1].expand(5, 3, 3)
        expected = MeanIoU().of_counts(CONFUSION[0]).expand(5)
        torch.testing.assert_close(jackknife(confusion, MeanIoU()), expected)

    def test_an_interval_over_images_covers_the_true_value(self):
        """Of images drawn at random: about 95 % of the intervals."""
        generator = torch.Generator().manual_seed(0)

        def drawn(number):
            chances = torch.tensor([0.5, 0.08, 0.1, 0.32])  # TN, FN, FP, TP
            rows = chances.expand(number, 4).multinomial(60, replacement=True, generator=generator)
            return torch.nn.functional.one_hot(rows, 4).sum(dim=1).view(number, 2, 2)

        truth = MeanIoU().of_counts(drawn(200_000).sum(dim=0)).item()
        values = [jackknife(drawn(25), MeanIoU()).tolist() for _ in range(400)]
        covered = sum(each.low <= truth <= each.high for each in map(mean_interval, values)) / 400
        assert 0.92 <= covered <= 0.98

    def test_an_interval_over_texts_covers_the_true_value(self):
        """Of texts with few entities, drawn at random: about 95 % of the intervals."""
        generator, metric = torch.Generator().manual_seed(0), EntityF1(TAGS)

        def drawn(number):
            true = torch.rand(number, 2, generator=generator) < 0.3
            both = true & (torch.rand(number, 2, generator=generator) < 0.6)
            wrong = torch.rand(number, 2, generator=generator) < 0.1
            return torch.stack([both.long() + wrong.long(), true.long(), both.long()], dim=2)

        truth = metric.of_counts(drawn(200_000).sum(dim=0)).item()
        values = [jackknife(drawn(80), metric).tolist() for _ in range(400)]
        covered = sum(each.low <= truth <= each.high for each in map(mean_interval, values)) / 400
        assert 0.92 <= covered <= 0.98

    def test_a_class_of_one_image_is_left_out_without_it(self):
        confusion = torch.tensor([[[4, 0], [0, 0]], [[2, 0], [1, 1]]])
        whole, first, second = (6 / 7 + 1 / 2) / 2, (2 / 3 + 1 / 2) / 2, 1.0
        shift = (first + second) / 2
        expected = [whole + shift - first, whole + shift - second]
        assert jackknife(confusion, MeanIoU()).tolist() == pytest.approx(expected)

    def test_a_single_example_is_refused(self):
        with pytest.raises(DataError, match="at least two examples"):
            jackknife(CONFUSION[:1], MeanIoU())


def test_nan_is_refused():
    logits = torch.tensor([[torch.nan, 0.0], [0.0, 1.0]])
    with pytest.raises(NonFiniteError, match="got NaN"):
        MeanIoU().counts(logits, torch.tensor([0, 1]), None)
    assert MeanIoU().counts(logits, torch.tensor([-100, 1]), None).sum() == 1
