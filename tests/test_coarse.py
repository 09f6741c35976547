"""Logits of some of the classes: `CoarseLogits`."""

import pytest
import torch

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.signals import Signals

X, Y = torch.arange(12.0).reshape(4, 3), torch.tensor([0, 1, 2, 3])


class TestCoarse:
    KNOWN = CoarseLogits(
        torch.tensor([[4, 1], [2, -1]]),
        torch.tensor([[1.0, 2.0], [3.0, -torch.inf]]),
        torch.tensor([0.5, -torch.inf]),
    )

    def test_a_dense_output_has_all_classes_and_an_empty_other_class(self):
        known = CoarseLogits.of(X)
        assert known.ids.tolist() == [[0, 1, 2]] * 4
        assert torch.equal(known.logits, X)
        assert known.other.tolist() == [-torch.inf] * 4

    def test_rows_may_be_taken(self):
        assert len(self.KNOWN) == 2
        assert self.KNOWN[1:].ids.tolist() == [[2, -1]]
        swapped = self.KNOWN[torch.tensor([1, 0])]
        assert swapped.ids.tolist() == [[2, -1], [4, 1]]
        assert swapped.other.tolist() == [-torch.inf, 0.5]

    def test_rows_of_several_are_joined_and_padded(self):
        joined = CoarseLogits.joined([self.KNOWN, CoarseLogits.of(X[:1])])
        assert joined.ids.tolist() == [[4, 1, -1], [2, -1, -1], [0, 1, 2]]
        assert joined.logits[0].tolist() == [1.0, 2.0, -torch.inf]
        assert joined.logits[2].tolist() == [0.0, 1.0, 2.0]
        assert joined.other.tolist() == [0.5, -torch.inf, -torch.inf]

    def test_moves_to_a_device_directly_and_in_signals(self):
        meta = torch.device("meta")
        moved = Signals(self.KNOWN, {"a": X}).to(meta)
        assert moved.features["a"].device == meta
        for known in (self.KNOWN.to(meta), moved.output):
            assert {known.ids.device, known.logits.device, known.other.device} == {meta}
        assert Signals(X).to(meta).output.device == meta
        assert Signals().to(meta).output is None

    def test_stays_as_it_is_where_it_is(self):
        assert Signals(X).to(X.device).output is X

    def test_an_output_of_some_classes_is_no_output_of_all(self):
        signals = Signals(self.KNOWN)
        assert signals.targets is self.KNOWN
        assert signals.dense_or_none is None
        with pytest.raises(ModelError, match=r"needs all classes of the teacher, .*SoftTargets"):
            _ = signals.logits
        assert Signals(X).targets is Signals(X).dense_or_none is X

    @pytest.mark.parametrize(
        "parts",
        [
            (Y, Y.float(), Y.float()),
            (Y[:, None], X, Y.float()),
            (Y[:, None], X[:, :1], X[:, :1]),
            (X[:, :1], X[:, :1], X[:, 0]),
        ],
    )
    def test_shapes_that_do_not_go_together_are_refused(self, parts):
        with pytest.raises(ModelError, match=r"must be ids \[batch, k\] of int64, .*bring them"):
            CoarseLogits(*parts)
