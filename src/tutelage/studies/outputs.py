"""Outputs of models on data sets, kept on disk so that none is computed twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tutelage.data import Source, as_source, randomness
from tutelage.data.fingerprint import fingerprint
from tutelage.errors import DataError
from tutelage.evaluation import Outputs, evaluate
from tutelage.files import write_whole
from tutelage.identity import digest
from tutelage.layers import Output
from tutelage.layers.language import generates, shift_labels_for
from tutelage.nested import describe, named_tensors, to_device
from tutelage.objectives import Objective
from tutelage.signals import UNLABELLED, Batch
from tutelage.studies.example_keys import domains_of, example_keys, kind_of
from tutelage.studies.row_labels import RowLabels, joined_row_labels, row_labels, row_labels_for
from tutelage.tasks import TASKS, Task, infer_task
from tutelage.teachers import Teacher
from tutelage.training import Engine

BATCH = 256


@dataclass(frozen=True)
class Truth:
    """Labels and domains of a data set.

    Args:
        labels: Of all examples, on the CPU; None without, and where examples have different
            numbers of them.
        domains: Of all examples; None without.
        fingerprint: A text that changes with inputs, labels and row masks.
        keys: A hash of the inputs of each example; see `example_keys`.
        kind: The types of the inputs.
        by_row: The labels of rows, for outputs with several answers an example.
        targets: The dicts of true boxes of all examples, for detectors; None for others.
        of_tokens: Whether outputs are `TokenScores` of a language model's tokens.
    """

    labels: Tensor | None
    domains: tuple[str, ...] | None
    fingerprint: str
    keys: tuple[bytes, ...]
    kind: str
    by_row: tuple[RowLabels, ...] = ()
    targets: tuple[Any, ...] | None = None
    of_tokens: bool = False

    @property
    def examples(self) -> int:
        """How many examples there are."""
        return len(self.keys)

    @property
    def has_labels(self) -> bool:
        """Whether any example has a label."""
        known = [self.labels, *(each.labels for each in self.by_row)]
        return self.targets is not None or any(
            each is not None and bool(Batch(each, each).labelled().any()) for each in known
        )

    def task(self, objectives: Sequence[Objective] = (), others: Sequence[Objective] = ()) -> Task:
        """Return what outputs for this data hold; see `infer_task`."""
        labels = self.labels if self.targets is None else self.targets
        return infer_task(objectives, others, labels, language=self.of_tokens)

    def outputs(self, student: Tensor, teacher: Tensor | None = None) -> Outputs:
        """Return a model's outputs for this data, with the labels that belong to them."""
        if self.targets is not None:
            return TASKS["boxes"].unpack(student, Outputs(None, None, self.targets, self.domains))
        if self.of_tokens:
            own = next((each for each in self.by_row if len(each.rows) == len(student)), None)
            own = self.by_row[0] if own is None else own
            known = Outputs(None, None, own.labels, self.domains, own.rows)
            return TASKS["language"].unpack(student, known)
        if len(student) == self.examples and not self._has_row_each(student):
            return Outputs(student, teacher, self.labels, self.domains)
        found = row_labels_for(self.by_row, len(student), self.examples)
        return Outputs(student, teacher, found.labels, self.domains, found.rows)

    def _has_row_each(self, student: Tensor) -> bool:
        """Tell whether as many outputs as examples are of rows, as where one token is labelled."""
        labels = self.labels
        whole = labels is not None and (labels.ndim == 1 or labels.shape == student.shape)
        single = labels is not None and labels.shape[1:].numel() == 1
        return not (whole or single) and any(len(each.rows) == len(student) for each in self.by_row)


def truth(name: str, data: object, student: Callable[[], object] | None = None) -> Truth:
    """Read a data set's labels and domains.

    Where inputs are tokens, `student` is called for a student: a language model's labels are those
    of the next tokens. One in an `Output` may return anything else.
    """
    model, of_tokens = None, False
    labels, targets, domains, prints, keys, by_row, kind = [], [], [], [], [], [], ""
    with randomness.preserved():
        randomness.seed_everything(0)
        for batch in source_of(name, data).epoch(0):
            tensor = batch.labels is None or isinstance(batch.labels, Tensor)
            labels.append(batch.labels if tensor else None)
            targets += [] if tensor else _boxes(name, batch.labels)
            tokens = isinstance(batch.inputs, Mapping) and "input_ids" in batch.inputs
            if tokens and student is not None and model is None:
                model = student()
                of_tokens = generates(model) and not isinstance(model, Output)
            by_row.append(row_labels(shift_labels_for(batch, model if of_tokens else None)))
            domains.append(domains_of(batch))
            tensors = named_tensors((batch.inputs, batch.labels, batch.row_mask))
            prints.append(fingerprint(dict(tensors)))
            keys += example_keys(batch)
            kind = kind or kind_of(batch)
    return Truth(
        labels=_joined(labels),
        domains=_domains(domains),
        fingerprint=digest(*prints, *(each.hex() for each in keys)),  # which know texts too
        keys=tuple(keys),
        kind=kind,
        by_row=joined_row_labels(by_row),
        targets=tuple(targets) if targets else None,
        of_tokens=of_tokens,
    )


def notes_on(test: Truth, several: bool = False) -> tuple[str, ...]:
    """Return what a reader must know of the labels of test data, in sentences.

    Those of an example may be `several` binary ones, and not a class, or one for each position.
    """
    labels = test.labels
    if labels is not None and several and labels.ndim == 2:  # noqa: PLR2004 - one answer each
        return _never_true(labels)
    if labels is None or labels.is_floating_point() or labels.ndim != 1:
        return ()
    classes = labels.unique()
    if len(classes) > 1 or classes.tolist() == [UNLABELLED]:
        return ()
    return (
        f"All {len(labels):,} test examples are of class {int(classes[0])}, so a student that "
        "always predicts it has an accuracy of 100 %.",
    )


def _never_true(labels: Tensor) -> tuple[str, ...]:
    never = (~(labels > 0.5).any(dim=0)).nonzero().ravel().tolist()  # noqa: PLR2004 - soft labels
    if not never or labels.shape[1] == 1:
        return ()
    return (
        f"Of {labels.shape[1]} labels, these are never true in the test examples: "
        f"{', '.join(map(str, never))}. Average precision and macro F1 leave them out.",
    )


def ask(
    model: Teacher,
    name: str,
    data: object,
    engine: Engine,
    teacher: Teacher | None = None,
    asked_as: nn.Module | None = None,
) -> Tensor | None:
    """Return a model's outputs on a data set, `[examples, …]`, in float32 on the CPU.

    Detections are `packed`, and of language models it is the table of their `TokenScores`. None for
    a teacher that knows only some of the classes. Language models are asked as one of the students,
    `asked_as`, and compared with the teacher.

    Raises:
        DataError: The data cannot be read.
        ModelError: The model refuses the inputs.
        StoreError: A stored teacher has no outputs for this data.
    """
    device, model = engine.torch_device(), model.for_data(name, data)
    teacher = None if teacher is None else teacher.for_data(name, data)
    tokens = asked_as is not None
    with model.ready(device), nullcontext() if teacher is None else teacher.ready(device):
        found = evaluate(
            model,
            teacher,
            None,
            source_of(name, data, tokens),
            device=device,
            scores=tokens,
            whole=True,
            asked_as=asked_as,
            chunk_logits_from=engine.chunk_logits_from,
        ).outputs
    names = {"boxes": found.predictions, "language": found.scores}
    name = next((name for name, each in names.items() if each is not None), "classes")
    return TASKS[name].pack(found)


def source_of(name: str, data: object, tokens: bool = False) -> Source:
    """Return the batches of a data set in its order; `tokens` is for language models."""
    return as_source(name, data, TASKS["language" if tokens else "classes"].batch_size)


def save(path: Path, outputs: Tensor) -> None:
    """Write outputs as a `.npy` file, atomically."""

    def write(draft: Path) -> None:
        with draft.open("wb") as file:
            np.save(file, outputs.numpy(), allow_pickle=False)

    write_whole(path, write)


def load(path: Path) -> Tensor | None:
    """Read outputs, from the disk where they are used; None if there are none."""
    if not path.exists():
        return None
    try:
        return torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path} must hold a model's outputs, got {error}; remove the file, and they are "
            "recomputed"
        ) from error


def _boxes(name: str, labels: Any) -> list[Any]:
    """Return the targets of a batch, on the CPU; refuse what is neither a tensor nor boxes."""
    found = to_device(list(labels), torch.device("cpu")) if isinstance(labels, list) else [labels]
    if not all(isinstance(each, Mapping) and "boxes" in each for each in found):
        raise DataError(
            "a study compares outputs with labels in tensors, or with a dict of boxes and labels "
            f"for each example, got `{name}` with {describe(labels)}; train other models by "
            "tl.distill"
        )
    return found


def _joined(column: list[Tensor | None]) -> Tensor | None:
    present = [each.cpu() for each in column if each is not None]
    alike = len({each.shape[1:] for each in present}) == 1  # texts are padded batch by batch
    return torch.cat(present) if alike and len(present) == len(column) else None


def _domains(column: list[list[str] | None]) -> tuple[str, ...] | None:
    known = [each for each in column if each is not None]
    return tuple(name for each in known for name in each) if len(known) == len(column) else None
