"""`tutelage show`: what is in a model, or in stored targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.cli.screen import AsJson, told
from tutelage.errors import ArgumentError

_OTHERS = {
    "student/config.json": "write hf:{folder}/student for the model; tutelage report {folder} "
    "shows the run",
    "run.json": "tutelage report {folder} shows the run",
    "results.json": "tutelage report {folder} shows the study",
    "config.json": "write hf:{folder}",
    "modules.json": "write sentence-transformers:{folder}",
}
"""By a file of a folder that is no store, what to do."""


def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|TARGETS",
            help="A model, such as file.py:name, or a folder of targets that tl.label wrote.",
        ),
    ],
    trust: Annotated[
        bool, typer.Option("--trust", help="Run code that comes with the model, if it needs that.")
    ] = False,
    depth: Annotated[int, typer.Option(min=1, help="Levels of nested layers that are shown.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Show the layers of a model, its blocks, its size, and what a layer map may name.

    Of stored targets: sizes, the teacher's confusions, a few examples.
    """
    with told(as_json) as result:
        if Path(name).is_dir():
            _check_targets(Path(name))
            from tutelage.reports.store_screen import show_store  # noqa: PLC0415 - imports torch
            from tutelage.store import TargetStore  # noqa: PLC0415

            store = TargetStore.open(Path(name))
            result |= {"out": store.path, "examples": len(store), "bytes": store.bytes}
            show_store(Path(name), Console())
            return
        from tutelage.recipes.describing import describe_model  # noqa: PLC0415

        result.update(describe_model(name, trust=trust))
        _print(result, depth, Console())


def _check_targets(folder: Path) -> None:
    """Refuse the folder of something else, whose name or command is another."""
    other = next((each for each in _OTHERS if (folder / each).exists()), None)
    if other is not None and not (folder / "manifest.json").exists():
        advice = _OTHERS[other].format(folder=folder)
        raise ArgumentError(
            f"`MODEL|TARGETS` must be a model or a folder of stored targets, got {folder} with "
            f"{other}; {advice}"
        )


def _print(found: dict[str, Any], depth: int, console: Console) -> None:
    console.print(Text(f"{found['class']}: {found['parameters']:,} parameters"), soft_wrap=True)
    shown = [each for each in found["layers"] if each["path"].count(".") < depth]
    table = Table("layer", "class", "parameters", box=None)
    for each in shown:
        table.add_row(Text(each["path"]), each["class"], f"{each['parameters']:,}")
    console.print(table)
    if len(shown) < len(found["layers"]):
        more = len(found["layers"]) - len(shown)
        console.print(Text(f"and {more} layers inside of these (--depth {depth + 1})"))
    console.print(Text(found["blocks_text"]), soft_wrap=True)
    console.print(Text(found["layer_map_text"]), soft_wrap=True)
    if found["note"]:
        console.print(Text(found["note"]), soft_wrap=True)
