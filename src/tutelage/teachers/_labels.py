"""Which of the student's classes a teacher's labels are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tutelage._checks import whole_number
from tutelage.errors import ArgumentError


def class_ids(
    labels: Sequence[int] | Sequence[str],
    classes: int | Sequence[str] | None,
    names: Mapping[str, str],
) -> tuple[int, ...]:
    """Return the student's class id of each of a teacher's labels.

    Args:
        labels: The teacher's, in the order of its outputs: class ids, or names.
        classes: The student's: how many, or their names in their order; None where not known.
        names: From the teacher's names to the student's.

    Raises:
        ArgumentError: A label is no class of the student's, two are the same class, or names are
            given for what is no label. All that does not match is listed, of both sides.
    """
    if isinstance(labels, str) or not hasattr(labels, "__len__") or not len(labels):
        raise ArgumentError(
            f"`labels` must be class ids or names, at least one, got {labels!r}; name the "
            "teacher's classes in the order of its outputs"
        )
    if not isinstance(names, Mapping):
        raise ArgumentError(
            f"`names` must be a dict from the teacher's names to the student's, got {names!r}; "
            "write {'hound': 'dog'}"
        )
    if not any(isinstance(each, str) for each in labels):
        return _from_numbers(labels, classes, names)
    if classes is None or isinstance(classes, int):
        raise ArgumentError(
            f"`classes` must be the student's class names where labels are names, got {classes!r}; "
            "list them in the order of the student's outputs"
        )
    return _from_names(labels, classes, names)


def _from_numbers(
    labels: Sequence[object], classes: int | Sequence[str] | None, names: Mapping[str, str]
) -> tuple[int, ...]:
    if names:
        raise ArgumentError(
            f"`names` must map labels that are names, got class ids {list(labels)[:5]}; leave "
            "`names` out, or name the labels"
        )
    advice = "labels are the student's class ids, from 0 on"
    ids = tuple(whole_number("labels", each, 0, advice) for each in labels)
    number = classes if classes is None or isinstance(classes, int) else len(classes)
    if number is not None and max(ids) >= number:
        raise ArgumentError(
            f"`labels` must lie from 0 to {number - 1}, the student's classes, got "
            f"{sorted(each for each in ids if each >= number)}; correct them, or `classes`"
        )
    _check_different(ids, ids)
    return ids


def _from_names(
    labels: Sequence[object], classes: Sequence[str], names: Mapping[str, str]
) -> tuple[int, ...]:
    _check_different(classes, classes, "`classes`")
    places = {name: place for place, name in enumerate(classes)}
    meant = [names.get(each, each) if isinstance(each, str) else each for each in labels]
    unknown = [each for each, name in zip(labels, meant, strict=True) if name not in places]
    unused = [each for each in names if each not in labels]
    if unknown or unused:
        free = [name for name in classes if name not in meant]
        raise ArgumentError(
            f"labels must be classes of the student's: it has none named {unknown}; of its classes "
            f"no label names {free}; `names` maps {unused}, which are no labels; map the teacher's "
            "names to the student's by `names`"
        )
    _check_different(meant, labels)
    return tuple(places[str(name)] for name in meant)


def _check_different(
    meant: Sequence[object], labels: Sequence[object], what: str = "`labels`"
) -> None:
    """Refuse two labels that are the same class."""
    twice = [each for each, name in zip(labels, meant, strict=True) if meant.count(name) > 1]
    if twice:
        raise ArgumentError(
            f"{what} must be different classes, got {twice} for the same; leave all but one out, "
            "or add their probabilities up in the teacher"
        )
