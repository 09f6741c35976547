"""Commands without a recipe: the demo, and what is in the folder of a run, a store or a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.cli.screen import AsJson, command_output
from tutelage.errors import ArgumentError

_CLASSES = 2
_NOTE = f"Its output layer is shown for {_CLASSES} classes; in a recipe it is for those of the data"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report and results.json.")] = Path(
        "demo"
    ),
    seeds: Annotated[
        int | None,
        typer.Option(help="Repetitions, at least 2.", show_default="5, with --quick 2"),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the soft targets, above 0.")
    ] = 4.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="A shorter demo, with fewer seeds and steps.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a small classifier of handwritten digits by three methods, and compare.

    Takes one to two minutes on two CPU cores and downloads nothing.
    """
    with command_output(as_json) as result:
        from tutelage.demo import demo_settings  # noqa: PLC0415 - imports torch
        from tutelage.demo.show import show_demo  # noqa: PLC0415

        show_demo(demo_settings(seeds, temperature, quick), out)
        result |= {"report": out / "report.html", "results": out / "results.json"}


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, finished or still running, or of a study.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML report; Markdown and JSON go beside it.", show_default="RUN/report.html"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the HTML report of a run or a study from its folder.

    For a run, metrics that run.report() measured before are kept. Without them the report shows
    what is in the log, since the code of the models is not available.
    """
    with command_output(as_json) as result:
        from tutelage.reports.page import check_path  # noqa: PLC0415
        from tutelage.reports.report import report_record  # noqa: PLC0415
        from tutelage.results.record import read_record  # noqa: PLC0415 - imports torch
        from tutelage.training.record import read_run  # noqa: PLC0415

        study, page = run / "results.json", out or run / "report.html"
        check_path(page)
        report_record(read_record(study) if study.exists() else read_run(run), page)
        typer.echo(f"Report: {page}")
        result["report"] = page


def verify(
    store: Annotated[Path, typer.Argument(help="Folder of targets that tl.label wrote.")],
    as_json: AsJson = False,
) -> None:
    """Check all stored targets and list what is damaged; exit with 1 if anything is."""
    with command_output(as_json) as result:
        from tutelage.reports.store_screen import verify_store  # noqa: PLC0415 - imports torch

        result["sound"] = verify_store(store, Console())
    if not result["sound"]:
        raise typer.Exit(1)


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
    with command_output(as_json) as result:
        if Path(name).is_dir():
            from tutelage.reports.store_screen import show_store  # noqa: PLC0415 - imports torch
            from tutelage.store import TargetStore  # noqa: PLC0415

            store = TargetStore.open(Path(name))
            result |= {"out": store.path, "examples": len(store), "bytes": store.bytes}
            show_store(store, Console())
        else:
            result.update(_show_model(name, trust, depth, Console()))


def _show_model(reference: str, trust: bool, depth: int, console: Console) -> dict[str, Any]:
    """Print what is in the model of a reference; return it as data."""
    from torch import nn  # noqa: PLC0415 - heavy

    from tutelage.layers import blocks  # noqa: PLC0415 - imports torch
    from tutelage.references import load_model  # noqa: PLC0415
    from tutelage.references.reference import ClassesNeededError  # noqa: PLC0415
    from tutelage.teachers import as_teacher  # noqa: PLC0415

    try:
        found, note = load_model("MODEL", reference, trust=trust), ""
    except ClassesNeededError:  # a recipe takes the number from its data
        found, note = load_model("MODEL", reference, classes=_CLASSES, trust=trust), _NOTE
    module = found if isinstance(found, nn.Module) else as_teacher(found).module
    if module is None:
        raise ArgumentError(
            f"`MODEL` must be a model with layers, got {reference}, a {type(found).__name__}; only "
            "its outputs are known"
        )

    def size(layer: nn.Module) -> int:
        return sum(each.numel() for each in layer.parameters())

    layers = [
        {"path": path, "class": type(layer).__name__, "parameters": size(layer)}
        for path, layer in module.named_modules()
        if path
    ]
    try:
        repeated = blocks(module)
        said = f"Blocks: {len(repeated)}, {repeated[0]} to {repeated[-1]}"
    except ArgumentError as error:
        repeated, said = [], f"Blocks: {error}"
    names = repeated or [each["path"] for each in layers]
    example = f"{{{names[0]}: {names[-1]}}}" if names else "none, as it has no layers"
    table = Table("layer", "class", "parameters", box=None)
    shown = [each for each in layers if each["path"].count(".") < depth]
    for each in shown:
        table.add_row(Text(each["path"]), each["class"], f"{each['parameters']:,}")
    about = {"class": type(module).__name__, "parameters": size(module), "note": note}
    more = len(layers) - len(shown)
    console.print(Text(f"{about['class']}: {about['parameters']:,} parameters"), soft_wrap=True)
    console.print(table)
    for line in (
        f"and {more} layers inside of these (--depth {depth + 1})" if more else "",
        said,
        f"A layer map may name each of its {len(layers)} layers by its path, PATH:input for its "
        f"input, or PATH[1] for one of several outputs; for instance layer_map: {example} "
        "(student: teacher).",
        note,
    ):
        if line:
            console.print(Text(line), soft_wrap=True)
    return about | {"layers": layers, "blocks": repeated}
