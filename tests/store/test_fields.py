"""Encoding of outputs as columns, and decoding."""

import pytest
import torch

from store.conftest import dense
from tutelage.errors import NonFiniteError, StoreError
from tutelage.signals import Signals
from tutelage.store import fields


def encode(field, values, first_row):
    return fields.encode(field, Signals(values), first_row)


def every_pattern(dtype):
    return torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_exactly_the_finite_bit_patterns_are_stored(dtype):
    values, field = every_pattern(dtype), dense(dtype=str(dtype)[6:], shape=(3,))
    finite = values[values.isfinite()]
    kept = encode(dense(dtype=field.dtype, shape=()), finite, 0)[0]
    assert len(kept) == len(finite)
    around = torch.tensor([1.0, 0.0, -1.0], dtype=dtype)
    for value in values[~values.isfinite() & (values != -torch.inf)]:
        row = around.clone()
        row[1] = value
        with pytest.raises(NonFiniteError, match="in row 8"):
            encode(field, torch.stack([around, row]), 7)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_class_that_is_ruled_out_is_stored(dtype):
    """−∞, in an output alone, of no row as a whole, and not what the dtype cannot hold."""
    values, name = torch.tensor([[1.0, -torch.inf, -1.0]]), str(dtype)[6:]
    [kept] = encode(dense(dtype=name, shape=(3,)), values.to(dtype), 0)
    assert torch.equal(fields.decode(dense(dtype=name, shape=(3,)), [kept]).float(), values)
    for bad in (torch.full((1, 3), -torch.inf), values.masked_fill(values == 1, torch.nan)):
        with pytest.raises(NonFiniteError, match="in row 4"):
            encode(dense(dtype=name, shape=(3,)), bad.to(dtype), 4)
    feature = dense(dtype=name, shape=(3,)).model_copy(update={"name": "layer"})
    with pytest.raises(NonFiniteError, match="'layer' must be finite, got -inf in row 4"):
        fields.encode(feature, Signals(None, {"layer": values.to(dtype)}), 4)
    if dtype == torch.float16:
        with pytest.raises(StoreError, match="must fit float16, got -1e"):
            encode(dense(dtype=name, shape=(3,)), values.masked_fill(values == 1, -1e6), 4)


@pytest.mark.parametrize("bad", [0x7F800000, 0x7FC00000, 0xFFFFFFFF, 0x7F800001])
def test_in_float32(bad):
    limits = torch.finfo(torch.float32)
    row = torch.tensor([[limits.max, limits.min, -limits.tiny]])
    assert len(encode(dense(shape=(3,)), row, 0)[0]) == 1
    row.view(torch.int32)[0, 2] = bad - 2**32 if bad >= 2**31 else bad
    with pytest.raises(NonFiniteError, match="in row 0"):
        encode(dense(shape=(3,)), row, 0)
