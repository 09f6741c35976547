"""Commands that carry out a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.screen import AsJson, errors_told, tell

if TYPE_CHECKING:
    from tutelage.recipes import Recipe

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="The recipe, a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Replace a value, such as training.epochs=5; repeatable."
    ),
]


def distill(
    recipe: RecipeFile,
    overrides: Overrides = None,
    report: Annotated[bool, typer.Option(help="Write the HTML report at the end.")] = True,
    as_json: AsJson = False,
) -> None:
    """Train the student of a recipe on its teacher's outputs, and write the report.

    After a kill the same command resumes.
    """
    with errors_told(as_json):
        run = read(recipe, overrides).run()
        page = run.report() if report else None
        best = next(each for each in run.history if each["epoch"] == run.best_epoch)
        text = f"{run}" + ("" if page is None else f"\nReport: {page}")
        tell(as_json, text, {
            "out": run.out,
            "student": None if run.out is None else run.out / "student.safetensors",
            "report": page,
            "epochs": len(run.history),
            "best_epoch": run.best_epoch,
            "metrics": best,
        })  # fmt: skip


def read(recipe: Path, overrides: list[str] | None) -> Recipe:
    """Read a recipe; imports torch."""
    from tutelage.recipes import Recipe  # noqa: PLC0415 - imports torch

    return Recipe.from_file(recipe, overrides or ())
