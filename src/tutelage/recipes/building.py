"""From the parts of a recipe to the objects that they name."""

from __future__ import annotations

import errno
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, RootModel
from torch import Tensor, nn

from tutelage import references
from tutelage.data import Chain, randomness
from tutelage.datasets import DataOptions, Splits, TableInputs
from tutelage.datasets import load_data as load_by_reference
from tutelage.datasets.python_data import is_python
from tutelage.errors import ArgumentError, DataError, RecipeError, TutelageError, in_short
from tutelage.layers import ImageInputs, Prepared, Rescaled, TextInputs
from tutelage.nested import describe
from tutelage.objectives import Objective
from tutelage.recipes.kept_layers import kept_student, spread
from tutelage.recipes.language import check_student, read_as_student, tokenizers
from tutelage.recipes.messages import dotted
from tutelage.recipes.model import (
    EXAMPLES,
    STEP_COUNT_PARAMETERS,
    BlockwiseStages,
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
from tutelage.references.python_object import find, load
from tutelage.schedules import Schedule
from tutelage.store import manifest
from tutelage.students import Kept
from tutelage.teachers import Retokenized, Teacher
from tutelage.training.settings import MakeOptimizer, MakeScheduler

_FROM_DATA = ("data", "features", "outputs")
"""Arguments of a user's function that are taken from the data of the recipe."""
_PACKAGES = ("objectives", "teachers", "data", "evaluation", "layers")
"""Packages whose functions and classes a recipe may name without their module."""
_ENLARGED = 1.5
_TRIED_STEPS = 4


@dataclass
class Builder:
    """Builds objects; errors name the line of the recipe.

    What objects may depend on becomes known in the order of these attributes, and is set by `Job`.

    Args:
        document: For the lines.
        out: The folder of the recipe, for the layers that are chosen by examples.
        seed: Under which models are made.
        trust: Whether models may run code of their own, see `references.load_model`.
        data: The data of the recipe.
        tokens: How texts become the student's tokens; None where the data has none.
        teacher_outputs: How many outputs teachers must have; None for those that they have.
        class_names: By place, the names of the classes of the teachers that were loaded.
        teacher: For students that are made from its layers.
        table_inputs: The preprocessing of rows, of a student that is already trained; None to fit
            it to the data.
        outputs: The number of a student's outputs, where the data has no labels that tell it.
        scale: Mean and deviation of the values that students learn; None to leave them.
        layer_map: Which layer of the teacher each layer of the student is; None if it is not made
            from these.
    """

    document: Document
    out: Path = Path()
    seed: int = 0
    trust: bool = False
    data: Any = None
    tokens: TextInputs | None = None
    teacher_outputs: int | None = None
    class_names: dict[Place, tuple[str, ...] | None] = field(default_factory=dict)
    teacher: Any = None
    table_inputs: TableInputs | None = None
    outputs: int | None = None
    scale: tuple[Tensor, Tensor] | None = None
    layer_map: Mapping[str, str] | None = None

    @contextmanager
    def at(self, place: Place) -> Iterator[None]:
        """Name the place in the library's errors; any others are those of the user's code."""
        try:
            yield
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            raise RecipeError(
                f"{self.document.where(place)}: `{dotted(place)}` must be a shorter name, got "
                f"{error.strerror}; correct it"
            ) from error
        except TutelageError as error:
            if str(error).startswith(self.document.source) or len(error.args) != 1:
                raise
            kind = RecipeError if isinstance(error, ArgumentError) else type(error)
            raise kind(f"{self.document.where(place)}: {error}") from error

    @contextmanager
    def arguments_at(self, place: Place) -> Iterator[None]:
        """As `at`, where any error of arguments means that those of the recipe are wrong."""
        try:
            with self.at(place):
                yield
        except TutelageError:
            raise
        except (TypeError, ValueError, NotImplementedError) as error:
            raise RecipeError(
                f"{self.document.where(place)}: `{dotted(place)}` must be given what it accepts, "
                f"got: {in_short(error)}; correct that"
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
        found = {
            name: self.value(getattr(given, name), (*place, name))
            for name, each in type(given).model_fields.items()
            if name in given.model_fields_set
            and name not in omit
            and not _same(getattr(given, name), each.default)
        }
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
        with self.arguments_at(place):
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
            with _sizes() if ":" not in name else nullcontext():
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
            if isinstance(weight, float) and weight > torch.finfo(torch.float32).max:
                raise ArgumentError(f"`weight` must be a float32, got {weight}; give less")
            with _sizes():
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
            _dry_run(make, None)
        return make

    def scheduler(self, given: Choice, place: Place) -> MakeScheduler:
        """Return what makes a scheduler, tried on a small parameter."""
        kind, arguments, place = self._named(given, place)
        with self.arguments_at(place):
            if isinstance(kind, type) and issubclass(kind, Schedule):
                make: Any = ScheduledRate(kind(**arguments))
            else:
                known = parameters(kind)
                counts = [each for each in STEP_COUNT_PARAMETERS if each in known]
                counts = tuple(each for each in counts if each not in arguments)
                make = StepScheduler(kind, arguments, counts)
            _dry_run(torch.optim.SGD, make)
        return make

    def _named(self, given: Choice, place: Place) -> tuple[Any, dict[str, Any], Place]:
        [(name, found)] = given.chosen().items()
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
            packages = [import_module(f"tutelage.{each}") for each in _PACKAGES]
            known = {each: getattr(found, each) for found in packages for each in found.__all__}
            if name not in known:
                raise ArgumentError(
                    f"`{dotted(place)}` must be a function of the library, package.module:name or "
                    f"file.py:name, got {name!r}; correct it"
                )
            return known[name]

    def model(self, given: ModelName, place: Place) -> Any:
        """Return a teacher: a module, a teacher of another kind, or the folder of a store."""
        if is_store(given.root):
            return given.root
        argument = dotted(place)
        with self.at(place):
            found = self.made(self.maker(argument, given.root, self.teacher_outputs))
            columns = self.data.columns
            if isinstance(found, Teacher) and columns is not None:
                found = references.with_columns(found, columns)
            if isinstance(found, (nn.Module, Teacher)):
                self.class_names[place] = references.class_names(found)
            _note_enlarged(argument, found, self.data)
            if Retokenized.__name__ in place:  # `call` makes one of it
                return found
            return read_as_student(argument, found, given.root, self.tokens, trust=self.trust)

    def student_maker(self, given: StudentSpec, place: Place) -> Callable[[], Any] | nn.Module:
        """Return what makes fresh students, or one that is made from the teacher's layers."""
        root: Any = given.root
        if isinstance(root, ModelName):
            with self.at(place):
                check_student(dotted(place), root.root, self.tokens, trust=self.trust)
                maker = self.maker(dotted(place), root.root, self.number_of_outputs())
                return self._scaled(maker) if is_python(root.root) else maker
        make, arguments, place = self._named(root, place)
        with self.arguments_at(place):
            if "teacher" not in parameters(make):
                maker = self._made_by(dotted(place), make, arguments)
                if ":" not in place[-1]:
                    with _sizes():
                        self.made(maker)  # before it is made for each seed of a study
                return self._scaled(maker)
            kept = self._of_teacher(make, root, arguments)
            return kept if isinstance(kept, nn.Module) else kept.student

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

    def student(self, given: StudentSpec, place: Place) -> nn.Module:
        """Return a fresh student."""
        maker = self.student_maker(given, place)
        with self.at(place):
            found = maker if isinstance(maker, nn.Module) else self.made(maker)
            _note_enlarged(dotted(place), found, self.data)
            return as_module(dotted(place), deepcopy(found), "to be trained")

    def map_of(self, given: StudentSpec | None, place: Place) -> dict[str, str] | None:
        """Return which layer of the teacher each layer of a student is, if it is made of them."""
        if not uses_teacher(given):
            return None
        root: Any = cast("StudentSpec", given).root
        make, arguments, place = self._named(root, place)
        with self.arguments_at(place):
            kept = self._of_teacher(make, root, arguments)
        return dict(kept.layer_map) if isinstance(kept, Kept) else None

    def _of_teacher(self, make: Any, given: Choice, arguments: dict[str, Any]) -> Any:
        """Return what a function makes of the teacher, and of examples if it looks at these."""
        [(name, found)] = given.chosen().items()
        teacher = as_module("teacher", self.teacher, f"for a student made by {name}")
        if not _looks_at_examples(found):
            return make(teacher, **arguments)
        others = {key: each for key, each in arguments.items() if key != EXAMPLES}
        some = spread(self.data, getattr(found, EXAMPLES))
        return kept_student(make, teacher, some, others, self.out, self.seed)

    def maker(self, argument: str, reference: str, outputs: int | None) -> Callable[[], Any]:
        """Return what makes the model of a reference anew at every call.

        A function of the user may have the arguments `features` (of the rows of a table, by which
        it is given prepared ones), `outputs`, and `data`, the recipe's `Splits`. `outputs` is the
        number of outputs that another model must have; None for those that it has.
        """
        if not is_python(reference):
            return partial(
                references.load_model, argument, reference, classes=outputs, trust=self.trust
            )
        found: Any = find(argument, reference)
        if isinstance(found, nn.Module):
            return partial(deepcopy, found)
        is_function = inspect.isroutine(found) or isinstance(found, (type, partial))
        if is_function and not _parameters_of(found).isdisjoint(_FROM_DATA):
            return self._made_by(argument, found)
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
        prepare = None
        if "features" in wanted:
            prepare = self.table_inputs or self.data.table_inputs()
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
                found = load("data", options)
                if isinstance(found, Splits):
                    return found
                options = _as_options(found)
            return load_by_reference("data", options, load)


@dataclass(frozen=True)
class StepScheduler:
    """A scheduler of PyTorch whose length is the number of optimizer steps.

    Args:
        kind: Its class.
        arguments: By name.
        counts: The parameters that count optimizer steps.
    """

    kind: Callable[..., torch.optim.lr_scheduler.LRScheduler]
    arguments: Mapping[str, Any]
    counts: tuple[str, ...] = ()

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{getattr(self.kind, '__name__', self.kind)}({words})"

    def __call__(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Make the scheduler."""
        return self.kind(optimizer, **self.arguments, **dict.fromkeys(self.counts, steps))


@dataclass(frozen=True)
class ScheduledRate:
    """Multiplies the learning rate by a schedule."""

    schedule: Schedule

    def __repr__(self) -> str:
        return f"learning rate * {self.schedule!r}"

    def __call__(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Make a scheduler that is at progress step / steps."""
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.schedule(step / max(1, steps))
        )


def is_store(reference: str) -> bool:
    """Tell whether a reference is the folder of stored targets."""
    try:
        return (Path(reference) / manifest.NAME).is_file()
    except (OSError, ValueError):  # no possible path
        return False


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
    [(name, found)] = root.chosen().items()
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


def _weighed(given: Any) -> bool:
    return isinstance(given, Arguments) and "weight" in type(given).model_fields


def _same(value: Any, default: Any) -> bool:
    """Tell whether a value is the default: 1 is not True."""
    return not isinstance(value, BaseModel) and value == default and type(value) is type(default)


def _parameters_of(function: Any) -> set[str]:
    """Return the names of a function's parameters; none where they are not known."""
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _as_options(found: Any) -> DataOptions:
    known = {"train", "val", "test", "unlabelled"}
    if not isinstance(found, (dict, nn.Module)):
        return DataOptions(train=found)
    if isinstance(found, nn.Module) or not {"train"} <= found.keys() <= known:
        raise DataError(
            "`data` must name data, or a dict of data sets with the keys train, val, test "
            f"and unlabelled, of which only train must be there, got {describe(found)}; give one"
        )
    return DataOptions(**found)


def _dry_run(make: Any, schedule: Any) -> None:
    """Make an optimizer and a scheduler for a small parameter, and step both."""
    parameter = nn.Parameter(torch.zeros(2, 2))
    parameter.grad = torch.zeros(2, 2)
    with _sizes():
        optimizer = make([parameter])
        scheduler = None if schedule is None else schedule(optimizer, _TRIED_STEPS)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()


@contextmanager
def _sizes() -> Iterator[None]:
    """Make one error of those that sizes out of range lead to in code that is not the user's."""
    try:
        yield
    except (RuntimeError, ArithmeticError, AssertionError, LookupError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _note_enlarged(argument: str, model: Any, data: Splits) -> None:
    """Warn, once, of a model that takes the time for large images and is given small ones."""
    prepare = model.prepare if isinstance(model, Prepared) else None
    if data.form != "image" or not isinstance(prepare, ImageInputs) or prepare.resize is None:
        return
    first: Any = data.train[0]
    height, width = (first[0] if isinstance(first, tuple) else first).shape[-2:]
    edge = prepare.resize if isinstance(prepare.resize, int) else min(prepare.resize)
    if edge > _ENLARGED * min(height, width):
        _warn_once(
            f"`{argument}` enlarges images of {height} × {width} pixels to {edge}, which takes "
            f"time and adds no detail: write image_size: {edge} if the files are larger, or, for "
            f"a model of timm or torchvision, ?size={min(height, width)} behind its name, with "
            "which it runs on images as they are"
        )


@cache
def _warn_once(message: str) -> None:
    logging.getLogger("tutelage.recipes").warning(message)
