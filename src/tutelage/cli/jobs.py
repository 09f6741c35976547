"""Commands that carry out a recipe."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from tutelage.cli.screen import AsJson, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tutelage.recipes import Recipe

RecipeFile = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="The recipe, a YAML file, or the folder of its run."),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value, such as training.epochs=5; repeatable."
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Run code that the recipe names, and code that comes with a model, without asking.",
    ),
]
WithReport = Annotated[bool, typer.Option(help="Write the HTML report at the end.")]


def distill(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Train anew where the folder holds a run.")
    ] = False,
    report: WithReport = True,
    as_json: AsJson = False,
) -> None:
    """Train the student of a recipe on its teacher's outputs, and write the report.

    After a kill the same command resumes.
    """
    with told(as_json) as result:
        run = read(recipe, overrides, trust).run(fresh=fresh)
        typer.echo(str(run))
        best = next(each for each in run.history if each["epoch"] == run.best_epoch)
        folder = run.out or Path()
        result |= {"out": folder, "student": folder / "student.safetensors"}
        result |= {"epochs": len(run.history), "best_epoch": run.best_epoch, "metrics": best}
        if report:
            result["report"] = run.report()
            typer.echo(f"Report: {result['report']}")


def study(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    report: WithReport = True,
    as_json: AsJson = False,
) -> None:
    """Compare the arms of a recipe with controls over several seeds, and write the report.

    After a kill the same command resumes.
    """
    with told(as_json) as result:
        found = read(recipe, overrides, trust).study()
        typer.echo(str(found))
        folder = found.out or Path()
        result |= {"out": folder, "results": folder / "results.json", "verdict": found.verdict}
        if report:
            result["report"] = found.report()
            typer.echo(f"Report: {result['report']}")


def evaluate(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    on: Annotated[str, typer.Option(help="The data: test, val or train.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Print metrics of the teacher of a recipe, and of the student if it is trained."""
    with told(as_json) as result:
        result.update(read(recipe, overrides, trust).evaluate(on))
        Console().print(_table(result, on))


def export(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    to: Annotated[
        Path | None, typer.Option(help="The file, .onnx.", show_default="RUN/student.onnx")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the trained student of a recipe as ONNX, compared with it on data of the recipe.

    The file runs without PyTorch. It takes raw images or rows of a table; of texts it takes tokens.
    """
    with told(as_json) as result:
        found = read(recipe, overrides, trust).export(to)
        typer.echo(str(found))
        result.update(vars(found))


def predict(
    recipe: RecipeFile,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="Data of the kind of the training data.")
    ],
    out: Annotated[Path, typer.Option(help="The table: .csv, .tsv, .parquet or .jsonl.")],
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Write the teacher's predictions beside them.")
    ] = False,
    overrides: Overrides = None,
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Write a file's rows with the predictions of the trained student beside them.

    Labels may be missing. Rows keep their order and columns.
    """
    with told(as_json) as result:
        found = read(recipe, overrides, trust).predict(file, out, teacher=teacher)
        typer.echo(f"Predictions: {out} ({len(found):,} rows)")
        result |= {"out": out, "rows": len(found), "columns": [*map(str, found.columns)]}


def schema() -> None:
    """Print the JSON schema of recipes, by which editors complete and check them.

    In VS Code: # yaml-language-server: $schema=recipe.schema.json
    """
    from tutelage.recipes import schema as of_recipes  # noqa: PLC0415 - imports torch

    typer.echo(json.dumps(of_recipes(), indent=1, ensure_ascii=False))


def read(recipe: Path, overrides: list[str] | None, trust: bool = False) -> Recipe:
    """Read a recipe; imports torch.

    In a terminal, one that names Python code is asked about once for each folder `out`.
    """
    from tutelage.recipes import Recipe  # noqa: PLC0415 - imports torch

    log = logging.getLogger("tutelage.recipes")  # what was read of the data
    log.setLevel(logging.INFO)
    if not log.handlers:
        log.addHandler(logging.StreamHandler())
        log.propagate = False
    found = Recipe.from_file(recipe, overrides or (), trust=trust)
    code = found.code()
    if code and not trust and sys.stdin.isatty() and not (found.out / "recipe.yaml").exists():
        typer.confirm(f"{recipe} runs code: {', '.join(code)}. Run it?", abort=True, err=True)
    return found


def _table(metrics: Mapping[str, Mapping[str, float]], split: str) -> Table:
    table = Table(f"on {split}", *metrics, box=None)
    names = dict.fromkeys(name for each in metrics.values() for name in each)
    for name in names:
        values = [each.get(name) for each in metrics.values()]
        table.add_row(name, *("" if value is None else f"{value:.4f}" for value in values))
    return table
