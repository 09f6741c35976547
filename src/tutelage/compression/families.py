"""Students to try where the user names none: parts of the teacher, networks for tables."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from functools import partial
from itertools import chain

from torch import nn

from tutelage.compression.candidates import parameter_count
from tutelage.data import as_source
from tutelage.errors import ArgumentError, ModelError, TutelageError
from tutelage.exporting import as_exported
from tutelage.layers import Prepared, TextInputs
from tutelage.layers.blocks import blocks
from tutelage.layers.wrapper import unwrapped
from tutelage.students import keep_layers, prune_channels, prune_vocabulary
from tutelage.students.channels import trainable

_LOG = logging.getLogger("tutelage.compression")

TABLE_WIDTHS = ((256, 256), (128, 128), (64, 64), (32, 32), (16, 16), (16,), ())
"""Of the hidden layers of networks for tables; the last one is linear."""
_SHARES = (3 / 4, 2 / 3, 1 / 2, 1 / 3, 1 / 4, 1 / 6, 1 / 12)  # of the layers
_CHANNELS = (3 / 4, 1 / 2, 3 / 8, 1 / 4, 1 / 8)


def parts(teacher: object, data: object) -> dict[str, Callable[[], nn.Module]]:
    """Return students that are a part of the teacher, by name; the first is the whole of it.

    They have fewer of its repeated blocks, or where it has none, as most convolutional networks,
    fewer channels in each layer. Each begins with the teacher's weights, of which all are trained:
    what is frozen in the teacher says how it was trained itself.

    Args:
        teacher: Any.
        data: Examples, some of which tell whether the smallest student runs.

    Raises:
        ArgumentError: The teacher is not a module of which such students can be made.
        ModelError: The teacher refuses the data, or is none that can be exported.
    """
    reasons = list[str]()
    if isinstance(teacher, nn.Module):
        as_exported(teacher, data, 2)
        for family in (partial(depths, teacher), partial(widths, teacher, data)):
            try:
                found = family()
                as_exported([*found.values()][-1](), data, 2)
                return found
            except TutelageError as error:
                reasons.append(str(error))
    raise ArgumentError(
        "`students` must be given for a teacher of which no smaller ones can be made, got "
        f"{type(teacher).__name__}{''.join(f' ({each})' for each in reasons)}; name some, such as "
        "students={'small': make_small, 'smaller': make_smaller}"
    )


def depths(teacher: nn.Module) -> dict[str, Callable[[], nn.Module]]:
    """Return students with all or some of the teacher's repeated blocks, evenly spaced.

    The first and the last block are kept where there are several, since they take the embeddings
    and give what the head expects.

    >>> [*depths(nn.Sequential(*[nn.Linear(2, 2) for _ in range(6)]))]
    ['6 of 6 layers', '4 of 6 layers', '3 of 6 layers', '2 of 6 layers', '1 of 6 layers']
    """
    number = len(blocks(unwrapped(teacher)))
    counts = {number, *(max(1, round(share * number)) for share in _SHARES)}
    return {
        f"{count} of {number} layers": partial(_with_layers, teacher, spread(number, count))
        for count in sorted(counts, reverse=True)
    }


def widths(teacher: nn.Module, data: object) -> dict[str, Callable[[], nn.Module]]:
    """Return students with all or a share of the teacher's channels, see `prune_channels`."""
    inputs = next(iter(as_source("data", data, 2).epoch(0))).inputs
    found = {"all channels": lambda: trainable(copy.deepcopy(teacher))} | {
        f"{100 * share:.3g} % of channels": partial(_with_channels, teacher, inputs, share)
        for share in _CHANNELS
    }
    if parameter_count([*found.values()][-1]()) == parameter_count(teacher):
        raise ModelError("no layer of the teacher can have fewer channels")
    return found


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


def _with_layers(teacher: nn.Module, kept: list[int]) -> nn.Module:
    return trainable(keep_layers(teacher, kept).student)


def _with_channels(teacher: nn.Module, inputs: object, share: float) -> nn.Module:
    return trainable(prune_channels(copy.deepcopy(teacher).cpu(), inputs, share))
