"""Commands that carry out a recipe."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.cli.screen import AsJson, command_output
from tutelage.errors import ArgumentError

if TYPE_CHECKING:
    from tutelage.compression import Compressed
    from tutelage.recipes import Recipe
    from tutelage.studies import Study
    from tutelage.training import Run

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

_WITH_RECIPES = ("", "study", "targets", "compress")
"""Folders in `out` into which the commands write the recipe."""
_IN_A_RECIPE = {"data": "data", "out": "out", "precision": "label.engine.precision"}
"""By option of `label`, the key in a recipe, where it is not in its section `label`."""


def _read(recipe: Path, overrides: list[str] | None, trust: bool) -> Recipe:
    """Read a recipe; in a terminal, one that names Python code is asked about once for each `out`.

    It imports torch.
    """
    from tutelage.recipes import Recipe  # noqa: PLC0415 - imports torch

    # What was read of the data, and how a search goes on.
    for log in map(logging.getLogger, ("tutelage.recipes", "tutelage.compression")):
        log.setLevel(logging.INFO)
        log.handlers = [logging.StreamHandler()]
        log.propagate = False
    found = Recipe.from_file(recipe, overrides or (), trust=trust)
    code = found.code()
    begun = any((found.out / each / "recipe.yaml").exists() for each in _WITH_RECIPES)
    if code and not trust and sys.stdin.isatty() and not begun:
        typer.confirm(f"{recipe} runs code: {', '.join(code)}. Run it?", abort=True, err=True)
    return found


def _report(found: Run | Study | Compressed, wanted: bool, result: dict[str, Any]) -> None:
    if wanted:
        result["report"] = found.report()
        typer.echo(f"Report: {result['report']}")


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
    with command_output(as_json) as result:
        run = _read(recipe, overrides, trust).run(fresh=fresh)
        typer.echo(str(run))
        best = next(each for each in run.history if each["epoch"] == run.best_epoch)
        folder = run.out or Path()
        result |= {"out": folder, "student": folder / "student.safetensors"}
        result |= {"epochs": len(run.history), "best_epoch": run.best_epoch, "metrics": best}
        _report(run, report, result)


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
    with command_output(as_json) as result:
        found = _read(recipe, overrides, trust).study()
        typer.echo(str(found))
        folder = found.out or Path()
        result |= {"out": folder, "results": folder / "results.json", "verdict": found.verdict}
        _report(found, report, result)


def compress(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    report: WithReport = True,
    as_json: AsJson = False,
) -> None:
    """Find the fastest student that loses no more than a margin; export it, and write the report.

    After a kill the same command resumes.
    """
    with command_output(as_json) as result:
        found = _read(recipe, overrides, trust).compress()
        typer.echo(str(found))
        result |= {"out": found.out, "chosen": found.name, "file": found.exported.path}
        result |= {"verdict": found.study.verdict}
        _report(found, report, result)


def evaluate(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    on: Annotated[str, typer.Option(help="The data: test, val or train.")] = "test",
    as_json: AsJson = False,
) -> None:
    """Print metrics of the teacher of a recipe, and of the student if it is trained."""
    with command_output(as_json) as result:
        metrics = _read(recipe, overrides, trust).evaluate(on)
        result.update(metrics)
        table = Table(f"on {on}", *metrics, box=None)
        for name in dict.fromkeys(name for each in metrics.values() for name in each):
            values = [each.get(name) for each in metrics.values()]
            table.add_row(Text(name), *("" if each is None else f"{each:.4f}" for each in values))
        Console().print(table)


def export(
    recipe: RecipeFile,
    overrides: Overrides = None,
    trust: Trust = False,
    to: Annotated[
        Path | None, typer.Option(help="The file, .onnx.", show_default="RUN/student.onnx")
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Write weights and products in 8 bits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the trained student of a recipe as ONNX, compared with it on data of the recipe.

    The file runs without PyTorch. It takes raw images or rows of a table; of texts it takes tokens.
    """
    with command_output(as_json) as result:
        found = _read(recipe, overrides, trust).export(to, "int8" if int8 else "float32")
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
    with command_output(as_json) as result:
        found = _read(recipe, overrides, trust).predict(file, out, teacher=teacher)
        typer.echo(f"Predictions: {out} ({len(found):,} rows)")
        result |= {"out": out, "rows": len(found), "columns": [*map(str, found.columns)]}


def label(  # noqa: PLR0913 - the verb's options
    context: typer.Context,
    teacher: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|TEACHER",
            help="A recipe, or the teacher: package.module:name or folder/file.py:name.",
        ),
    ],
    data: Annotated[
        str | None, typer.Argument(help="Without a recipe: the data set, likewise.")
    ] = None,
    *,
    overrides: Overrides = None,
    trust: Trust = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the targets.", show_default="of a recipe: its out/targets"),
    ] = None,
    views: Annotated[int, typer.Option(help="Number of views of augmented examples.")] = 1,
    top_k: Annotated[
        int | None, typer.Option(help="Number of classes to keep.", show_default="all")
    ] = None,
    sampled_classes: Annotated[
        int | None, typer.Option(help="Number of classes to sample.", show_default="none")
    ] = None,
    temperature: Annotated[float, typer.Option(help="Temperature for sampling classes.")] = 1.0,
    dtype: Annotated[str, typer.Option(help="float16, bfloat16 or float32.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Examples in a batch.")] = 256,
    precision: Annotated[
        str, typer.Option(help="Precision of the teacher: fp32, bf16 or fp16.")
    ] = "fp32",
    verify: Annotated[
        bool, typer.Option("--verify", help="Check what is stored and recompute what is damaged.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Store a teacher's predictions for all examples of a data set on disk.

    With a recipe, those for its train, val and test data, with the settings of its section `label`.
    A reference names the object, or a function without arguments that returns it. After a kill or a
    full disk, the same command resumes.
    """
    with command_output(as_json) as result:
        if teacher.endswith((".yaml", ".yml")) or Path(teacher).is_dir():
            _refuse_options(context)
            stores = _read(Path(teacher), overrides, trust).label()
            result.update({name: _described(each) for name, each in stores.items()})
            return
        if data is None or out is None or overrides:
            raise typer.BadParameter("TEACHER needs DATA and --out, and no --set; or give a RECIPE")
        from tutelage import training  # noqa: PLC0415 - imports torch
        from tutelage.references import load  # noqa: PLC0415

        store = training.label(
            cast("Any", load("TEACHER", teacher)),
            load("DATA", data),
            out=out,
            views=views,
            top_k=top_k,
            sampled_classes=sampled_classes,
            temperature=temperature,
            dtype=dtype,
            batch_size=batch_size,
            verify=verify,
            engine=training.Engine(precision=precision),
        )
        result.update(_described(store))


def _refuse_options(context: typer.Context) -> None:
    """Refuse options that a recipe gives: they would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and name not in ("teacher", "overrides", "trust", "as_json"):
            key = _IN_A_RECIPE.get(name, f"label.{name}")
            raise ArgumentError(
                f"`{name}` must be in the recipe, got it on the command line; write `{key}` there, "
                f"or --set {key}=VALUE"
            )


def _described(store: Any) -> dict[str, Any]:
    """Print a line about stored targets; return it as data."""
    from tutelage.reports.numbers import file_size  # noqa: PLC0415 - imports torch

    size = file_size(store.bytes)
    typer.echo(f"Targets: {store.path} ({len(store):,} examples, views: {store.views}, {size})")
    about = {"out": store.path, "examples": len(store)}
    return about | {"views": store.views, "bytes": store.bytes}


def schema() -> None:
    """Print the JSON schema of recipes, by which editors complete and check them.

    In VS Code: # yaml-language-server: $schema=recipe.schema.json
    """
    from tutelage.recipes import schema as of_recipes  # noqa: PLC0415 - imports torch

    typer.echo(json.dumps(of_recipes(), indent=1, ensure_ascii=False))
