"""The folder of a store: whose it is, and that one call at a time fills it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tutelage.data import views_in
from tutelage.errors import StoreError
from tutelage.files import locked as file_lock
from tutelage.store import Data, Layout, Manifest, Views
from tutelage.store.manifest import NAME
from tutelage.training.answers import Answers
from tutelage.training.folder import versions


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder, and keep a second call from filling the same store at the same time.

    Raises:
        StoreError: Another one does, or the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            ours = stack.enter_context(file_lock(folder / ".lock"))
        except OSError as error:
            raise StoreError(
                f"`out` must be a folder that can be written, got {folder} with {error}; choose "
                "another, or mend it"
            ) from error
        if not ours:
            raise StoreError(
                f"`out` must not be in use, got {folder}, which another process is filling now; "
                "wait for it, or choose another folder"
            )
        yield


def described_views(dataset: object, count: int) -> Views:
    """Return what says how each of so many views of the data set is made."""
    found = views_in(dataset)
    if not found:
        return Views(count=count)
    seeds = {each.seed for each in found}
    described = sorted({each.description for each in found})
    return Views(
        count=count,
        seed=seeds.pop() if len(seeds) == 1 else None,
        transform="; ".join(described),
    )


def claim(folder: Path, teacher: str, data: Data, views: Views, answers: Answers) -> Manifest:
    """Return the manifest of the store in a folder; a new one where there is none.

    Raises:
        StoreError: The folder holds another store, or something else, or cannot be written.
    """
    if (folder / NAME).exists():
        found = Manifest.read(folder)
        asked = found.model_copy(
            update={
                "teacher": teacher,
                "data": data,
                "views": views,
                "settings": answers.settings,
            }
        )
        _compare(folder, found, asked)
        return found
    fields = answers.fields()
    draft = Manifest(
        made_with=versions(),
        teacher=teacher,
        data=data,
        views=views,
        settings=answers.settings,
        fields=fields,
        block_rows=1,
        shard_blocks=1,
    )
    widest = max(1, *(column.row_bytes for column in draft.columns))
    layout = Layout.fitting(data.examples, views.count, answers.settings.batch_size, widest)
    sizes = {"block_rows": layout.block_rows, "shard_blocks": layout.shard_blocks}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _refuse_strangers(folder)
        draft.model_copy(update=sizes).write(folder, replace=False)
    except OSError as error:
        raise StoreError(
            f"`out` must be a folder that can be written, got {folder} with {error}; choose "
            "another, or mend it"
        ) from error
    return Manifest.read(folder)


def _compare(folder: Path, found: Manifest, asked: Manifest) -> None:
    there, now = found.identity(), asked.identity()
    lines = [
        f"  {name}: {there[name]!r} there, {now[name]!r} now"
        for name in there
        if there[name] != now[name]
    ]
    if lines:
        raise StoreError(
            f"`out` must be empty or hold this very store, got {folder} with a store that differs "
            "in\n" + "\n".join(lines) + "\nchoose another folder, or remove that one"
        )


def _refuse_strangers(folder: Path) -> None:
    found = sorted(path.name for path in folder.glob("*.npy"))
    # A manifest may have come meanwhile, of another process of this call, and files with it.
    if found and not (folder / NAME).exists():
        raise StoreError(
            f"`out` must be empty or hold a store, got {folder} with {found[0]} but without "
            f"{NAME}; choose another folder"
        )
