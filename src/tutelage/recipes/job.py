"""A recipe that is carried out: its parts are built, and the calls that it stands for are made."""

from __future__ import annotations

import logging
import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tutelage.data import OnPolicy, as_source, randomness
from tutelage.datasets import DataOptions, Splits
from tutelage.datasets.python_data import is_python
from tutelage.errors import ArgumentError, RecipeError, some_of
from tutelage.objectives import Objective
from tutelage.recipes.building import Builder, as_module, uses_teacher
from tutelage.recipes.language import in_tokens
from tutelage.recipes.model import RecipeModel, spelled_out
from tutelage.recipes.reading import Document, Place
from tutelage.recipes.signatures import FROM_STUDENT, ModelName, parameters
from tutelage.recipes.student_files import write_student
from tutelage.recipes.teacher_check import r2, sample_of, scale_of, warn_of_poor_teacher
from tutelage.references import text_inputs_of
from tutelage.references.split_thresholds import thresholds_by_name
from tutelage.store import TargetStore
from tutelage.tasks import TASKS
from tutelage.teachers import Specialist, Stored
from tutelage.training import Run, distill, fine_tune, label
from tutelage.training.engine import as_engine
from tutelage.training.stages import checked_stages
from tutelage.wants import Fields

THRESHOLDS = 48
"""At how many of the teacher's thresholds a number has steps: more overfit the labelled rows."""
_LOG = logging.getLogger(__name__)
_SOME, _SOME_LABELS = 1000, 10_000
"""How many labels the scale of values is computed from; more of a table, whose labels are read
fast."""


class Job:
    """The objects of a recipe, built in the order in which they depend on each other.

    First, here, what depends on nothing; then, by `load`, the data and the teacher; then, by each
    command, the student and what is done with it.

    Args:
        model: The recipe.
        document: For the lines of its keys.
        out: The folder of everything that is made.
        trust: Whether models may run code of their own.

    Attributes:
        build: What makes objects of the recipe's parts.
        settings: The arguments of `distill` in the section `training`.
        objectives: The argument `objective` or `stages` of `distill`; empty until it is known.
        data: As loaded, in the student's tokens, with classes in the order of the teacher's.
        given_teacher: The teacher as it came, before it is fine-tuned.
        tuned: The teacher that the student learns from; None until it is needed.
    """

    def __init__(
        self, model: RecipeModel, document: Document, out: Path, *, trust: bool = False
    ) -> None:
        self.model, self.document, self.out = model, document, out
        training: Any = model.training
        self.seed: int = 0 if training is None else training.seed
        tunes = model.fine_tune is not None
        self.build = build = Builder(document, out, self.seed, trust=trust, tunes=tunes)
        with build.named("training"):
            if self.seed < 0:
                raise ArgumentError(f"`seed` must be at least 0, got {self.seed}; correct it")
        self.settings = build.arguments(training, ("training",))
        self.fine_tuning = build.arguments(model.fine_tune, ("fine_tune",))
        self.labelling = build.arguments(model.label, ("label",))
        if model.label is not None and model.on_policy is not None:
            raise RecipeError(
                f"{document.where(('label',))}: `label` stores outputs for texts that are given, "
                "got `on_policy` too, whose texts are new; leave one of them out"
            )
        self._needs_map = names_map(model.objective, model.stages)
        self.objectives = {} if self._needs_map else self._objectives()
        self.data = Splits(None)
        self.given_teacher: Any = None
        self.tuned: Any = None

    def _objectives(self) -> dict[str, Any]:
        given = {"objective": self.model.objective, "stages": self.model.stages}
        found = {
            name: self.build.value(each, (name,))
            for name, each in given.items()
            if each is not None
        }
        if "stages" in found:
            with self.build.at(("stages",)):
                found["stages"] = checked_stages(found["stages"])
        return found

    def last_objective(self) -> Objective | None:
        """Return the objective that the student is trained on last."""
        stages = self.objectives.get("stages")
        return stages[-1].objective if stages else self.objectives.get("objective")

    def output_kind(self) -> str | None:
        """Return what the student's outputs are, as the objectives read them."""
        found = self.last_objective()
        return None if found is None else found.output_kind

    def kind(self) -> str | None:
        """Return what outputs hold: what the objectives read, else what labels are.

        Objectives on classes read tags too, and say nothing of labels that are values.
        """
        labels, read = self.data.kind, self.output_kind()
        if labels == "tags" or (labels == "values" and read == "classes"):
            return labels
        return read or labels

    @property
    def device(self) -> torch.device:
        """Where models run."""
        return as_engine(self.settings.get("engine")).torch_device()

    def missing(self, key: str, example: str) -> RecipeError:
        """Return the error that a section is missing."""
        return RecipeError(
            f"{self.document.source}: `{key}` must be given; add `{key}:`, {example}"
        )

    def load(self, *, teacher: bool = True, thresholds: int = THRESHOLDS) -> Job:
        """Load the data, and the teacher as it is before it is fine-tuned; return this job.

        Args:
            teacher: Whether there is a teacher.
            thresholds: Of each number, see the recipe's `thresholds`, where it does not say.
        """
        build, model = self.build, self.model
        self.data = build.data = build.load_data(model.data.root)
        if self.data.described:
            _LOG.info("Data: %s", self.data.described)
        self._find_tokens()
        if teacher and model.teacher is not None:
            self.given_teacher = build.value(model.teacher, ("teacher",))
            if model.fine_tune is not None:
                with build.at(("teacher",)):
                    own = ", on texts in tokens of its own" if build.tokens is not None else ""
                    as_module("teacher", self.given_teacher, f"to be fine-tuned{own}")
        if build.tokens is not None:
            self.data = in_tokens(self.data, build.tokens, ends=model.on_policy is None)
        else:
            self.data = self._in_order_of_teacher(self.data)
        build.data, columns = self.data, self.data.columns
        most = thresholds if model.thresholds is None else model.thresholds
        if self.given_teacher is not None and columns is not None and most:
            build.thresholds = thresholds_by_name(self.given_teacher, columns, most)
        self.settings, self.fine_tuning = map(self.made, (self.settings, self.fine_tuning))
        # What a fine-tuned teacher's layers do with examples is not what they did before.
        if not uses_teacher(model.student, examples=True):
            self.map_layers(self.given_teacher)
        return self

    def made(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return settings whose metrics are functions; classes of them may need class names."""
        metrics = dict(settings.get("metrics") or {})
        for name, each in metrics.items():
            if isinstance(each, type):
                named = {"names": self.data.classes} if "names" in parameters(each) else {}
                metrics[name] = each(**named)
        return settings | ({"metrics": metrics} if metrics else {})

    def _find_tokens(self) -> None:
        """Find how texts become the student's tokens, if it is a language model of `hf:`."""
        if self.data.form != "text" or self.data.kind is not None:
            return
        for name in ("student", "teacher"):  # of whose layers a student may be made
            root: Any = getattr(getattr(self.model, name), "root", None)
            if isinstance(root, ModelName):
                with self.build.at((name,)):
                    self.build.tokens = text_inputs_of(name, root.root, trust=self.build.trust)
                return

    def map_layers(self, teacher: Any) -> None:
        """Build the objective that is about the layers of which the student is made."""
        self.build.teacher = teacher
        if self._needs_map and not self.objectives:
            self.build.layer_map = self.build.map_of(self.model.student, ("student",))
            self.objectives = self._objectives()

    def _in_order_of_teacher(self, found: Splits) -> Splits:
        """Return the data with its classes in the order of the teacher's outputs."""
        teachers = self._teacher_classes("teacher")
        names = next((each for each in teachers.values() if not self._fit(each, found)), None)
        if names is None:
            return found
        options = self.model.data.root
        one = len(set(teachers.values())) == 1 and isinstance(options, DataOptions)
        if one and set(found.classes) <= set(names) and _by_name(found):
            return self.build.load_data(options.model_copy(update={"classes": names}))
        if self.model.fine_tune is None:
            self.check_classes("teacher", found)
        return found

    def check_classes(self, section: str, data: Splits) -> None:
        """Refuse teachers of a section whose outputs are not in the order of the data's classes."""
        for place, names in self._teacher_classes(section).items():
            if self._fit(names, data):
                continue
            way = "(`label:` in `data`, in their order)"
            if _by_name(data):
                way = "(`classes:` in `data`; of several, `labels:` of a Specialist for each)"
            raise RecipeError(
                f"{self.document.where(place)}: the teacher must have the classes of the data, "
                f"{some_of(data.classes)}, got {some_of(names or ())}; fine-tune it on the "
                f"data (`fine_tune:`), or give names to its outputs {way}"
            )

    def _fit(self, names: tuple[str, ...] | None, data: Splits) -> bool:
        """Tell whether outputs of these names, if they have some, are those of the data.

        A recipe may rename them: `classes`, in the order of the outputs.
        """
        if not names or data.kind in (None, "values") or names == data.classes:
            return True
        given = getattr(self.model.data.root, "classes", None)
        same = len(names) == len(data.classes) and set(names).isdisjoint(data.classes)
        return given is not None and same

    def _teacher_classes(self, section: str) -> dict[Place, tuple[str, ...] | None]:
        """Return the class names of a section's teachers.

        Without those in a `Specialist`, to which the recipe gives their classes.
        """
        return {
            at: names
            for at, names in self.build.class_names.items()
            if at[0] == section and Specialist.__name__ not in at
        }

    def teacher(self) -> Any:
        """Return the teacher that the student learns from, fine-tuned if the recipe says so."""
        if self.tuned is not None:
            return self.tuned
        self.tuned = self.given_teacher
        if self.model.fine_tune is not None:
            if self.given_teacher is None:
                raise self.missing("teacher", "the model to fine-tune")
            settings, kind = dict(self.fine_tuning), self.data.kind
            if kind is not None:
                task = TASKS["classes" if kind == "tags" else kind]
                settings.setdefault("objective", task.default_objective())
            with self.build.named("fine_tune"):
                self.tuned = fine_tune(
                    deepcopy(self.given_teacher),  # the user's code may hold on to it
                    train=self.data.train,
                    val=self.data.val,
                    out=self.out / "teacher",
                    **settings,
                ).student
        self.map_layers(self.tuned)
        return self.tuned

    def train(self) -> Any:
        """Return the training data, or prompts of it from which the student writes texts."""
        if self.model.on_policy is None:
            return self.data.train
        place = ("on_policy",)
        with self.build.at(place):
            return OnPolicy(self.data.train, **self.build.arguments(self.model.on_policy, place))

    def learn_outputs_and_scale(self) -> None:
        """Find, by some examples, how many outputs a student has and on which scale.

        Without labels both are the teacher's. Of a teacher that is worse than a constant it warns.
        """
        build, data, teacher = self.build, self.data, self.teacher()
        kind = self.kind()
        if build.tokens is not None or kind not in ("classes", "binary", "values"):
            return
        if kind == "values" and data.kind == "classes":  # of embeddings
            return
        number = _SOME_LABELS if data.form == "columns" else _SOME
        some = sample_of(None, data, self.device, number)
        if some is None:
            return
        labels = some.labels
        begun = (self.out / "run.json").exists()
        if teacher is not None and (labels is None or not begun):
            found = sample_of(teacher, data, self.device)
            if found is not None and not begun:
                warn_of_poor_teacher(found, kind)
            if found is not None and build.number_of_outputs() is None:
                build.outputs = found.outputs.shape[1]
            labels = found.outputs if labels is None and found is not None else labels
        if kind != "values" or labels is None or not self.model.standardize:
            return
        root: Any = getattr(self.model.student, "root", None)
        if isinstance(root, ModelName) and is_python(root.root):
            known = sample_of(self.student(), data, self.device)
            if known is not None and r2(known) > 0:  # it was trained, and predicts the labels
                return
        build.scale = scale_of(labels)

    def student(self) -> nn.Module:
        """Return a fresh student, which may be made from the teacher's layers."""
        if self.model.student is None:
            raise self.missing("student", "the model to train")
        return self.build.student(self.model.student, ("student",))

    def distill(self, *, fresh: bool = False) -> Run:
        """Distil the student; `fresh` as of `tl.distill`."""
        if self.model.objective is None and self.model.stages is None:
            raise self.missing("objective", "such as SoftTargets: {temperature: 4}")
        self.load()
        self._check_stored()
        teacher = self.teacher()
        self.learn_outputs_and_scale()
        student = self.student()
        if self.model.label is not None:
            teacher = Stored(*self.stores("train", "val").values())
        with self.build.named("training"):
            run = distill(
                teacher,
                student,
                train=self.train(),
                val=self.data.val,
                out=self.out,
                fresh=fresh,
                **self.objectives,
                **self.settings,
            )
        if os.environ.get("RANK", "0") == "0":
            write_student(self.out, run.student, self.data, run.objective, self.build.tokens)
        return replace(run, class_names=self.data.classes)

    def _check_stored(self) -> None:
        """Refuse `label` with a transform of inputs, before the teacher answers everything."""
        transform = self.settings.get("transform")
        if self.model.label is None or transform is None:
            return
        with randomness.preserved():
            batch = transform(next(iter(as_source("train", self.data.train, 2).epoch(0))))
        if batch.index is None:
            raise RecipeError(
                f"{self.document.where(('label',))}: `label` stores outputs for inputs as they "
                "are, got `training.transform`, which changes them; leave one of them out"
            )

    def label(self) -> dict[str, TargetStore]:
        """Store the teacher's outputs for all data."""
        return self.load().stores("train", "val", "test")

    def stores(self, *splits: str) -> dict[str, TargetStore]:
        """Return the teacher's stored outputs for the parts that the data has, made if missing."""
        teacher = self.teacher()
        if teacher is None:
            raise self.missing("teacher", "the model whose outputs are stored")
        found = {}
        for name in splits:
            data = getattr(self.data, name)
            if data is None:
                continue
            # Only training data is augmented.
            settings: dict[str, Any] = self.labelling | ({} if name == "train" else {"views": 1})
            with self.build.named("label"):
                found[name] = label(
                    teacher,
                    data,
                    out=self.out / "targets" / name,
                    fields=self._fields(),
                    **settings,
                )
        return found

    def _fields(self) -> Objective | Fields | None:
        """Return what must be stored: what the objectives require of the teacher."""
        objectives = [each.objective for each in self.objectives.get("stages", ())]
        if "objective" in self.objectives:
            objectives = [self.objectives["objective"]]
        wanted = [each for each in objectives if each.wants.teacher]
        if len(wanted) < 2:  # noqa: PLR2004 - one objective, from which more can be told
            return wanted[0] if wanted else None
        fields = Fields()
        for each in wanted:
            fields |= each.wants.teacher
        return fields


def names_map(*parts: Any) -> bool:
    """Tell whether parts of a recipe have `layer_map: from_student`: in a term, a stage, a sum."""
    return f"'{FROM_STUDENT}'" in str([spelled_out(each) for each in parts])


def _by_name(data: Splits) -> bool:
    """Tell whether labels are names, rather than columns of binary labels."""
    return data.kind != "binary" or len(data.labels) == 1
