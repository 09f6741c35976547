"""`Recipe`: a whole job from a YAML file, the same as the Python calls that it stands for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from tutelage import __version__
from tutelage.compression import Compressed
from tutelage.errors import RecipeError, RunFolderError
from tutelage.exporting import Exported, Precision
from tutelage.files import writing
from tutelage.recipes.compress_recipe import carry_out_compression
from tutelage.recipes.job import Job
from tutelage.recipes.messages import recipe_error
from tutelage.recipes.model import RecipeModel, code_of, spelled_out
from tutelage.recipes.reading import Document, override, read_document, written
from tutelage.recipes.study_recipe import carry_out_study
from tutelage.recipes.trained import evaluate_models, export_student, predict_file
from tutelage.store import TargetStore
from tutelage.studies import Study
from tutelage.training import Run
from tutelage.training.folder import refuse_foreign

if TYPE_CHECKING:
    import pandas as pd

_Result = TypeVar("_Result")
_MADE_BY = "# Made by tutelage"
_OF_A_RUN = ("run.json", "results.json", "trials", "train")
"""Files and folders of which one is there once a run, a study or stored targets have begun."""


class Recipe:
    """A whole job: teacher, student, data, objective and training.

    `Recipe.from_file("recipe.yaml").run()` is what `tutelage distill recipe.yaml` does. Paths are
    relative to the working folder. All methods raise `TutelageError`s as the calls that they stand
    for; those about the recipe name its line.

    Args:
        values: What a YAML file would contain, or the document that was read.
        name: For the default folder, `runs/NAME`.
        trust: Whether code that comes with a model may run, as of `references.load_model`: that of
            a repository of `hf:`, a program of torch.export, unknown types of a skops file. The
            Python that the recipe itself names (`file.py:name`) runs in any case, see `code`.

    Raises:
        RecipeError: A key is unknown or missing, or a value is wrong.

    >>> recipe = Recipe({"student": "mine.py:net", "data": "mine.py:data"})
    >>> str(recipe.out)
    'runs/recipe'
    """

    def __init__(
        self, values: Mapping[str, Any] | Document, name: str = "recipe", *, trust: bool = False
    ) -> None:
        self.document = values if isinstance(values, Document) else Document(dict(values), "recipe")
        self.trust = trust
        try:
            self.model = RecipeModel.model_validate(self.document.values)
        except ValidationError as error:
            raise recipe_error(error, self.document) from error
        self.out = Path(self.model.out or f"runs/{name}").expanduser()
        try:
            self.out.stat()
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            where = self.document.where(("out",))
            raise RecipeError(
                f"{where}: `out` must be the path of a folder, got: {error}"
            ) from error

    @classmethod
    def from_file(
        cls, path: str | Path, overrides: Sequence[str] = (), *, trust: bool = False
    ) -> Recipe:
        """Read a recipe.

        Args:
            path: Of a YAML file, or of the folder of a run, which has one. The folder is then
                `out`, wherever it was moved to.
            overrides: Values that replace those of the file, such as `training.epochs=5`.
            trust: Whether code that comes with a model may run.

        Raises:
            RecipeError: The file cannot be read, a key is unknown or missing, or a value is wrong.
        """
        path, folder = Path(path).expanduser(), None
        if path.is_dir():
            folder, path = path, path / "recipe.yaml"
            if not path.exists():
                raise RecipeError(
                    f"{folder} must be the folder of a recipe's run, got one without recipe.yaml; "
                    "a run of Python has none: use its student there, such as by "
                    "tl.export(run.student, data, path)"
                )
        document = read_document(path)
        override(document, overrides)
        found = cls(document, path.stem, trust=trust)
        elsewhere = any(each.startswith("out=") for each in overrides)
        if folder is not None and not elsewhere and _is_ours(path):
            inner = (
                folder.name in ("study", "targets", "compress")
                and not (folder / "run.json").exists()
            )
            found.out = folder.parent if inner else folder
        return found

    def code(self) -> list[str]:
        """Return the Python that this recipe names and runs, such as `file.py:name`."""
        return list(dict.fromkeys(code_of(self.document.values)))

    def resolved(self) -> str:
        """Return the recipe as YAML, with what was overridden and with defaults of the library."""
        return written({**spelled_out(self.model), "out": str(self.out)}, __version__)

    def run(self, *, fresh: bool = False) -> Run:
        """Distil the student, or resume that; with `fine_tune` and `label` these come first.

        Args:
            fresh: Train the student anew where the folder holds a run.
        """
        return self._kept(self.out, lambda: self._job().distill(fresh=fresh))

    def study(self) -> Study:
        """Carry out the study, or resume that, in the folder `study` of the recipe's folder."""
        return self._kept(self.out / "study", lambda: carry_out_study(self._job()))

    def compress(self) -> Compressed:
        """Search for a student, or resume that, in the folder `compress` of the recipe's folder."""
        return self._kept(self.out / "compress", lambda: carry_out_compression(self._job()))

    def label(self) -> dict[str, TargetStore]:
        """Store the teacher's outputs for train, and for val and test where the recipe has them."""
        return self._kept(self.out / "targets", self._job().label)

    def evaluate(self, split: str = "test") -> dict[str, dict[str, float]]:
        """Return metrics of the teacher, and of what was trained so far, by model.

        Args:
            split: The data: `"test"`, `"val"` or `"train"`.
        """
        return evaluate_models(self._job(), split)

    def predict(self, file: str | Path, out: str | Path, *, teacher: bool = False) -> pd.DataFrame:
        """Write a file's rows with the student's predictions beside them; return that table.

        Args:
            file: Of the kind of the training data, with labels or without.
            out: The table that is written: .csv, .tsv, .parquet or .jsonl.
            teacher: Whether the teacher's predictions are beside them.
        """
        return predict_file(self._job(), str(file), Path(out), teacher=teacher)

    def export(self, path: str | Path | None = None, precision: Precision = "float32") -> Exported:
        """Write the trained student to an ONNX file, compared with it on data of the recipe.

        Args:
            path: The file; None for `student.onnx` in the recipe's folder.
            precision: As for `export`.
        """
        return export_student(self._job(), None if path is None else Path(path), precision)

    def _job(self) -> Job:
        return Job(self.model, self.document, self.out, trust=self.trust)

    def _kept(self, out: Path, work: Callable[[], _Result]) -> _Result:
        """Carry out work, and keep the resolved recipe beside its results.

        It is written before, so that it is there after a kill, unless that would replace the recipe
        of a run that may prove to be another one.
        """
        path = out / "recipe.yaml"
        if not (_is_ours(path) or _is_ours(self.out / "recipe.yaml")):
            refuse_foreign(self.out)
            if path.exists():
                raise RunFolderError(
                    f"`out` must be a folder of its own, got {out} with a recipe.yaml that is not "
                    f"of a run; write out: {self.out / 'run'}"
                )
        if not any((out / name).exists() for name in _OF_A_RUN):
            self._write(path)
        found = work()
        self._write(path)
        return found

    def _write(self, path: Path) -> None:
        if os.environ.get("RANK", "0") == "0":
            with writing(path.parent, RunFolderError):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self.resolved(), encoding="utf-8")

    def __repr__(self) -> str:
        return f"Recipe({self.document.source})"


def _is_ours(recipe: Path) -> bool:
    """Tell whether a recipe was written into the folder of its run."""
    return recipe.is_file() and recipe.read_bytes().startswith(_MADE_BY.encode())
