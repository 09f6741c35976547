"""`Recipe`: a whole job from a YAML file, the same as the Python calls that it stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tutelage import __version__
from tutelage.errors import ArgumentError, RecipeError, RunFolderError
from tutelage.files import writing
from tutelage.recipes.building import Builder
from tutelage.recipes.messages import recipe_error
from tutelage.recipes.model import RecipeModel
from tutelage.recipes.objects import Splits, as_module, load_data
from tutelage.recipes.overrides import override
from tutelage.recipes.reading import Document, read_document
from tutelage.recipes.resolved import resolved, written
from tutelage.recipes.signatures import Arguments
from tutelage.training import Run, Stage, distill, fine_tune


class Recipe:
    """Teacher, student, data, objective and training of a whole job.

    `Recipe.from_file("recipe.yaml").run()` is what `tutelage distill recipe.yaml` does.

    Args:
        values: What a YAML file would contain.
        name: For the default folder, `runs/NAME`.

    Raises:
        RecipeError: A key is unknown or missing, or a value is wrong.

    >>> recipe = Recipe({"student": "mine.py:net", "data": "mine.py:data"})
    >>> recipe.out
    PosixPath('runs/recipe')
    """

    def __init__(self, values: Mapping[str, Any] | Document, name: str = "recipe") -> None:
        self.document = values if isinstance(values, Document) else Document(dict(values), "recipe")
        try:
            self.model = RecipeModel.model_validate(self.document.values)
        except ValidationError as error:
            raise recipe_error(error, self.document) from error
        except RecursionError as error:
            raise RecipeError(
                f"{self.document.source} must not be nested so deeply; simplify it"
            ) from error
        self.out = Path(self.model.out or f"runs/{name}").expanduser()

    @classmethod
    def from_file(cls, path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
        """Read a recipe.

        Args:
            path: Of a YAML file.
            overrides: Values that replace those of the file, such as `training.epochs=5`.

        Raises:
            RecipeError: The file cannot be read, a key is unknown or missing, or a value is wrong.
        """
        document = read_document(Path(path).expanduser())
        override(document, overrides)
        return cls(document, Path(path).stem)

    @property
    def seed(self) -> int:
        """The seed of the training, under which models are made too."""
        return self._training.get("seed", 0)

    @property
    def _training(self) -> dict[str, Any]:
        """The settings of the training as they were given."""
        given: Any = self.model.training
        return (
            {} if given is None else {name: getattr(given, name) for name in given.model_fields_set}
        )

    def resolved(self) -> str:
        """Return the recipe as YAML, with what was overridden and with defaults of the library."""
        values = resolved(self.model)
        return written({**values, "out": str(self.out)}, __version__)

    def run(self) -> Run:
        """Distil the student as the recipe states, or resume that.

        Raises:
            TutelageError: As `tl.distill`; errors in the recipe name its line.
        """
        builder = self._builder()
        student_given: Any = self.model.student
        if student_given is None:
            raise self._missing("student", "the model to train")
        settings = self._settings(builder)
        data = self._data(builder)
        with builder.at(("teacher",)):
            builder.teacher = self._teacher(builder, data)
        student = builder.student(student_given, ("student",))
        self._keep()
        with self._settings_named():
            run = distill(
                builder.teacher,
                student,
                train=data.train,
                val=data.val,
                out=self.out,
                **self._asked(builder),
                **settings,
            )
        self._keep(replace=True)
        return run

    @contextmanager
    def _settings_named(self) -> Iterator[None]:
        """Name the line of a setting of the training that is out of its range."""
        try:
            yield
        except ArgumentError as error:
            named = re.match(r"`(\w+)`", str(error))
            place = ("training", named[1] if named else "")
            if place not in self.document.origins:
                raise
            raise RecipeError(f"{self.document.where(place)}: {error}") from error

    def _builder(self) -> Builder:
        return Builder(self.document, self.seed)

    def _data(self, builder: Builder) -> Splits:
        options = (
            builder.value(self.model.data.root, ("data",))
            if isinstance(self.model.data.root, Arguments)
            else self.model.data.root.root
        )
        with builder.at(("data",)):
            return load_data("data", options, self.seed)

    def _settings(self, builder: Builder) -> dict[str, Any]:
        """Return the keyword arguments of `distill` that are settings of training."""
        given: Any = self.model.training
        return {} if given is None else builder.arguments(given, ("training",))

    def _asked(self, builder: Builder) -> dict[str, Any]:
        """Return what the student is asked for: an objective, or stages."""
        stages: Any = self.model.stages
        if stages is None:
            if self.model.objective is None:
                raise self._missing("objective", "SoftTargets: {temperature: 4}")
            return {"objective": builder.objective(self.model.objective, ("objective",))}
        if self.model.objective is not None:
            raise RecipeError(
                f"{self.document.where(('stages',))}: `stages` have objectives of their own, got "
                "`objective` beside them; leave that out"
            )
        if isinstance(stages.root, list):
            return {"stages": builder.value(stages.root, ("stages",))}
        made: list[Stage] = builder.value(stages.root.blockwise, ("stages", "blockwise"))
        return {"stages": made}

    def _teacher(self, builder: Builder, data: Splits) -> Any:
        """Return the teacher, fine-tuned if the recipe says so."""
        given: Any = self.model.teacher
        if given is None:
            return None
        tuned: Any = self.model.fine_tune
        if tuned is None:
            return builder.value(given, ("teacher",))
        found = builder.value(given, ("teacher",))
        teacher = as_module("teacher", found, "to be fine-tuned")
        settings = builder.arguments(tuned, ("fine_tune",))
        with builder.at(("fine_tune",)):
            run = fine_tune(
                teacher, train=data.train, val=data.val, out=self.out / "teacher", **settings
            )
        return run.student

    def _keep(self, replace: bool = False) -> None:
        """Write the resolved recipe into the folder; before the run only if there is none yet."""
        path = self.out / "recipe.yaml"
        if os.environ.get("RANK", "0") != "0" or (path.exists() and not replace):
            return
        with writing(self.out, RunFolderError):
            self.out.mkdir(parents=True, exist_ok=True)
            path.write_text(self.resolved(), encoding="utf-8")

    def _missing(self, key: str, example: str) -> RecipeError:
        return RecipeError(
            f"{self.document.source}: `{key}` must be given; add `{key}:`, {example}"
        )

    def __repr__(self) -> str:
        return f"Recipe({self.document.source})"
