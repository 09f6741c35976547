"""What decides whether a language model's output layer is left to the losses."""

import logging

import torch

import tutelage as tl
from language_models import make, padded, texts
from tutelage.heads import HeadLogits
from tutelage.layers import observe


def test_a_first_batch_of_nan_decides_nothing(caplog):
    """As where its first text is empty, which attention gives no value."""
    student = make("Llama")
    inputs, seen = padded(texts()), []
    inputs.pop("labels")

    def first_is_nan(_, __, result):
        if not seen:
            result.last_hidden_state[0] = torch.nan

    handle = student.model.register_forward_hook(first_is_nan)
    wanted = tl.Fields(output=True, head_from=0)
    with caplog.at_level(logging.WARNING, "tutelage"):
        assert isinstance(observe(student, inputs, wanted, "student").output, torch.Tensor)
        seen.append(True)
        assert isinstance(observe(student, inputs, wanted, "student").output, HeadLogits)
    handle.remove()
    assert not caplog.records
