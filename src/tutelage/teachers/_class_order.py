"""Whether several teachers have their classes in one order."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import combinations

from tutelage.errors import ModelError, some_of
from tutelage.teachers._teacher import Teacher
from tutelage.teachers.live import Live
from tutelage.teachers.predictor import Predictor


def check_class_order(team: str, members: Mapping[str, Teacher]) -> None:
    """Refuse members that name their classes in different orders; tell of whom it is not known."""
    models = {
        name: getattr(each, "predict", each.module)
        for name, each in members.items()
        if isinstance(each, (Live, Predictor))  # others bring classes into order themselves
    }
    found = {name: getattr(each, "class_names", None) for name, each in models.items()}
    named = {name: tuple(map(str, each)) for name, each in found.items() if each}
    for (one, ours), (other, theirs) in combinations(named.items(), 2):
        moved = [each for each in ours if each in theirs and ours.index(each) != theirs.index(each)]
        if moved:
            raise ModelError(
                f"the teachers of {team} must have their classes in one order, got {some_of(ours)} "
                f"of {one!r} and {some_of(theirs)} of {other!r}; wrap them in Specialist(labels=), "
                "which brings them into the order of the data"
            )
    if named:
        first, names = next(iter(named.items()))
        others = [each for each in models if named.get(each, ()) != names]
        if others:
            logging.getLogger("tutelage").warning(
                f"the order of the classes of {some_of(map(repr, others))} in {team} is not "
                f"known, and taken to be that of {first!r}: {some_of(names)}"
            )
