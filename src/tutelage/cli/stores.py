"""Commands for stored targets: make them, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console

from tutelage.cli.jobs import Overrides, Trust, read
from tutelage.cli.screen import AsJson, told
from tutelage.errors import ArgumentError

_KEYS = {"data": "data", "out": "out", "precision": "label.engine.precision"}
"""Of a recipe, by option, where these are not in its section `label` under the same name."""


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
    with told(as_json) as result:
        if teacher.endswith((".yaml", ".yml")):
            _refuse_options(context)
            stores = read(Path(teacher), overrides, trust).label()
            for name, store in stores.items():
                result[name] = _described(store)
                typer.echo(_line(store))
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
        typer.echo(_line(store))


def verify(
    store: Annotated[Path, typer.Argument(help="Folder of targets that tl.label wrote.")],
    as_json: AsJson = False,
) -> None:
    """Check all stored targets and list what is damaged; exit with 1 if anything is."""
    with told(as_json) as result:
        from tutelage.reports.store_screen import verify_store  # noqa: PLC0415 - imports torch

        result["sound"] = verify_store(store, Console())
    if not result["sound"]:
        raise typer.Exit(1)


def _refuse_options(context: typer.Context) -> None:
    """Refuse options that a recipe gives: they would be ignored."""
    for name in context.params:
        source = context.get_parameter_source(name)
        given = source is not None and source.name == "COMMANDLINE"
        if given and name not in ("teacher", "overrides", "trust", "as_json"):
            key = _KEYS.get(name, f"label.{name}")
            raise ArgumentError(
                f"`{name}` must be in the recipe, got it on the command line; write `{key}` there, "
                f"or --set {key}=VALUE"
            )


def _described(store: Any) -> dict[str, Any]:
    return {
        "out": store.path,
        "examples": len(store),
        "views": store.views,
        "bytes": store.bytes,
    }


def _line(store: Any) -> str:
    from tutelage.reports.numbers import file_size  # noqa: PLC0415 - imports torch

    size = file_size(store.bytes)
    return f"Targets: {store.path} ({len(store):,} examples, views: {store.views}, {size})"
