"""Students to try where the user names none: parts of the teacher, networks for tables."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from itertools import chain

from torch import nn

from tutelage.data import as_source
from tutelage.errors import ArgumentError, TutelageError
from tutelage.layers import Prepared, TextInputs
from tutelage.layers.blocks import blocks
from tutelage.layers.wrapper import unwrapped
from tutelage.students import keep_layers, prune_vocabulary

_LOG = logging.getLogger("tutelage.compression")

TABLE_WIDTHS = ((256, 256), (128, 128), (64, 64), (32, 32), (16, 16), (16,), ())
"""Of the hidden layers of networks for tables; the last one is linear."""
_SHARES = (3 / 4, 2 / 3, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 12)


def depths(teacher: object) -> dict[str, Callable[[], nn.Module]]:
    """Return students with all or some of the teacher's repeated blocks, evenly spaced, by name.

    Each begins with the teacher's weights. The first and the last block are kept where there are
    several, since they take the embeddings and give what the head expects.

    Raises:
        ArgumentError: The teacher is not a module whose blocks can be found.

    >>> [*depths(nn.Sequential(*[nn.Linear(2, 2) for _ in range(6)]))]
    ['6 of 6 layers', '4 of 6 layers', '3 of 6 layers', '2 of 6 layers', '1 of 6 layers']
    """
    advice = "name students, such as students={'small': make_small, 'smaller': make_smaller}"
    if not isinstance(teacher, nn.Module):
        raise ArgumentError(
            "`students` must be given for a teacher that is not a PyTorch module, got none; "
            f"{advice}"
        )
    try:
        number = len(blocks(unwrapped(teacher)))
    except TutelageError as error:
        raise ArgumentError(
            f"`students` must be given where a teacher's layers cannot be chosen from ({error}); "
            f"{advice}"
        ) from error
    counts = {number, *(max(1, round(share * number)) for share in _SHARES)}
    return {
        f"{count} of {number} layers": partial(_kept, teacher, spread(number, count))
        for count in sorted(counts, reverse=True)
    }


def with_fewer_tokens(teacher: object, train: object) -> Prepared | None:
    """Return a classifier of texts without the tokens that do not occur in its training data.

    None of other models, of a stream, and where the tokens cannot be left out.
    """
    if not isinstance(teacher, Prepared) or not isinstance(teacher.prepare, TextInputs):
        return None
    given, source = teacher.prepare, as_source("train", train, 256)
    if source.batches_per_epoch() is None:  # it may have no end, or be read but once
        return None
    texts = chain.from_iterable(each.inputs for each in source.epoch(0))
    try:
        found = prune_vocabulary(teacher.wrapped, given.tokenizer, texts)
    except TutelageError as error:
        _LOG.info("The vocabulary is not pruned: %s", error)
        return None
    prepare = TextInputs(found.tokenizer, given.max_length, given.words)
    return Prepared(found.model, prepare, teacher.class_names)


def spread(number: int, count: int) -> list[int]:
    """Return the places of `count` of so many blocks, evenly spaced from the first to the last.

    >>> spread(12, 6), spread(12, 1)
    ([0, 2, 4, 7, 9, 11], [0])
    """
    return [round(at * (number - 1) / max(1, count - 1)) for at in range(count)]


def _kept(teacher: nn.Module, kept: list[int]) -> nn.Module:
    return keep_layers(teacher, kept).student
