"""Choose test examples to be looked at in the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from tutelage.data import as_dataset
from tutelage.data.sets import evenly
from tutelage.errors import ArgumentError
from tutelage.evaluation import Outputs
from tutelage.nested import first_tensor
from tutelage.positions import rows_of
from tutelage.results.samples import (
    LEAST_SCORE,
    Box,
    ImageSample,
    TextSample,
    image_sample,
)
from tutelage.signals import Batch
from tutelage.studies.eval_data import EvalData, source_of
from tutelage.tasks.boxes import unpacked

SHOWN, _FIRST = 4, 256
_IMAGE, _OF_MAP = 4, 4  # dimensions of images and of an output that is a map
_CHANNELS = (1, 3)

Words = Callable[[Any], Sequence[str]]
"""From an example of the test data to its words, one for each row that has a label."""


def samples_of(
    data: EvalData, student: Tensor, teacher: Tensor | None, words: Words | None
) -> tuple[ImageSample | TextSample, ...]:
    """Return some test examples with several answers each, evenly spaced; none of other data.

    Raises:
        ArgumentError: `words` returns another number of words than there are labelled rows.
    """
    comparable = teacher is not None and teacher.shape == student.shape
    outputs = data.outputs(student, teacher if comparable else None)
    if outputs.predictions is not None:
        return _detected(data, outputs, teacher)
    if outputs.scores is not None:
        return ()
    labels = outputs.labels
    if outputs.rows is None or labels is None or labels.is_floating_point() or labels.ndim > 1:
        return ()
    if words is not None:
        return _texts(data.data, data.examples, outputs, words)
    found = []
    for place, batch, at in _shown(data):
        images, rows = first_tensor(batch.inputs), rows_of(batch, _OF_MAP)
        if rows is None or images.ndim != _IMAGE or images.shape[1] not in _CHANNELS:
            return ()
        maps = {
            whose: torch.full(rows.positions, -1).masked_scatter(rows.mask[at], ids).numpy()
            for whose, ids in _classes(outputs, place).items()
        }
        found.append(image_sample(images[at].float().numpy(), maps))
    return tuple(found)


def _shown(data: EvalData) -> Iterator[tuple[int, Batch, int]]:
    """Yield some of the first examples: the place in the data, a batch, and the place in that."""
    places, first = evenly(min(data.examples, _FIRST), SHOWN).tolist(), 0
    for batch in source_of("test", data.data, SHOWN).epoch(0):
        yield from (
            (each, batch, each - first) for each in places if each - first in range(len(batch))
        )
        first += len(batch)
        if first > places[-1]:
            return


def _detected(
    data: EvalData, outputs: Outputs, teacher: Tensor | None
) -> tuple[ImageSample | TextSample, ...]:
    """Return some images with their true boxes and those of the models."""
    sides = {"true": outputs.labels, "student": outputs.predictions or ()}
    sides |= {} if teacher is None else {"teacher": unpacked(teacher)}
    order = [whose for whose in ("true", "teacher", "student") if whose in sides]
    found = []
    for place, batch, at in _shown(data):
        image = first_tensor(batch[at : at + 1].inputs)
        image = image[0] if image.ndim == _IMAGE else image  # of a batch of images of one size
        if image.ndim == _IMAGE - 1 and len(image) in _CHANNELS:
            known = {whose: _boxes(sides[whose][place]) for whose in order}
            found.append(image_sample(image.float().numpy(), {}, known))
    return tuple(found)


def _boxes(found: Mapping[str, Tensor]) -> tuple[Box, ...]:
    scores = found.get("scores", torch.ones(len(found["boxes"])))
    kept = scores >= LEAST_SCORE
    pairs = zip(found["boxes"][kept].tolist(), found["labels"][kept].tolist(), strict=True)
    return tuple((*corners, int(label)) for corners, label in pairs)


def _texts(data: object, examples: int, outputs: Outputs, words: Words) -> tuple[TextSample, ...]:
    dataset: Any = data.dataset if isinstance(data, DataLoader) else as_dataset("test", data)
    order: Sequence[Any] = range(examples)
    if isinstance(data, DataLoader) and data.batch_sampler is not None:  # perhaps the user's own
        order = list(chain.from_iterable(data.batch_sampler))
    found = []
    for place in evenly(examples, SHOWN).tolist():
        classes = _classes(outputs, place)
        known = classes["true"] >= 0
        shown = tuple(map(str, words(dataset[order[place]])))
        if len(shown) != int(known.sum()):
            raise ArgumentError(
                f"`words` must return one word for each of the {int(known.sum())} labelled rows of "
                f"test example {place}, got {len(shown)}; leave out what has no label"
            )
        ids = {whose: tuple(each[known].tolist()) for whose, each in classes.items()}
        found.append(TextSample(shown, ids))
    return tuple(found)


def _classes(outputs: Outputs, place: int) -> dict[str, Tensor]:
    """Return the class ids of an example's rows: the true ones, and the models'."""
    own = outputs[[place]]
    models = {"teacher": own.teacher, "student": own.student}
    true = {} if own.labels is None else {"true": own.labels.long().clamp(min=-1)}
    return true | {whose: _predicted(each) for whose, each in models.items() if each is not None}


def _predicted(logits: Tensor) -> Tensor:
    """Return the class of each row; of a single logit 1 where the label is predicted, else 0."""
    return (logits[:, 0] > 0).long() if logits.shape[1] == 1 else logits.argmax(dim=1)
