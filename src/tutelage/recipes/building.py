"""From the models of a recipe to the objects that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from pydantic import BaseModel, RootModel
from torch import nn

from tutelage.data import Chain
from tutelage.datasets import Splits
from tutelage.errors import ArgumentError, RecipeError, TutelageError
from tutelage.layers import TextInputs
from tutelage.objectives import Objective
from tutelage.recipes import choices
from tutelage.recipes.choices import (
    EXAMPLES,
    Choice,
    ModelName,
    ObjectiveSpec,
    OptimizerChoice,
    SchedulerChoice,
    StudentSpec,
    TransformSpec,
)
from tutelage.recipes.code import given_arguments
from tutelage.recipes.enlarged import note_enlarged
from tutelage.recipes.messages import dotted
from tutelage.recipes.objects import (
    as_module,
    is_store,
    load_function,
    load_model,
    made_by,
    model_maker,
    number_of_outputs,
)
from tutelage.recipes.reading import Document, Place
from tutelage.recipes.signatures import (
    FROM_STUDENT,
    LAYER_MAP,
    Arguments,
    FunctionName,
    Section,
    parameters,
    target_of,
)
from tutelage.recipes.stages_model import BlockwiseStages
from tutelage.recipes.steps import ScheduledRate, StepScheduler, tried
from tutelage.recipes.tokens import as_read, check_student, tokenizers
from tutelage.references import class_names, with_columns
from tutelage.schedules import Schedule
from tutelage.students import Kept
from tutelage.teachers import Retokenized, Teacher
from tutelage.training.settings import MakeOptimizer, MakeScheduler


@dataclass
class Builder:
    """Builds objects; errors name the line of the recipe.

    Args:
        document: For the lines.
        data: Returns the data of the recipe, on which models may depend.
        seed: Under which models are made.
        teacher_outputs: How many outputs teachers must have; None for those that they have.
        teacher: For students that are made from its layers.
        class_names: By place, the names of the classes of the teachers that were loaded.
        layer_map: Returns the map from the student's layers to the teacher's, of which they are.
        keep: Chooses a student's layers, by a function, the teacher, how many examples, and others.
        tokens: Returns how texts become the student's tokens; None where the data is none of these.
    """

    document: Document
    data: Callable[[], Splits]
    seed: int = 0
    teacher_outputs: int | None = None
    teacher: Any = None
    class_names: dict[Place, tuple[str, ...] | None] = field(default_factory=dict)
    layer_map: Callable[[], Mapping[str, str]] = dict
    keep: Any = None
    tokens: Callable[[], TextInputs | None] = lambda: None

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Name the place in the library's errors; any others are those of the user's code."""
        try:
            yield
        except TutelageError as error:
            if str(error).startswith(self.document.source) or len(error.args) != 1:
                raise
            kind = RecipeError if isinstance(error, ArgumentError) else type(error)
            raise kind(f"{self.document.where(place)}: {error}") from error

    @contextmanager
    def mapping(self, layer_map: Callable[[], Mapping[str, str]]) -> Iterator[None]:
        """Take the map of layers from elsewhere, as for an arm with a student of its own."""
        usual, self.layer_map = self.layer_map, layer_map
        try:
            yield
        finally:
            self.layer_map = usual

    @contextmanager
    def arguments_at(self, place: Place) -> Iterator[None]:
        """As `at`, where any error means that the arguments are wrong."""
        try:
            with self.at(place):
                yield
        except TutelageError:
            raise
        except (TypeError, ValueError, NotImplementedError) as error:
            raise RecipeError(
                f"{self.document.where(place)}: `{dotted(place)}` must be given what it accepts, "
                f"got: {error}; correct that"
            ) from error

    def value(self, given: Any, place: Place) -> Any:  # noqa: PLR0911 - a case for each kind
        """Return the object of a part of a recipe."""
        makers: dict[type, Callable[[Any, Place], Any]] = {
            ObjectiveSpec: self.objective,
            TransformSpec: self.transform,
            OptimizerChoice: self.optimizer,
            SchedulerChoice: self.scheduler,
            StudentSpec: self.student_maker,
            ModelName: self.model,
            FunctionName: self.function,
        }
        if type(given) in makers:
            return makers[type(given)](given, place)
        if isinstance(given, RootModel):
            return self.value(given.root, place)
        if isinstance(given, Choice):
            [(name, arguments)] = given.chosen().items()
            return self.call(name, arguments, (*place, name))
        if isinstance(given, Arguments):
            return self.call("", given, place)
        if isinstance(given, BlockwiseStages):
            return self.value(given.blockwise, (*place, "blockwise"))
        if isinstance(given, dict):
            return {key: self.value(each, (*place, str(key))) for key, each in given.items()}
        if isinstance(given, list):
            return [self.value(each, (*place, str(at))) for at, each in enumerate(given)]
        return given

    def arguments(
        self, given: Section | Mapping[str, Any] | None, place: Place, omit: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Return arguments by name, without those that are the defaults.

        So a recipe that spells a default out is the same run as one that does not.
        """
        if not isinstance(given, Section):
            return dict(given or {})
        defaults = {name: each.default for name, each in type(given).model_fields.items()}
        wanted = [name for name in type(given).model_fields if name in given.model_fields_set]
        found = {
            name: self.value(getattr(given, name), (*place, name))
            for name in wanted
            if name not in omit and not _same(getattr(given, name), defaults[name])
        }
        if found.get(LAYER_MAP) == FROM_STUDENT:
            with self.at((*place, LAYER_MAP)):
                found[LAYER_MAP] = self.layer_map()
        return found

    def call(self, name: str, given: Arguments | Mapping[str, Any] | None, place: Place) -> Any:
        """Return what a class or a function makes of its arguments."""
        arguments = self.arguments(given, place, omit=("weight",) if _weighed(given) else ())
        with self.arguments_at(place):
            target = _target(name, given, place)
            if target is Retokenized:
                read = getattr(getattr(given, "teacher", None), "root", None)
                arguments = tokenizers(dotted(place), read, self.tokens()) | arguments
            positional = [
                value
                for each in parameters(target).values()
                if each.kind is each.VAR_POSITIONAL
                for value in arguments.pop(each.name, ())
            ]
            return target(*positional, **arguments)

    def objective(self, given: ObjectiveSpec, place: Place) -> Objective:
        """Return a weighted sum."""
        sums = given.root if isinstance(given.root, list) else [given.root]
        places = [(*place, str(at)) for at in range(len(sums))] if sums is given.root else [place]
        terms = [
            self._term(name, arguments, (*where, name))
            for each, where in zip(sums, places, strict=True)
            for name, arguments in cast("Choice", each).chosen().items()
        ]
        if not terms:
            raise RecipeError(
                f"{self.document.where(place)}: `{dotted(place)}` must name at least one "
                "objective, got none; write SoftTargets: {temperature: 4}"
            )
        return terms[0] if len(terms) == 1 else sum(terms[1:], start=terms[0])

    def _term(self, name: str, given: Any, place: Place) -> Objective:
        weight: Any = 1.0
        if _weighed(given):
            weight = self.value(given.weight, (*place, "weight"))
        elif given and "weight" in given:
            weight, given = given["weight"], {key: given[key] for key in given if key != "weight"}
        found = self.call(name, given, place)
        with self.arguments_at(place):
            if not isinstance(found, Objective):
                raise ArgumentError(
                    f"`{dotted(place)}` must be an objective, got {type(found).__name__}; name a "
                    "subclass of tl.Objective"
                )
            return found if weight == 1 else found * weight

    def transform(self, given: TransformSpec, place: Place) -> Any:
        """Return a transform; a list is a chain."""
        if isinstance(given.root, list):
            found = [self.transform(each, (*place, str(at))) for at, each in enumerate(given.root)]
            with self.arguments_at(place):
                return Chain(found)
        return self.value(given.root, place)

    def optimizer(self, given: Choice, place: Place) -> MakeOptimizer:
        """Return what makes an optimizer, tried on a small parameter."""
        kind, arguments, place = self._named(given, place)
        make = partial(kind, **arguments) if arguments else kind
        with self.arguments_at(place):
            tried(make, None)
        return make

    def scheduler(self, given: Choice, place: Place) -> MakeScheduler:
        """Return what makes a scheduler, tried on a small parameter."""
        kind, arguments, place = self._named(given, place)
        with self.arguments_at(place):
            if isinstance(kind, type) and issubclass(kind, Schedule):
                make: Any = ScheduledRate(kind(**arguments))
            else:
                counts = tuple(
                    each
                    for each in choices.FROM_THE_RUN
                    if each in parameters(kind) and each not in arguments
                )
                make = StepScheduler(kind, arguments, counts)
            tried(torch.optim.SGD, make)
        return make

    def _named(self, given: Choice, place: Place) -> tuple[Any, dict[str, Any], Place]:
        [(name, found)] = given.chosen().items()
        place = (*place, name)
        arguments = self.arguments(found, place)
        with self.at(place):
            return _target(name, found, place), arguments, place

    def function(self, given: FunctionName, place: Place) -> Any:
        """Return a function, without calling it."""
        with self.at(place):
            return load_function(dotted(place), given.root)

    def model(self, given: ModelName, place: Place) -> Any:
        """Return a teacher: a module, a teacher of another kind, or the folder of a store."""
        if is_store(given.root):
            return given.root
        with self.at(place):
            maker = model_maker(dotted(place), given.root, self.data, self.teacher_outputs)
            found = load_model(maker, self.seed)
            columns = self.data().columns
            if isinstance(found, Teacher) and columns is not None:
                found = with_columns(found, columns)
            if isinstance(found, (nn.Module, Teacher)):
                self.class_names[place] = class_names(found)
            note_enlarged(dotted(place), found, self.data())
            if Retokenized.__name__ in place:  # which is given what it reads by `call`
                return found
            return as_read(dotted(place), found, given.root, self.tokens())

    def student_maker(self, given: StudentSpec, place: Place) -> Callable[[], Any] | nn.Module:
        """Return what makes fresh students, or one that is made from the teacher's layers."""
        root: Any = given.root
        if isinstance(root, ModelName):
            with self.at(place):
                outputs = number_of_outputs(self.data())
                check_student(dotted(place), root.root, self.tokens())
                return model_maker(dotted(place), root.root, self.data, outputs)
        make, arguments, place = self._named(root, place)
        with self.arguments_at(place):
            if "teacher" not in parameters(make):
                return made_by(dotted(place), make, self.data(), arguments)
            kept = self._of_teacher(self.teacher, make, root, arguments)
            return kept if isinstance(kept, nn.Module) else kept.student

    def _of_teacher(self, teacher: Any, make: Any, given: Choice, arguments: dict[str, Any]) -> Any:
        """Return what a function makes of the teacher, and of examples if it looks at these."""
        [(name, found)] = given.chosen().items()
        teacher = as_module("teacher", teacher, f"for a student made by {name}")
        if not looks_at_examples(found):
            return make(teacher, **arguments)
        others = {key: each for key, each in arguments.items() if key != EXAMPLES}
        return self.keep(make, teacher, getattr(found, EXAMPLES), others)

    def map_of(self, given: StudentSpec | None, place: Place, teacher: Any) -> dict[str, str]:
        """Return which layer of the teacher each layer of a student is, which is made of them.

        Raises:
            ArgumentError: It is made otherwise.
        """
        if given is not None and isinstance(given.root, Choice):
            make, arguments, place = self._named(given.root, place)
            if "teacher" in parameters(make):
                with self.arguments_at(place):
                    kept = self._of_teacher(teacher, make, given.root, arguments)
                    if isinstance(kept, Kept):
                        return dict(kept.layer_map)
        raise ArgumentError(
            f"`{LAYER_MAP}: {FROM_STUDENT}` needs a student that is made of the teacher's layers, "
            "got another; write student: {every_nth_layer: 2}, or the map itself"
        )

    def student(self, given: StudentSpec, place: Place) -> nn.Module:
        """Return a fresh student."""
        maker = self.student_maker(given, place)
        with self.at(place):
            found = maker if isinstance(maker, nn.Module) else load_model(maker, self.seed)
            note_enlarged(dotted(place), found, self.data())
            return as_module(dotted(place), deepcopy(found), "to be trained")


def _target(name: str, given: Any, place: Place) -> Any:
    """Return the class or function at a place: one of the library's, or of the user's."""
    if isinstance(given, Arguments):
        return target_of(type(given))
    return given_arguments(dotted(place[:-1]), name)


def looks_at_examples(given: Any) -> bool:
    """Tell whether a student is made by looking at training examples."""
    return isinstance(given, Arguments) and EXAMPLES in type(given).model_fields


def _weighed(given: Any) -> bool:
    return isinstance(given, Arguments) and "weight" in type(given).model_fields


def _same(value: Any, default: Any) -> bool:
    """Tell whether a value is the default: 1 is not True."""
    return not isinstance(value, BaseModel) and value == default and type(value) is type(default)
