"""Models as programs in a file: of ONNX, run by ONNX Runtime, and of torch.export."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from tutelage.datasets import Columns
from tutelage.errors import ArgumentError, ModelError
from tutelage.exporting import ABOUT
from tutelage.identity import identity
from tutelage.layers import Prepared
from tutelage.references.hugging_face import Hub, text_inputs
from tutelage.references.reference import IMAGE_OPTIONS, Reference, digest_of
from tutelage.references.tables import TableModel
from tutelage.teachers import Predictor, Teacher

_IMAGES = 4  # dimensions of a batch
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(string)": object,
}


def load_onnx(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of ONNX as a teacher.

    It is given raw inputs as they are, or images normalised by `?mean=` and `?std=`, or the tokens
    of texts by `?tokenizer=FOLDER`. `?output=NAME` chooses one of several outputs;
    `?probabilities` says that it is one of probabilities, as its name may, and `?binary` that these
    are of binary labels.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is damaged, or has other inputs or outputs.
    """
    reference = reference.with_options(
        binary=bool, max_length=int, output=str, probabilities=bool, tokenizer=str, **IMAGE_OPTIONS
    )
    path, folder = reference.file, reference.options.get("tokenizer")
    for package in ("onnxruntime", "onnx"):
        reference.needs(package, "onnx")
    prepare: Callable[[Any], Any] | None = reference.image_inputs()
    if folder is not None:
        if prepare is not None:
            raise ArgumentError(
                f"inputs must be texts or images, got options of both in {reference.text!r}; leave "
                f"out {', '.join(IMAGE_OPTIONS)}"
            )
        prepare = text_inputs(Hub(replace(reference, name=folder)))
    with reference.loading("copy it again, with the files that belong to it, or export it again"):
        model = OnnxFunction(path, reference.options.get("output"), prepare)
    reference.check_classes(model.outputs, classes)
    binary = reference.options.get("binary", False)
    # Converters of scikit-learn, XGBoost and LightGBM call them so.
    known = binary or "probabilities" in {model.output_name, *reference.options}
    predict: Any = model
    if prepare is None:  # an input for each column, or one of arrays
        names = tuple(model.inputs) if len(model.inputs) > 1 else None
        predict = TableModel(path.name, model, model.fingerprint(), names, model.class_names)
        predict.own = model.own
    return Predictor(predict, probabilities=known, binary=binary)


class OnnxFunction:
    """A function of arrays, of arrays of texts, or of DataFrames with a column for each input.

    Args:
        path: The file.
        output: The name of the output; None if there is one only.
        prepare: From raw inputs to the model's inputs: a tensor, or a dict of them by name.

    `own` are the columns of the table that the file was trained on, where it tells them. Images are
    brought to the size of those that it was trained on.

    Raises:
        ModelError: It has other inputs or outputs.
    """

    def __init__(
        self, path: Path, output: str | None, prepare: Callable[[Any], Any] | None
    ) -> None:
        import onnxruntime  # noqa: PLC0415 - an extra

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised
        options.intra_op_num_threads = torch.get_num_threads()
        self.path, self.output, self.prepare = path, output, prepare
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.digest = " ".join(digest_of(each) for each in (path, *_weight_files(path)))
        # Of a student that `tutelage export` wrote.
        about = json.loads(self.session.get_modelmeta().custom_metadata_map.get(ABOUT, "{}"))
        self.class_names = tuple(about.get("classes", ())) or None
        own = about.get("inputs", {})
        self.own = Columns.of_json(own) if own.get("by") == "table" else None
        self.size: list[int] | None = own.get("size")
        self.inputs = {each.name: each.type for each in self.session.get_inputs()}
        unknown = [
            f"{name!r} ({kind})" for name, kind in self.inputs.items() if kind not in _DTYPES
        ]
        if unknown:
            raise ModelError(
                f"the inputs of {path.name} must be one of {', '.join(_DTYPES)}, got "
                f"{', '.join(unknown)}; export it with inputs of floats"
            )
        found = {each.name: each for each in self.session.get_outputs()}
        chosen = [each for each in found.values() if each.type in _FLOATS]
        if output is not None:
            chosen = [each for name, each in found.items() if name == output]
        if len(chosen) != 1:
            kinds = ", ".join(f"{name} ({each.type})" for name, each in found.items())
            raise ModelError(
                f"the output of {path.name} must be one tensor of floats, got {kinds}; choose it "
                "by ?output=NAME (of scikit-learn, export with zipmap=False)"
            )
        self.name, self.output_name = path.name, chosen[0].name
        last = chosen[0].shape[-1] if chosen[0].shape else None
        self.outputs = last if isinstance(last, int) else None
        """The number of outputs, if the file tells it."""

    def __call__(self, raw: Any) -> NDArray[Any]:
        """Return the outputs for raw inputs."""
        given: Any = raw
        if self.prepare is not None:
            given = self.prepare(raw.tolist() if raw.dtype == object else torch.from_numpy(raw))
        elif self.size is not None and raw.ndim == _IMAGES:
            given = _covering(torch.from_numpy(raw), self.size)
        elif hasattr(raw, "columns"):
            given = {name: raw[name].to_numpy()[:, None] for name in raw.columns}
        if not isinstance(given, dict):
            given = {next(iter(self.inputs)): given}
        lacking = self.inputs.keys() - given.keys()
        if lacking:
            raise ModelError(
                f"the inputs of {self.name} must be among {', '.join(map(str, given))}, got one "
                f"that needs {', '.join(sorted(lacking))} too; export it without, or load it in "
                "your own code: file.py:function"
            )
        feed = {name: self._cast(name, kind, given[name]) for name, kind in self.inputs.items()}
        return np.asarray(self.session.run([self.output_name], feed)[0])

    def _cast(self, name: str, kind: str, given: Any) -> NDArray[Any]:
        """Return an input in the model's type; refuse what integers would cut off."""
        array = np.asarray(given)
        with np.errstate(invalid="ignore"):  # NaN is not an integer
            found = array.astype(_DTYPES[kind])
        if array.dtype.kind == "f" and found.dtype.kind in "iu" and not (found == array).all():
            raise ModelError(
                f"the inputs of {self.name} must be integers, {kind} for {name!r}, got other "
                f"numbers from {array.min():g} to {array.max():g} (images are given in [0, 1]); "
                "export it with an input of floats, or load it in your own code: file.py:function"
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of the file and its weights, with the preprocessing."""
        return f"onnx {self.digest} {self.output_name} {identity(self.prepare)}"

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxFunction, (self.path, self.output, self.prepare)


def _covering(images: Tensor, size: Sequence[int]) -> Tensor:
    """Return images resized so that they cover a size, and cropped to it, as data sets do it."""
    scale = max(want / have for want, have in zip(size, images.shape[-2:], strict=True))
    to = [
        max(want, round(have * scale)) for want, have in zip(size, images.shape[-2:], strict=True)
    ]
    images = F.interpolate(images, size=to, mode="bilinear", antialias=True)
    top, left = ((have - want) // 2 for want, have in zip(size, to, strict=True))
    return images[..., top : top + size[0], left : left + size[1]]


def _weight_files(path: Path) -> list[Path]:
    """Return the files beside a model that hold its weights, as exporters write large ones."""
    import onnx  # noqa: PLC0415 - an extra

    tensors = onnx.load(path, load_external_data=False).graph.initializer
    entries = (entry for tensor in tensors for entry in tensor.external_data)
    return [
        path.parent / name for name in sorted({e.value for e in entries if e.key == "location"})
    ]


class ExportedProgram(nn.Module):
    """A program of torch.export as a teacher: it has no layers by name, and is not trained.

    Args:
        program: What `torch.export.load` returned.
    """

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.program = program.module()
        self.requires_grad_(False)

    def train(self, mode: bool = True) -> ExportedProgram:
        """Set the mode of this module alone, since that of a program cannot be changed."""
        self.training = mode
        return self

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the program returns."""
        return self.program(*args, **kwargs)


def load_exported(reference: Reference, classes: int | None) -> nn.Module:
    """Return a program that `torch.export.save` wrote, if the caller trusts it.

    Its format has pickles, expressions that are evaluated, and code that is generated from names
    in the file, so a file can be made that runs code when it is loaded.

    Raises:
        NotFoundError: There is no such file.
        ModelError: It is not trusted, or damaged.
    """
    del classes  # the number of outputs is known by running it only
    reference = reference.with_options(**IMAGE_OPTIONS)
    path, prepare = reference.file, reference.image_inputs()
    if reference.trust is not True:
        raise ModelError(
            f"`{reference.argument}` {reference.text!r} is a program of torch.export, which can "
            "run code when it is loaded; if you trust where it comes from, pass trust=True, on the "
            "command line --trust, or use ONNX or safetensors instead"
        )
    advice = "copy it again, or export it again with the installed version of PyTorch"
    with reference.loading(advice), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ExportedProgram(torch.export.load(path))
    return model if prepare is None else Prepared(model, prepare)
