"""Programs of torch.export, `model.pt2`."""

from __future__ import annotations

import warnings
import zipfile
from typing import Any

import torch
from torch import nn

from tutelage.errors import ModelError
from tutelage.layers import Prepared
from tutelage.references.archives import check_archive
from tutelage.references.prepare import IMAGE_OPTIONS, image_options
from tutelage.references.reference import Reference

_TRUST = "trust_code"


class Exported(nn.Module):
    """A program of torch.export as a teacher: it has no layers by name, and is not trained.

    Args:
        program: What `torch.export.load` returned.
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program.module()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> Exported:
        """Set the mode of this module alone, since that of a program cannot be changed."""
        self.training = mode
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the program returns."""
        return self.program(*args, **kwargs)


def load_exported(reference: Reference, classes: int | None) -> nn.Module:
    """Return a program that `torch.export.save` wrote, if the reference trusts it.

    Its format has pickles, expressions that are evaluated, and code that is generated from names
    in the file, so a file can be made that runs code when it is loaded.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is not trusted, or damaged.
    """
    reference.check(options=(_TRUST, *IMAGE_OPTIONS))
    path = reference.file
    if not reference.flag(_TRUST):
        raise ModelError(
            f"`{reference.argument}` {reference.text!r} is a program of torch.export, which can "
            f"run code when it is loaded; if you trust where it comes from, write ?{_TRUST} behind "
            "its name, or use ONNX or safetensors instead"
        )
    prepare = image_options(reference)
    if not zipfile.is_zipfile(path):
        raise ModelError(f"{path} must be a whole file of torch.export, got another; copy it again")
    check_archive(path, compressed=False)
    advice = "copy it again, or export it again with the installed version of PyTorch"
    with reference.loading(advice), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Exported(torch.export.load(path))
    del classes  # the number of outputs is known by running it only
    return model if prepare is None else Prepared(model, prepare)
