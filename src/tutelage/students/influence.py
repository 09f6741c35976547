"""Which blocks of a teacher its student keeps: those that do most, by a measure on some data."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tutelage._checks import integer
from tutelage.data import as_source, randomness
from tutelage.errors import ArgumentError, DataError, ModelError, NonFiniteError
from tutelage.evaluation import evaluate
from tutelage.layers import evaluating, observe
from tutelage.layers.blocks import children
from tutelage.layers.language import generates, is_causal, shift_labels_for
from tutelage.nested import describe
from tutelage.objectives import Objective, SoftTargets
from tutelage.positions import rows_of
from tutelage.students.keep_layers import Kept, Model, container_of, keep_layers
from tutelage.teachers import AnyTeacher, as_teacher
from tutelage.wants import Fields

_BATCH = 16
_TOKENS = 3


def block_influence(teacher: nn.Module, data: object, path: str | None = None) -> dict[str, float]:
    """Return 1 − the mean cosine between the input and the output of each block, by layer path.

    The mean is over all tokens that are not padding, `[batch, tokens, d]` (in the decoder of an
    encoder-decoder, over those with a label), or over all pixels of maps, `[batch, channels,
    height, width]`. A block that hardly changes the direction of its input has little influence,
    and a student may do without it.

    Source: Men, Xu, Zhang, Wang, Lin, Lu, Han and Chen 2024, "ShortGPT", arXiv:2403.03853.

    Args:
        teacher: A network of repeated blocks in one container; it runs in eval mode.
        data: Some examples, labelled or not: a data set, or a loader.
        path: The container of the blocks, as for `keep_layers`.

    Raises:
        ArgumentError: Blocks are not found, or are in stages.
        DataError: The data is empty, cannot be read, or is padding alone.
        ModelError: A block changes the shape of its input, or the teacher refuses the data.

    >>> blocks = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(2)])
    >>> for block, weight in zip(blocks, ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [-1.0, 0.0]])):
    ...     block.weight.data = torch.tensor(weight)
    >>> block_influence(blocks, torch.utils.data.TensorDataset(torch.eye(2)))
    {'0': 0.0, '1': 1.0}
    """
    names = children(teacher, container := container_of(teacher, path))
    wanted = frozenset(path for name in names for path in (f"{name}:input", name))
    translates = generates(teacher) and not is_causal(teacher)
    totals, counts = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
    with randomness.preserved(), evaluating(teacher), torch.inference_mode():
        for raw in as_source("data", data, _BATCH).epoch(0):
            batch = raw.to(_device(teacher))
            batch = shift_labels_for(batch, teacher) if translates else batch
            found = observe(teacher, batch.inputs, Fields(features=wanted), "teacher")
            mask = batch.token_mask() if found.tokens is None else found.tokens
            if translates and "decoder" in container.split("."):
                rows = rows_of(batch, _TOKENS)  # tokens of the decoder, not those of `input_ids`
                mask = None if rows is None else rows.mask
            for name in names:
                sides = found.feature(f"{name}:input"), found.feature(name)
                cosines = _cosines(name, *sides, mask)
                totals[name] += cosines.double().sum().item()
                counts[name] += len(cosines)
    if not all(counts.values()):
        raise DataError(
            "`data` must have tokens that are no padding (or, for a decoder, that have a label), "
            "got none; give some texts"
        )
    return {name: 1 - totals[name] / counts[name] for name in names}


def most_influential(
    teacher: Model, data: object, keep: int, path: str | None = None
) -> Kept[Model]:
    """Return the teacher with only its blocks of largest `block_influence`, and the layer map.

    In place of every second block, this can matter more than the objective: see
    `benchmarks/kept_layers.py`.

    Args:
        teacher: As for `keep_layers`.
        data: Some examples, as for `block_influence`; a few hundred texts are enough.
        keep: How many blocks the student has.
        path: The container of the blocks, as for `keep_layers`.

    Raises:
        TutelageError: As for `block_influence` and `keep_layers`; `keep` is out of its range.

    >>> blocks = nn.Sequential(*[nn.Linear(2, 2, bias=False) for _ in range(3)])
    >>> _ = blocks[1].weight.data.copy_(torch.eye(2))
    >>> most_influential(blocks, torch.utils.data.TensorDataset(torch.eye(2)), keep=2).layer_map
    {'0': '0', '1': '2'}
    """
    found = list(block_influence(teacher, data, path).values())
    count = _number(keep, len(found))
    kept = sorted(range(len(found)), key=found.__getitem__, reverse=True)[:count]
    return keep_layers(teacher, sorted(kept), path)


def least_loss(
    teacher: Model,
    data: object,
    keep: int,
    objective: Objective | None = None,
    reference: AnyTeacher | None = None,
    path: str | None = None,
) -> Kept[Model]:
    """Return the teacher without the blocks whose removal costs least, one after another.

    Each time, of all blocks that are left, the one is removed without which the loss on the data is
    smallest. From L blocks to k this takes (L − k)(L + k + 1)/2 evaluations, where
    `most_influential` takes one pass; it sees what the blocks before have already lost. A block
    without which the student does not run is kept.

    Args:
        teacher: As for `keep_layers`.
        data: Some examples, as for `block_influence`.
        keep: How many blocks the student has.
        objective: The loss; None for `SoftTargets(1)`, the divergence from the reference.
        reference: Whose outputs the loss compares with; None for the teacher itself. A store of
            them (`tl.label`) spares half of the time, and with the teacher as the reference a
            student that has lost blocks may lose more.
        path: The container of the blocks, as for `keep_layers`.

    Raises:
        ArgumentError: `keep` is out of its range.
        ModelError: No block can be removed any more.
        TutelageError: As for `keep_layers`, or as the objective raises.
    """
    names = children(teacher, container_of(teacher, path))
    count, loss = _number(keep, len(names)), SoftTargets(1) if objective is None else objective
    whole = as_teacher(teacher if reference is None else reference).for_data("data", data)
    source, left = as_source("data", data, _BATCH), list(range(len(names)))
    while len(left) > count:
        losses: dict[int, float] = {}
        refused: Exception | None = None
        for position in left:
            rest = [each for each in left if each != position]
            try:
                student = keep_layers(teacher, rest, path).student
                found = evaluate(student, whole, loss, source)
            except ModelError as error:  # it does not run without this block
                refused = error
                continue
            if math.isfinite(found.metrics["loss"]):
                losses[position] = found.metrics["loss"]
        if not losses:
            raise ModelError(
                "the student must run, with a finite loss, without one of the teacher's blocks, "
                f"got none of {len(left)} that can be removed; pass a `keep` above {keep}, and "
                "look at the teacher's outputs for `data`"
            ) from refused
        left.remove(min(losses, key=losses.__getitem__))
    return keep_layers(teacher, left, path)


def _number(keep: int, count: int) -> int:
    advice = f"it counts blocks, from 1 to the teacher's {count}"
    found = integer("keep", keep, 1, advice)
    if found > count:
        raise ArgumentError(f"`keep` must be no more than the teacher's {count} blocks, got {keep}")
    return found


def _device(model: nn.Module) -> torch.device:
    first = next(model.parameters(), None)
    return torch.device("cpu") if first is None else first.device


def _cosines(name: str, before: Tensor, after: Tensor, mask: Tensor | None) -> Tensor:
    """Return the cosines of a block's inputs and outputs at all positions that count, `[n]`."""
    if before.shape != after.shape:
        raise ModelError(
            f"block {name!r} must return what the next one is given, of the shape of its input, "
            f"got {describe(before)} and {describe(after)}; keep blocks by their positions, "
            "tl.students.keep_layers"
        )
    dim = -1 if before.ndim <= _TOKENS else 1
    cosines = F.cosine_similarity(before.float(), after.float(), dim=dim)
    if not bool(cosines.isfinite().all()):
        raise NonFiniteError(
            f"what block {name!r} returns must be finite, got NaN or infinity; look at the teacher"
        )
    if before.ndim == _TOKENS and mask is not None and mask.shape == cosines.shape:
        return cosines[mask.to(cosines.device)]
    return cosines.flatten()
