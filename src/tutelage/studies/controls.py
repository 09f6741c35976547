"""The built-in controls: the same student on labels only, with all else that the arms have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from types import FunctionType
from typing import Any

from torch.utils.data import IterableDataset

from tutelage.data import Chain, OnPolicy, Transform, as_source, randomness, transformed
from tutelage.identity import identity
from tutelage.studies.arm import Arm
from tutelage.studies.plan import readable, seeded, train_of
from tutelage.tasks import TASKS, Task

_SMOOTHING = 0.1
_BATCH, _BATCHES = 256, 80


def built_in_controls(
    arms: Mapping[str, Arm], task: Task, train: object, epochs: int | None, seed: int
) -> tuple[dict[str, Arm], tuple[str, ...]]:
    """Return the controls that every study should have, and what is missing, in words.

    These are the baseline, the baseline with smoothed labels, and for each transform, training
    data, batch size or greater length that arms have of their own, the baseline with the same.
    Training data that are a function are looked at for one seed.
    """
    by_row = (
        term.objective.weight_by_rows
        for arm in arms.values()
        for each in arm.objectives
        for term in each.terms()
    )
    if task.keeps_scores and not any(by_row):
        task = TASKS["classes"]  # so that controls weigh texts as the arms do
    usual = task.default_objective()
    found = {"labels": Arm(objective=usual, note="labels only (baseline)")}
    if task.smooths:
        smooth = task.default_objective(_SMOOTHING)
        note = f"labels, smoothed by {_SMOOTHING:g}"
        found["smoothed labels"] = Arm(objective=smooth, note=note)
    seen, notes = {_key({})}, []
    for name, arm in arms.items():
        known = [*arm.objectives, *arm.sweep.get("objective", ())]
        own_control = "stages" not in arm.sweep and all(
            identity(each) == identity(usual) for each in known
        )
        if arm.run is not None or own_control:  # which learns from labels alone
            continue
        own, missing = _with_labels(name, _own(arm, train, epochs, seed), train, seed)
        notes += missing
        if _key(own) in seen:
            continue
        seen.add(_key(own))
        words = ", ".join(["labels", *_words(name, own)])
        words = f"{words}, as in {name}" if words in found else words
        found[words] = Arm(
            **{key: values[0] for key, values in own.items() if len(values) == 1},
            sweep={key: values for key, values in own.items() if len(values) > 1},
            objective=usual,
            note=words.replace("labels", "labels only", 1),
        )
    return found, tuple(notes)


def _own(arm: Arm, train: object, epochs: int | None, seed: int) -> dict[str, list[Any]]:
    """Return what an arm has of its own, by name: one value, or those that it sweeps over.

    Of data that the student writes in part (`OnPolicy`) that are the given texts.
    """
    own = {
        name: list(arm.sweep.get(name, [getattr(arm, name)]))
        for name in ("transform", "train", "batch_size", "epochs")
    }
    given = [_given(each, seed) for each in own["train"]]
    own["train"] = list({id(each): None if each is train else each for each in given}.values())
    if arm.stages or "stages" in arm.sweep:
        several = arm.sweep.get("stages", [arm.stages])
        own["epochs"] = sorted({sum(stage.epochs for stage in stages) for stages in several})
    if epochs is not None and len(own["epochs"]) == 1 and (own["epochs"][0] or 0) <= epochs:
        own.pop("epochs")  # the baseline is as long
    return {name: each for name, each in own.items() if each != [None]}


def _given(data: Any, seed: int) -> Any:
    """Return the given texts of data that the student writes in part; other data as it is."""
    found, make = train_of(data, seed), seeded(data)
    if not isinstance(found, OnPolicy):
        return data
    return found.given if make is None or found.given is None else partial(_given_of, make)


def _given_of(make: Callable[[int], Any], seed: int) -> Any:
    return make(seed).given


def _key(own: Mapping[str, Sequence[Any]]) -> str:
    def seen(name: str, value: Any) -> object:
        own_code = isinstance(value, FunctionType)  # which is not read
        return id(value) if name == "train" or own_code else identity(value)

    return repr(
        [(name, [seen(name, each) for each in values]) for name, values in sorted(own.items())]
    )


def _words(arm: str, own: Mapping[str, Sequence[Any]]) -> list[str]:
    """Return what a control has, in words."""
    texts = {
        "transform": lambda each: f"with {_name(each)}",
        "train": lambda _: f"same data as {arm}",
        "batch_size": lambda each: f"batches of {each}",
        "epochs": lambda each: f"{each} epochs",
    }
    return [
        texts[name](values[0])
        if len(values) == 1
        else f"{'data' if name == 'train' else name.replace('_', ' ')} as in {arm}"
        for name, values in own.items()
    ]  # fmt: skip


def _name(transform: Transform) -> str:
    if isinstance(transform, Chain):
        return " and ".join(map(_name, transform.transforms))
    text = readable(transform)
    return text if text.isidentifier() else type(transform).__name__


def _with_labels(
    name: str, own: dict[str, list[Any]], train: object, seed: int
) -> tuple[dict[str, list[Any]], list[str]]:
    """Return what a control can have: data, and a transform, that leave labels; and what not."""
    notes, found = [], dict(own)
    if "train" in own:
        known = [
            each
            for each in own["train"]
            if _has_labels(train if each is None else each, None, seed)
        ]
        if len(known) < len(own["train"]):
            notes.append(
                f"There is no control on the training data of “{name}”, which have no label."
            )
        found["train"] = known
    if "transform" in own:
        data = next(iter(found.get("train", ())), None)
        data = train if data is None else data
        known = [each for each in own["transform"] if _has_labels(data, each, seed)]
        missing = [_name(each) for each in own["transform"] if each not in known]
        if missing and _has_labels(data, None, seed):
            notes.append(
                f"There is no control with {' or '.join(missing)}, as in “{name}”, which leaves no "
                "label."
            )
        found["transform"] = known
    return {key: each for key, each in found.items() if each}, notes


def _has_labels(data: object, transform: Transform | None, seed: int) -> bool:
    """Return whether one of the first examples has a label, after a transform.

    A stream, which can perhaps be read only once, is taken to have some; so are data and transforms
    that fail here, since training raises a clearer error.
    """
    if isinstance(getattr(data, "dataset", data), IterableDataset):
        return True
    with randomness.preserved():
        randomness.seed_everything(seed)
        source = as_source("train", train_of(data, seed), _BATCH, seed=seed)
        state = source.state()
        try:
            batches = islice(source.epoch(0), _BATCHES)
            return any(
                each.labels is not None and bool(transformed(each, transform).labelled().any())
                for each in batches
            )
        except Exception:  # noqa: BLE001 - a transform may raise anything
            return True
        finally:
            source.load(state)
