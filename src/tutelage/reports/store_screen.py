"""A store of targets on a terminal: what it holds, its sizes, what its teacher takes for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tutelage.reports.numbers import count, file_size, percent
from tutelage.store import Damage, Manifest, TargetStore, find_damage
from tutelage.store.fields import Field
from tutelage.store.summary import examples, resemblances

_MOST_CLASSES = 30


def show_store(store: TargetStore, console: Console) -> None:
    """Print what a store holds."""
    for line in _facts(store):
        console.print(Text(line), soft_wrap=True)
    console.print(_fields(store))
    similar = _resemblances(store)
    if similar is not None:
        title, table = similar
        console.print(Text(title), soft_wrap=True)
        console.print(table)
    for each in examples(store):
        console.print(Text(f"row {each.row}: {_pairs(each.top)}"), soft_wrap=True)


def verify_store(folder: Path, console: Console) -> bool:
    """Read all of a store, print what is damaged, and tell whether nothing is."""
    manifest = Manifest.read(folder)
    found = list(find_damage(folder, manifest))
    for each in found:
        console.print(Text(f"damaged: {each}", style="red"), soft_wrap=True)
    console.print(Text(_verdict(folder, manifest, found)), soft_wrap=True)
    return not found


def _verdict(folder: Path, manifest: Manifest, found: list[Damage]) -> str:
    unfinished = ", which is not finished: only what is was read" * (manifest.checksums is None)
    if found:
        return (
            f"{folder} has {len(found)} damaged places{unfinished}; call tl.label with the same "
            "arguments and verify=True, which makes only these anew"
        )
    layout = manifest.layout
    return (
        f"{folder} is sound{unfinished}: {count(layout.blocks)} blocks in "
        f"{count(layout.shards * len(manifest.columns))} files, {file_size(manifest.file_bytes)}"
    )


def _facts(store: TargetStore) -> Iterator[str]:
    manifest = store.manifest
    views, settings = manifest.views, manifest.settings
    yield f"Targets in {store.path}, format {manifest.format}"
    yield f"  teacher      {manifest.teacher}"
    yield f"  data         {count(len(store))} examples, {manifest.data.fingerprint}"
    transform = "" if views.transform is None else f", {views.transform}"
    yield f"  views        {views.count}{transform}"
    compiled = ", compiled" if settings.compile else ""
    yield f"  asked with   batches of {settings.batch_size}, {settings.precision}{compiled}"
    made = ", ".join(f"{name} {version}" for name, version in manifest.made_with.items())
    yield f"  made with    {made}"
    rows = store.layout.rows
    yield f"  size         {file_size(store.bytes)}, {store.bytes / rows:.1f} bytes a row"


def _fields(store: TargetStore) -> Table:
    unit = "answer" if any(each.by_answer for each in store.fields) else "example"
    table = Table("field", "form", "dtype", f"bytes an {unit}", "files", box=None, pad_edge=True)
    for place, field in enumerate(store.fields):
        columns = field.columns(place)
        width = sum(column.entry_bytes for column in columns)
        files = ", ".join(f"{column.stem}.*.npy" for column in columns)
        table.add_row(field.name, _form(field), field.dtype, count(width), files)
    return table


def _form(field: Field) -> str:
    if field.form == "dense":
        return " × ".join(map(str, field.shape)) or "1"
    of = f" of {field.classes} classes" if field.classes else " classes"
    if field.form == "sampled":
        return f"{field.shape[0]} sampled{of}, temperature {field.temperature:g}"
    return f"top {field.shape[0]}{of} + rest"


def _resemblances(store: TargetStore) -> tuple[str, Table] | None:
    """Return title and table of what each class is taken for; None where there are no classes."""
    found = resemblances(store)
    if not found:
        return None
    title = "If outputs are logits of classes, what the teacher takes each for (mean probability)"
    if len(found) > _MOST_CLASSES:
        title += f": the {_MOST_CLASSES} that it is least sure of"
        found = sorted(found, key=lambda each: each.own)[:_MOST_CLASSES]
    table = Table("class", "rows", "itself", "others", box=None)
    for each in found:
        others = _pairs(each.others)
        table.add_row(str(each.predicted), count(each.examples), percent(each.own), others)
    return title, table


def _pairs(pairs: Iterable[tuple[int, float]]) -> str:
    return "  ".join(f"{name}: {percent(fraction)}" for name, fraction in pairs)
