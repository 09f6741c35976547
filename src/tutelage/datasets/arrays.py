"""Arrays in `.npz` files."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.datasets.content import Content, Inputs
from tutelage.datasets.frame import Frame
from tutelage.datasets.options import DataOptions
from tutelage.datasets.pictures import Pictures
from tutelage.datasets.stored import Arrays, pillow
from tutelage.errors import DataError, in_short

_LARGE, _RATIO = 2**30, 100
_IMAGES, _COLOURED, _ROWS = 3, 4, 2
_CHANNELS = (1, 3, 4)


def read_arrays(argument: str, path: Path, options: DataOptions) -> Content:
    """Return the arrays `x` and `y` of a file, or `x_test`, `y_test` for test data, and so on.

    `x` is float rows or images as they are, uint8 images `[images, height, width]` with channels
    behind, if any, or texts; `y` is one label for each, or several.

    Raises:
        DataError: There is no `x`, it has objects in it, or `y` is of another length.
    """
    part = argument.rpartition(".")[2]
    try:
        _refuse_bomb(argument, path)
        with np.load(path, allow_pickle=False) as file:
            names = {each.lower(): each for each in file.files}
            end = f"_{part}" if f"x_{part}" in names else ""
            x, y = names.get(f"x{end}"), names.get(f"y{end}")
            if x is None:
                raise DataError(
                    f"`{argument}` must have an array x, got {path} with "
                    f"{', '.join(file.files) or 'none'}; write numpy.savez(path, x=..., y=...)"
                )
            inputs, labels = file[x], None if y is None else file[y]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, KeyError) as error:
        raise DataError(
            f"`{argument}` must be an .npz file of arrays of numbers or texts, got {path} with "
            f"{in_short(error)}; write it by numpy.savez without objects"
        ) from error
    columns = _label_columns(argument, path, len(inputs) if inputs.ndim else 0, labels)
    found = _inputs(argument, path, inputs, options)
    return Content(Frame(path.name, columns), found, tuple(columns))


def _refuse_bomb(argument: str, path: Path) -> None:
    with zipfile.ZipFile(path) as file:
        size = sum(each.file_size for each in file.infolist())
    if size > _LARGE and size > _RATIO * path.stat().st_size:
        raise DataError(
            f"`{argument}` must not be compressed more than {_RATIO}-fold, got {path} with "
            f"{size:,} bytes of arrays; write it by numpy.savez"
        )


def _label_columns(
    argument: str, path: Path, length: int, labels: NDArray[Any] | None
) -> dict[str, Any]:
    if not length:
        raise DataError(f"`{argument}` must have at least one row, got {path} with none; fill it")
    if labels is None:
        return {}
    if labels.ndim == _ROWS and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim not in (1, _ROWS) or len(labels) != length:
        raise DataError(
            f"`{argument}` must have a label for each of its {length:,} inputs, got y of shape "
            f"{list(labels.shape)} in {path}; give [examples] or [examples, labels]"
        )
    if labels.ndim == 1:
        return {"y": _cells(labels)}
    return {f"y{at}": _cells(labels[:, at]) for at in range(labels.shape[1])}


def _cells(labels: NDArray[Any]) -> Any:
    labels = labels.astype(np.float64) if labels.dtype.kind == "f" else labels
    return labels if labels.dtype.kind in "fiu" else labels.tolist()


def _inputs(argument: str, path: Path, x: NDArray[Any], options: DataOptions) -> Inputs:
    if x.dtype.kind == "U" and x.ndim == 1:
        return x.tolist()
    if x.dtype == np.uint8 and x.ndim in (_IMAGES, _COLOURED):
        pillow(argument)
        if x.ndim == _COLOURED and x.shape[3] not in _CHANNELS and x.shape[1] in _CHANNELS:
            x = np.moveaxis(x, 1, 3)
        if x.ndim == _COLOURED and x.shape[3] not in _CHANNELS:
            raise DataError(
                f"images in `{argument}` must be [images, height, width] with 1, 3 or 4 channels "
                f"behind, got {list(x.shape)} in {path}; change the order of its axes"
            )
        return Pictures(Arrays(x, path.name), options.size or (x.shape[1], x.shape[2]))
    if x.dtype.kind not in "fiub" or x.ndim < _ROWS:
        raise DataError(
            f"x must be numbers [examples, …] or texts [examples], got {x.dtype} of shape "
            f"{list(x.shape)} in {path}; convert it"
        )
    found = torch.from_numpy(np.ascontiguousarray(x))
    return found.to(torch.get_default_dtype()) if found.is_floating_point() else found
