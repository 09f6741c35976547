"""From the parts of a recipe to the objects that they name."""

from __future__ import annotations

import errno
import inspect
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from pydantic import RootModel
from torch import Tensor, nn

from tutelage import references
from tutelage.data import Chain, randomness
from tutelage.datasets import DataOptions, Splits
from tutelage.datasets import load_data as load_by_reference
from tutelage.datasets.python_data import is_python
from tutelage.errors import ArgumentError, DataError, RecipeError, TutelageError, in_short
from tutelage.layers import ImageInputs, Prepared, Rescaled, TextInputs
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.recipes.kept_layers import kept_student
from tutelage.recipes.language import check_tokenizer, read_as_student, tokenizers
from tutelage.recipes.messages import dotted
from tutelage.recipes.model import (
    EXAMPLES,
    ObjectiveSpec,
    OptimizerChoice,
    SchedulerChoice,
    StudentSpec,
    TransformSpec,
)
from tutelage.recipes.reading import Document, Place
from tutelage.recipes.signatures import (
    FROM_STUDENT,
    LAYER_MAP,
    Arguments,
    Choice,
    FunctionName,
    ModelName,
    Section,
    parameters,
    target_of,
)
from tutelage.recipes.teacher_check import some_examples
from tutelage.references.python_object import find, load
from tutelage.references.reference import code_in
from tutelage.references.weights import load_weights, read_weights
from tutelage.schedules import Schedule
from tutelage.store import manifest
from tutelage.students import Kept
from tutelage.teachers import Retokenized, Teacher
from tutelage.training.notices import without_notices
from tutelage.training.settings import MakeOptimizer, MakeScheduler
from tutelage.training.setup import make_scheduler

_FROM_DATA = ("data", "features", "outputs")
"""Arguments of a user's function that are taken from the data of the recipe."""
_PACKAGES = ("objectives", "teachers", "data", "evaluation", "layers")
"""Packages whose functions and classes a recipe may name without their module."""
_WRONG_ARGUMENTS = (TypeError, ValueError, NotImplementedError)
_ENLARGED = 1.5
_DRY_RUN_STEPS = 4


class Builder:
    """Builds objects; errors name the line of the recipe.

    Args:
        document: For the lines.
        out: The folder of the recipe, for the layers that are chosen by examples.
        seed: Under which models are made.
        trust: Whether models may run code of their own, see `references.load_model`.
        tunes: Whether the teacher is fine-tuned, and so gets outputs for the labels of the data.

    Attributes, which `Job` sets, in this order, as they become known:
        data: The data of the recipe.
        tokens: How texts become the student's tokens; None where the data has none.
        class_names: By place, the names of the classes of the teachers that were loaded.
        teacher: For students that are made from its layers.
        layer_map: Which layer of the teacher each layer of the student is; None if it is not made
            from these.
        outputs: The number of a student's outputs, where the data has no labels that tell it.
        scale: Mean and deviation of the values that students learn; None to leave them.
        thresholds: By the name of a number of a table, where the teacher's trees split it.
    """

    def __init__(
        self, document: Document, out: Path, seed: int, *, trust: bool = False, tunes: bool = False
    ) -> None:
        self.document, self.out, self.seed, self.trust = document, out, seed, trust
        self.tunes = tunes
        self.data: Any = None
        self.tokens: TextInputs | None = None
        self.class_names: dict[Place, tuple[str, ...] | None] = {}
        self.teacher: Any = None
        self.layer_map: Mapping[str, str] | None = None
        self.outputs: int | None = None
        self.scale: tuple[Tensor, Tensor] | None = None
        self.thresholds: Mapping[str, Sequence[float]] = {}

    @contextmanager
    def at(self, place: Place, *kinds: type[Exception]) -> Iterator[None]:
        """Name the place in the library's errors.

        Errors of other `kinds` mean that the recipe's arguments are wrong; all others are those of
        the user's code, and are left as they are.
        """
        where = self.document.where(place)
        try:
            yield
        except TutelageError as error:
            located = str(error).startswith((self.document.source, "--set "))
            if located or len(error.args) != 1:
                raise
            kind = RecipeError if isinstance(error, ArgumentError) else type(error)
            raise kind(f"{where}: {error}") from error
        except (OSError, *kinds) as error:
            if isinstance(error, OSError) and error.errno != errno.ENAMETOOLONG:
                raise
            raise RecipeError(
                f"{where}: `{dotted(place)}` must be given what it accepts, got: "
                f"{in_short(error)}; correct that"
            ) from error

    @contextmanager
    def named(self, *section: str) -> Iterator[None]:
        """Name the line of a setting of a section that the library finds outside its range."""
        try:
            yield
        except ArgumentError as error:
            found = re.match(r"`(\w+)`", str(error))
            name = found[1] if found else ""
            for place in ((*section, name), (name,)):
                if place in self.document.origins and not isinstance(error, RecipeError):
                    raise RecipeError(f"{self.document.where(place)}: {error}") from error
            raise

    def value(self, given: Any, place: Place) -> Any:  # noqa: PLR0911 - a case for each kind
        """Return the object of a part of a recipe."""
        makers: dict[type, Callable[[Any, Place], Any]] = {
            TransformSpec: self.transform,
            OptimizerChoice: self.optimizer,
            SchedulerChoice: self.scheduler,
            StudentSpec: self.student_maker,
            ModelName: self.model,
            FunctionName: self.function,
        }
        if type(given) in makers:
            return makers[type(given)](given, place)
        if isinstance(given, ObjectiveSpec):
            return self.objective(given.root, place)
        if isinstance(given, RootModel):
            return self.value(given.root, place)
        if isinstance(given, Choice):
            name, arguments = given.one()
            return self.call(name, arguments, (*place, name))
        if isinstance(given, Arguments):
            return self.call("", given, place)
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
        found: dict[str, Any] = {}
        for name, field in type(given).model_fields.items():
            value = getattr(given, name)
            if name in given.model_fields_set and name not in omit and value != field.default:
                found[name] = self.value(value, (*place, name))
        if found.get(LAYER_MAP) == FROM_STUDENT:
            if self.layer_map is None:
                raise RecipeError(
                    f"{self.document.where((*place, LAYER_MAP))}: `{LAYER_MAP}: {FROM_STUDENT}` "
                    "needs one student that is made of the teacher's layers, got another, or "
                    "several that are tried; write student: {every_nth_layer: 2}, or the map itself"
                )
            found[LAYER_MAP] = self.layer_map
        return found

    def call(self, name: str, given: Arguments | Mapping[str, Any] | None, place: Place) -> Any:
        """Return what a class or a function makes of its arguments."""
        arguments = self.arguments(given, place, omit=("weight",) if _weighed(given) else ())
        with self.at(place, *_kinds(name)):
            target = _target(name, given, place)
            if target is Retokenized:
                read = getattr(getattr(given, "teacher", None), "root", None)
                own = tokenizers(dotted(place), read, self.tokens, trust=self.trust)
                arguments = own | arguments
            positional = [
                value
                for each in parameters(target).values()
                if each.kind is each.VAR_POSITIONAL
                for value in arguments.pop(each.name, ())
            ]
            return target(*positional, **arguments)

    def objective(self, given: Choice | list[Choice], place: Place) -> Objective:
        """Return a weighted sum."""
        sums = given if isinstance(given, list) else [given]
        places = [(*place, str(at)) for at in range(len(sums))] if sums is given else [place]
        terms = [
            self._term(name, arguments, (*where, name))
            for each, where in zip(sums, places, strict=True)
            for name, arguments in each.chosen().items()
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
        with self.at(place, Exception):
            if not isinstance(found, Objective):
                raise ArgumentError(
                    f"`{dotted(place)}` must be an objective, got {type(found).__name__}; name a "
                    "subclass of tl.Objective"
                )
            if isinstance(weight, float) and weight > torch.finfo(torch.float32).max:
                raise ArgumentError(f"`weight` must be a float32, got {weight}; give less")
            return found if weight == 1 else found * weight

    def transform(self, given: TransformSpec, place: Place) -> Any:
        """Return a transform; a list is a chain."""
        if not isinstance(given.root, list):
            return self.value(given.root, place)
        found = [self.transform(each, (*place, str(at))) for at, each in enumerate(given.root)]
        with self.at(place, *_WRONG_ARGUMENTS):
            return Chain(found)

    def optimizer(self, given: Choice, place: Place) -> MakeOptimizer:
        """Return what makes an optimizer, tried on a small parameter."""
        kind, arguments, place = self._named(given, place)
        make = partial(kind, **arguments) if arguments else kind
        with self.at(place, Exception):
            _dry_run(make)
        return make

    def scheduler(self, given: Choice, place: Place) -> MakeScheduler:
        """Return what makes a scheduler, tried on a small parameter."""
        kind, arguments, place = self._named(given, place)
        with self.at(place, Exception):
            make = partial(kind, **arguments)
            if isinstance(kind, type) and issubclass(kind, Schedule):
                make = partial(following, schedule=make())
            _dry_run(torch.optim.SGD, make)
        return make

    def _named(self, given: Choice, place: Place) -> tuple[Any, dict[str, Any], Place]:
        name, found = given.one()
        place = (*place, name)
        arguments = self.arguments(found, place)
        with self.at(place):
            return _target(name, found, place), arguments, place

    def function(self, given: FunctionName, place: Place) -> Any:
        """Return a function without calling it: one of the library, or of a reference."""
        name = given.root
        with self.at(place):
            if ":" in name:
                return find(dotted(place), name)
            for package in _PACKAGES:
                found = import_module(f"tutelage.{package}")
                if name in found.__all__:
                    return getattr(found, name)
            raise ArgumentError(
                f"`{dotted(place)}` must be a function of the library, package.module:name or "
                f"file.py:name, got {name!r}; correct it"
            )

    def model(self, given: ModelName, place: Place) -> Any:
        """Return a teacher: a module, a teacher of another kind, or the folder of a store."""
        name, argument = given.root, dotted(place)
        try:
            if (Path(name) / manifest.NAME).is_file():
                return name
        except (OSError, ValueError):  # not a possible path
            pass
        with self.at(place):
            tuned = self.tunes and place == ("teacher",)
            outputs = self.number_of_outputs() if tuned else None
            found = self.made(self.maker(argument, name, outputs))
            columns = self.data.columns
            if isinstance(found, Teacher) and columns is not None:
                found = references.with_columns(found, columns)
            if isinstance(found, (nn.Module, Teacher)):
                self.class_names[place] = references.class_names(found)
            _warn_if_enlarged(argument, found, self.data)
            if Retokenized.__name__ in place:  # `call` makes one of it
                return found
            return read_as_student(argument, found, name, self.tokens, trust=self.trust)

    def student_maker(self, given: StudentSpec, place: Place) -> Callable[[], Any] | nn.Module:
        """Return what makes fresh students, or one that is made from the teacher's layers."""
        return self._student(given, place)[0]

    def student(self, given: StudentSpec, place: Place) -> nn.Module:
        """Return a fresh student."""
        maker = self.student_maker(given, place)
        with self.at(place):
            found = maker if isinstance(maker, nn.Module) else self.made(maker)
            _warn_if_enlarged(dotted(place), found, self.data)
            return as_module(dotted(place), deepcopy(found), "to be trained")

    def map_of(self, given: StudentSpec | None, place: Place) -> dict[str, str] | None:
        """Return which layer of the teacher each layer of a student is, if it is made of them."""
        return self._student(given, place)[1] if given and uses_teacher(given) else None

    def _student(
        self, given: StudentSpec, place: Place
    ) -> tuple[Callable[[], Any] | nn.Module, dict[str, str] | None]:
        """Return a student, or what makes it, and the map of its layers."""
        root: Any = given.root
        if isinstance(root, ModelName):
            with self.at(place):
                check_tokenizer(dotted(place), root.root, self.tokens, trust=self.trust)
                maker = self.maker(dotted(place), root.root, self.number_of_outputs())
            return (self._scaled(maker) if is_python(root.root) else maker), None
        make, arguments, place = self._named(root, place)
        name, given_arguments = root.one()
        with self.at(place, *_WRONG_ARGUMENTS):
            if "teacher" not in _parameters_of(make):
                maker = self._made_by(dotted(place), make, arguments)
                if ":" not in name:
                    with self.at(place, Exception):
                        self.made(maker)  # before it is made for each seed of a study
                return self._scaled(maker), None
            teacher = as_module("teacher", self.teacher, f"for a student made by {name}")
            if _looks_at_examples(given_arguments):
                arguments.pop(EXAMPLES, None)
                some = some_examples(self.data, getattr(given_arguments, EXAMPLES))
                kept = kept_student(make, teacher, some, arguments, self.out, self.seed)
            else:
                kept = make(teacher, **arguments)
        return (kept.student, dict(kept.layer_map)) if isinstance(kept, Kept) else (kept, None)

    def _scaled(self, maker: Callable[[], Any]) -> Callable[[], Any]:
        """Return what makes new networks that give values on the scale of the labels."""
        if self.scale is None:
            return maker
        scale = self.scale

        def make() -> Any:
            found = maker()
            if not isinstance(found, nn.Module) or hasattr(found, "save_pretrained"):
                return found
            if isinstance(found, Prepared):
                return Prepared(Rescaled(found.wrapped, *scale), found.prepare)
            return Rescaled(found, *scale)

        return make

    def maker(self, argument: str, reference: str, outputs: int | None) -> Callable[[], Any]:
        """Return what makes the model of a reference anew at every call.

        A function of the user may have the arguments `features` (of the rows of a table, by which
        it is given prepared ones), `outputs`, and `data`, the recipe's `Splits`. `outputs` is the
        number of outputs that another model must have; None for those that it has.
        """
        code = code_in(reference)
        found: Any = None if code is None else find(argument, code)
        is_function = inspect.isroutine(found) or isinstance(found, (type, partial))
        if is_function and not _parameters_of(found).isdisjoint(_FROM_DATA):
            weights = reference.removeprefix(f"{code}@") if reference != code else None
            make = found if weights is None else with_weights(argument, found, weights)
            return self._made_by(argument, make)
        if reference != code:  # of another library, or a module with weights
            return partial(
                references.load_model, argument, reference, classes=outputs, trust=self.trust
            )
        if isinstance(found, nn.Module):
            return partial(deepcopy, found)
        return partial(load, argument, reference)

    def _made_by(
        self, argument: str, function: Callable[..., Any], given: Mapping[str, Any] | None = None
    ) -> Callable[[], Any]:
        """Return what calls a function with arguments that depend on the data."""
        wanted, outputs = _parameters_of(function), self.number_of_outputs() or self.outputs
        if "outputs" in wanted and outputs is None:
            raise DataError(
                f"`{argument}` must be told its number of outputs by the labels of the data or by "
                "a teacher, got neither; name a function without the argument `outputs`"
            )
        prepare = self.data.table_inputs(self.thresholds) if "features" in wanted else None
        known = {"data": self.data, "outputs": outputs, "features": prepare and prepare.features}
        arguments = {name: known[name] for name in _FROM_DATA if name in wanted} | dict(given or {})
        make = partial(function, **arguments)
        return make if prepare is None else lambda: Prepared(make(), prepare)

    def made(self, maker: Callable[[], Any]) -> Any:
        """Return a model; a random one is always made under the same seed."""
        with randomness.preserved():
            randomness.seed_everything(self.seed)
            return maker()

    def number_of_outputs(self) -> int | None:
        """Return how many outputs a model of this data has; None if its labels do not tell."""
        if self.data.kind in ("classes", "binary", "tags"):
            return len(self.data.classes) or None
        if self.data.kind != "values" or self.data.train is None:
            return None
        label = self.data.train[0][1]
        return 1 if label.ndim == 0 else len(label)

    def load_data(self, options: DataOptions | str) -> Splits:
        """Return the data of a recipe, or of one reference to Python data."""
        with self.at(("data",)), randomness.preserved():
            randomness.seed_everything(self.seed)
            if isinstance(options, str) and is_python(options):
                found: Any = load("data", options)
                if isinstance(found, Splits):
                    return found
                known = {"train", "val", "test", "unlabelled"}
                is_dict = isinstance(found, dict)
                if isinstance(found, nn.Module) or (
                    is_dict and not {"train"} <= found.keys() <= known
                ):
                    raise DataError(
                        "`data` must name data, or a dict of data sets with the keys train, val, "
                        "test and unlabelled, of which only train must be there, got "
                        f"{describe(found)}; give one"
                    )
                return load_by_reference("data", found if is_dict else {"train": found}, load)
            return load_by_reference("data", options, load)


def following(
    optimizer: torch.optim.Optimizer, steps: int, *, schedule: Schedule
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the scheduler that multiplies the learning rate by a schedule over all steps."""
    # Of a partial its arguments belong to a run's identity, which what a lambda refers to does not.
    factor = partial(_factor, schedule, max(1, steps))
    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _factor(schedule: Schedule, steps: int, step: int) -> float:
    return schedule(step / steps)


def with_weights(
    argument: str, function: Callable[..., Any], path: str
) -> Callable[..., nn.Module]:
    """Return a function that makes a model with the weights of a file."""

    @wraps(function)
    def make(*given: Any, **named: Any) -> nn.Module:
        model = as_module(argument, function(*given, **named), f"with the weights of {path}")
        load_weights(model, read_weights(Path(path).expanduser()), path)
        return model

    return make


def _dry_run(make: Any, scheduler: MakeScheduler | None = None) -> None:
    """Make an optimizer and a scheduler for a small parameter, and step both."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    optimizer = make([parameter])
    with without_notices():
        made, _ = make_scheduler(scheduler, optimizer, _DRY_RUN_STEPS)
    optimizer.step()
    if made is not None:
        made.step()


def as_module(argument: str, found: Any, why: str) -> nn.Module:
    """Return a module; refuse anything else."""
    if not isinstance(found, nn.Module):
        raise ArgumentError(
            f"`{argument}` must be a torch.nn.Module {why}, got {type(found).__name__}; name one, "
            "or a function that returns one"
        )
    return found


def uses_teacher(given: StudentSpec | None, *, examples: bool = False) -> bool:
    """Tell whether a student is made from the teacher's layers.

    Args:
        given: The student.
        examples: Count only those whose layers are chosen by training examples.
    """
    root = None if given is None else given.root
    if not isinstance(root, Choice):
        return False
    name, found = root.one()
    if examples:
        return _looks_at_examples(found)
    return "teacher" in _parameters_of(_target(name, found, ("student", name)))


def _looks_at_examples(given: Any) -> bool:
    return isinstance(given, Arguments) and EXAMPLES in type(given).model_fields


def _target(name: str, given: Any, place: Sequence[str]) -> Any:
    """Return the class or function at a place: one of the library's, or of the user's."""
    if isinstance(given, Arguments):
        return target_of(type(given))
    return find(dotted(tuple(place[:-1])), name)


def _kinds(name: str) -> tuple[type[Exception], ...]:
    """Return the errors that mean wrong arguments: of the library's own classes any."""
    return _WRONG_ARGUMENTS if ":" in name else (Exception,)


def _weighed(given: Any) -> bool:
    return isinstance(given, Arguments) and "weight" in type(given).model_fields


def _parameters_of(function: Any) -> set[str]:
    """Return the names of a function's parameters; none where they are not known."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _warn_if_enlarged(argument: str, model: Any, data: Splits) -> None:
    """Warn of a model that takes the time for large images and is given small ones."""
    prepare = model.prepare if isinstance(model, Prepared) else None
    if data.form != "image" or not isinstance(prepare, ImageInputs) or prepare.resize is None:
        return
    first: Any = data.train[0]
    height, width = (first[0] if isinstance(first, tuple) else first).shape[-2:]
    edge = prepare.resize if isinstance(prepare.resize, int) else min(prepare.resize)
    if edge > _ENLARGED * min(height, width):
        logging.getLogger("tutelage.recipes").warning(
            "`%s` enlarges images of %d × %d pixels to %d, which takes time and adds no detail: "
            "write image_size: %d if the files are larger, or ?size=%d behind the model's name",
            *(argument, height, width, edge, edge, min(height, width)),
        )
