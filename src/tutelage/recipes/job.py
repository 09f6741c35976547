"""A recipe that is carried out: its parts are built, and the calls that it stands for are made."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torch import nn

from tutelage.data import OnPolicy
from tutelage.datasets import DataOptions, Splits
from tutelage.errors import ArgumentError, RecipeError
from tutelage.layers import TextInputs
from tutelage.objectives import Objective
from tutelage.recipes.building import Builder, looks_at_examples
from tutelage.recipes.choices import Choice, ModelName, StudentSpec
from tutelage.recipes.kept_layers import kept_student, spread
from tutelage.recipes.left_behind import write_student
from tutelage.recipes.messages import shortened
from tutelage.recipes.model import RecipeModel
from tutelage.recipes.objects import as_module, load_data, number_of_outputs
from tutelage.recipes.reading import Document, Place
from tutelage.recipes.signatures import parameters
from tutelage.recipes.tokens import check_objectives, in_tokens
from tutelage.references import text_inputs_of
from tutelage.store import TargetStore
from tutelage.studies.kinds import on_labels
from tutelage.teachers import Specialist, Stored
from tutelage.training import Run, distill, fine_tune, label
from tutelage.wants import Fields

_LOG = logging.getLogger(__name__)


class Job:
    """The objects of a recipe; each is built once, when it is first needed.

    Args:
        model: The recipe.
        document: For the lines of its keys.
        out: The folder of everything that is made.
    """

    def __init__(self, model: RecipeModel, document: Document, out: Path) -> None:
        self.model, self.document, self.out = model, document, out
        training: Any = model.training
        seed = 0 if training is None else training.seed
        with self.named(("training",)):
            if seed < 0:
                raise ArgumentError(f"`seed` must be at least 0, got {seed}; any integer from 0 on")
        self.seed = seed
        self.build = Builder(document, lambda: self.data_as_given, seed)
        self.build.layer_map = partial(self.layer_map, model.student, ("student",))
        self.build.keep = self._keep
        self.build.tokens = lambda: self.tokens

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The keyword arguments of `distill` that are settings of the training."""
        given: Any = self.model.training
        return self.with_metrics(self.build.arguments(given, ("training",)))

    def with_metrics(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings in which metrics that are classes are objects of these.

        One with an argument `names`, such as `EntityF1`, is given the classes of the data.
        """
        metrics = dict(settings.get("metrics") or {})
        for name, each in metrics.items():
            if isinstance(each, type):
                wanted: Any = each
                named = "names" in parameters(wanted)
                metrics[name] = wanted(names=self.data.classes) if named else wanted()
        return settings | {"metrics": metrics} if metrics else settings

    @cached_property
    def asked(self) -> dict[str, Any]:
        """What the student is asked for: `objective` or `stages`; neither if there is none."""
        objective, stages = self.model.objective, self.model.stages
        if objective is not None and stages is not None:
            raise RecipeError(
                f"{self.document.where(('stages',))}: `stages` have objectives of their own, got "
                "`objective` beside them; leave that out"
            )
        if objective is not None:
            return {"objective": self.build.objective(objective, ("objective",))}
        return {} if stages is None else {"stages": self.build.value(stages, ("stages",))}

    def layer_map(self, student: StudentSpec | None, place: Place) -> dict[str, str]:
        """Return which layer of the teacher each layer of the student is."""
        root: Any = None if student is None else student.root
        chosen = root.chosen().values() if isinstance(root, Choice) else ()
        # What a fine-tuned teacher's layers do with examples is not what they did before.
        by_examples = any(map(looks_at_examples, chosen))
        teacher = self.teacher if by_examples else self.live_teacher
        return self.build.map_of(student, place, teacher)

    def _keep(self, make: Any, teacher: nn.Module, examples: int, others: dict[str, Any]) -> Any:
        """Return a student of layers that are chosen by examples of the training data."""
        some = spread(self.data, examples)
        return kept_student(make, teacher, some, others, self.out, self.seed)

    @cached_property
    def data(self) -> Splits:
        """The data sets, with classes in the order of the teacher's outputs."""
        self.live_teacher  # noqa: B018 - from which the names of its classes are known
        found = self.data_as_given
        if self.tokens is not None:
            return in_tokens(found, self.tokens, ends=self.model.on_policy is None)
        teachers = self._teacher_classes("teacher")
        names = next((each for each in teachers.values() if not self._fit(each, found)), None)
        if names is None:
            return found
        options = self.model.data.root
        one = len(set(teachers.values())) == 1 and isinstance(options, DataOptions)
        if one and set(found.classes) <= set(names) and _by_name(found):
            with self.build.at(("data",)):
                found = load_data("data", options.model_copy(update={"classes": names}), self.seed)
            self.build.data = lambda: found
            return found
        if self.model.fine_tune is None:
            self.check_classes("teacher", found)
        return found

    def check_classes(self, section: str, data: Splits) -> None:
        """Refuse teachers of a section whose outputs are not in the order of the data's classes."""
        for place, names in self._teacher_classes(section).items():
            if not self._fit(names, data):
                way = "(`label:` in `data`, in their order)"
                if _by_name(data):
                    way = "(`classes:` in `data`; of several, `labels:` of a Specialist for each)"
                raise RecipeError(
                    f"{self.document.where(place)}: the teacher must have the classes of the data, "
                    f"{shortened(data.classes)}, got {shortened(names or ())}; fine-tune it on the "
                    f"data (`fine_tune:`), or give names to its outputs {way}"
                )

    def _fit(self, names: tuple[str, ...] | None, data: Splits) -> bool:
        """Tell whether outputs of these names, if they have some, are those of the data.

        A recipe may call them otherwise, by `classes` in their order.
        """
        if not names or data.kind in (None, "values") or names == data.classes:
            return True
        given = getattr(self.model.data.root, "classes", None)
        same = len(names) == len(data.classes) and set(names).isdisjoint(data.classes)
        return given is not None and same

    @cached_property
    def train(self) -> Any:
        """The training data, or prompts of it from which the student writes texts."""
        given: Any = self.model.on_policy
        if given is None:
            return self.data.train
        if self.model.label is not None:
            raise RecipeError(
                f"{self.document.where(('label',))}: `label` stores outputs for texts that are "
                "given, got `on_policy` too, whose texts are new; leave one of them out"
            )
        place = ("on_policy",)
        with self.build.at(place):
            return OnPolicy(self.data.train, **self.build.arguments(given, place))

    def _teacher_classes(self, section: str) -> dict[Place, tuple[str, ...] | None]:
        """Return the classes of a section's teachers, but of those whose classes it says itself."""
        return {
            at: names
            for at, names in self.build.class_names.items()
            if at[0] == section and Specialist.__name__ not in at
        }

    @cached_property
    def data_as_given(self) -> Splits:
        """The data sets, before the teacher's classes are known."""
        with self.build.at(("data",)):
            found = load_data("data", self.model.data.root, self.seed)
        if found.described:
            _LOG.info("Data: %s", found.described)
        return found

    @cached_property
    def tokens(self) -> TextInputs | None:
        """How texts become the student's tokens; None unless it is a language model of `hf:`."""
        data = self.data_as_given
        if data.form != "text" or data.kind is not None:
            return None
        for name in ("student", "teacher"):  # of whose layers a student may be made
            root: Any = getattr(getattr(self.model, name), "root", None)
            if isinstance(root, ModelName):
                with self.build.at((name,)):
                    return text_inputs_of(name, root.root)
        return None

    @cached_property
    def live_teacher(self) -> Any:
        """The teacher as it is, before it is fine-tuned; None for none."""
        given = self.model.teacher
        if given is None:
            return None
        if self.model.fine_tune is not None:
            self.build.teacher_outputs = number_of_outputs(self.data_as_given)
        found = self.build.value(given, ("teacher",))
        self.build.teacher_outputs = None
        if self.model.fine_tune is not None:
            with self.build.at(("teacher",)):
                own = ", on texts in tokens of its own" if self.tokens is not None else ""
                as_module("teacher", found, f"to be fine-tuned{own}")
        return found

    @cached_property
    def teacher(self) -> Any:
        """The teacher that the student learns from: fine-tuned and stored if the recipe says so."""
        found = self.live_teacher
        tuned: Any = self.model.fine_tune
        if tuned is not None:
            if found is None:
                raise self.missing("teacher", "the model to fine-tune")
            given = self.build.arguments(tuned, ("fine_tune",))
            settings: dict[str, Any] = self.with_metrics(given)
            kind = self.data.kind
            if kind is not None:
                outputs = "classes" if kind == "tags" else kind
                settings.setdefault("objective", on_labels(outputs))
            with self.named(("fine_tune",)):
                found = fine_tune(
                    deepcopy(found),  # the user's code may hold on to it
                    train=self.data.train,
                    val=self.data.val,
                    out=self.out / "teacher",
                    **settings,
                ).student
        return found

    def student(self, teacher: Any) -> nn.Module:
        """Return a fresh student, which may be made from the teacher's layers."""
        if self.model.student is None:
            raise self.missing("student", "the model to train")
        self.build.teacher = teacher
        return self.build.student(self.model.student, ("student",))

    def distill(self) -> Run:
        """Distil the student."""
        if self.model.objective is None and self.model.stages is None:
            raise self.missing("objective", "such as SoftTargets: {temperature: 4}")
        settings, data, train = self.settings, self.data, self.train
        self._check_sections()
        asked = self.asked
        self._check_tokens(asked)
        teacher = self.teacher
        student = self.student(teacher)
        if self.model.label is not None:
            splits = ("train",) if data.val is None else ("train", "val")
            teacher = Stored(*self.stores(splits).values())
        with self.named(("training",)):
            run = distill(
                teacher,
                student,
                train=train,
                val=data.val,
                out=self.out,
                **asked,
                **settings,
            )
        if os.environ.get("RANK", "0") == "0":
            write_student(self.out, run.student, data, run.objective, self.tokens)
        return replace(run, class_names=data.classes)

    def _check_sections(self) -> None:
        """Build the settings of what comes first, so that nothing wrong in them is found late."""
        for name in ("fine_tune", "label"):
            self.build.arguments(getattr(self.model, name), (name,))

    def _check_tokens(self, asked: dict[str, Any]) -> None:
        """Refuse objectives that a teacher with another tokenizer cannot teach."""
        [(name, found)] = asked.items()
        with self.build.at((name,)):
            objectives = [found] if name == "objective" else [each.objective for each in found]
            check_objectives(self.live_teacher, objectives)

    def label(self) -> dict[str, TargetStore]:
        """Store the teacher's outputs for all data."""
        present = [
            each for each in ("train", "val", "test") if getattr(self.data, each) is not None
        ]
        return self.stores(present)

    def stores(self, splits: Sequence[str]) -> dict[str, TargetStore]:
        """Return the teacher's stored outputs for parts of the data, made if they are missing."""
        if self.teacher is None:
            raise self.missing("teacher", "the model whose outputs are stored")
        given: Any = self.model.label
        settings = self.build.arguments(given, ("label",))
        found = {}
        for name in splits:
            if name != "train":
                settings |= {"views": 1}  # only training data is augmented
            with self.named(("label",)):
                found[name] = label(
                    self.teacher,
                    getattr(self.data, name),
                    out=self.out / "targets" / name,
                    fields=self._fields(),
                    **settings,
                )
        return found

    def _fields(self) -> Objective | Fields | None:
        """Return what must be stored: what the objectives require of the teacher."""
        objectives = [each.objective for each in self.asked.get("stages", ())]
        if "objective" in self.asked:
            objectives = [self.asked["objective"]]
        wanted = [each for each in objectives if each.wants.teacher]
        if len(wanted) < 2:  # noqa: PLR2004 - one objective, from which more can be told
            return wanted[0] if wanted else None
        fields = Fields()
        for each in wanted:
            fields |= each.wants.teacher
        return fields

    @contextmanager
    def named(self, section: Place) -> Iterator[None]:
        """Name the line of a setting that is outside its range."""
        try:
            yield
        except ArgumentError as error:
            found = re.match(r"`(\w+)`", str(error))
            place = (*section, found[1] if found else "")
            if place not in self.document.origins or isinstance(error, RecipeError):
                raise
            raise RecipeError(f"{self.document.where(place)}: {error}") from error

    def missing(self, key: str, example: str) -> RecipeError:
        """Return the error that a section is missing."""
        return RecipeError(
            f"{self.document.source}: `{key}` must be given; add `{key}:`, {example}"
        )


def _by_name(data: Splits) -> bool:
    """Tell whether labels are names, rather than columns of binary labels."""
    return data.kind != "binary" or len(data.labels) == 1
