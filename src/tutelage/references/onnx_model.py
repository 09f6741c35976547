"""A model in a file of ONNX, run by ONNX Runtime, as a teacher."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tutelage.datasets import Columns
from tutelage.errors import ArgumentError, ModelError
from tutelage.exporting import ABOUT
from tutelage.identity import identity
from tutelage.references.hub_files import HubFiles
from tutelage.references.hugging_face import text_inputs
from tutelage.references.prepare import IMAGE_OPTIONS, image_options
from tutelage.references.reference import Reference
from tutelage.references.row_model import digest_of
from tutelage.teachers import Predictor, Teacher

_DTYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
    "tensor(string)": object,
}
_FLOATS = ("tensor(float)", "tensor(double)", "tensor(float16)")
OPTIONS = ("binary", "max_length", "output", "probabilities", "tokenizer", *IMAGE_OPTIONS)


def load_onnx(reference: Reference, classes: int | None) -> Teacher:
    """Return a model of ONNX as a teacher.

    It is given raw inputs as they are, or images normalised by `?mean=` and `?std=`, or the tokens
    of texts by `?tokenizer=FOLDER`. `?output=NAME` chooses one of several outputs;
    `?probabilities` says that it is one of probabilities, and `?binary` that these are of binary
    labels.

    Raises:
        ArgumentError: There is no such file.
        ModelError: It is damaged, or has other inputs or outputs.
    """
    reference.check(options=OPTIONS)
    path = reference.file
    for package in ("onnxruntime", "onnx"):
        reference.needs(package, "onnx")
    prepare = _prepare(reference)
    with reference.loading("copy it again, with the files that belong to it, or export it again"):
        model = OnnxModel(path, reference.options.get("output"), prepare)
    reference.check_classes(model.outputs, classes)
    binary, probabilities = reference.flag("binary"), reference.flag("probabilities")
    return Predictor(model, probabilities=probabilities or binary, binary=binary)


class OnnxModel:
    """A function of arrays, or of arrays of texts.

    Args:
        path: The file.
        output: The name of the output; None if there is one only.
        prepare: From raw inputs to the model's inputs: a tensor, or a dict of them by name.

    `columns` are those of the table that the file was trained on, where it tells them; rows of
    `given` columns become rows of these.

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
        self.digest = " ".join(map(digest_of, (path, *_weight_files(path))))
        # Of a student that `tutelage export` wrote.
        about = json.loads(self.session.get_modelmeta().custom_metadata_map.get(ABOUT, "{}"))
        self.class_names = tuple(about.get("classes", ())) or None
        own = about.get("inputs", {})
        self.columns = Columns.of_json(own) if own.get("by") == "table" else None
        self.given: Columns | None = None
        self.inputs = {each.name: each.type for each in self.session.get_inputs()}
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
        self.name, self.shape = chosen[0].name, chosen[0].shape
        wrong = [f"{name} ({kind})" for name, kind in self.inputs.items() if kind not in _DTYPES]
        if wrong or not self.inputs or (len(self.inputs) > 1 and prepare is None):
            raise ModelError(
                f"{path.name} must have one input of numbers or texts, got "
                f"{', '.join(f'{name} ({kind})' for name, kind in self.inputs.items())}; for "
                "tokens, give the folder of the tokenizer: ?tokenizer=FOLDER"
            )

    @property
    def outputs(self) -> int | None:
        """The number of outputs, if the file tells it."""
        last = self.shape[-1] if self.shape else None
        return last if isinstance(last, int) else None

    def __call__(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for raw inputs.

        Raises:
            ModelError: They have another shape than the file says.
        """
        given: Any = raw
        if self.columns is not None and self.given is not None:
            given = self.columns.recoded(raw, self.given)
        if self.prepare is not None:
            texts = raw.dtype == object
            given = self.prepare(raw.tolist() if texts else torch.from_numpy(raw))
        if not isinstance(given, dict):
            given = {next(iter(self.inputs)): given}
        missing = self.inputs.keys() - given.keys()
        if missing:
            raise ModelError(
                f"the inputs of {self.path.name} must be made by its tokenizer, which does not make"
                f" {', '.join(sorted(missing))}; give the tokenizer that belongs to it"
            )
        feed = {name: self._cast(name, kind, given[name]) for name, kind in self.inputs.items()}
        found = np.asarray(self.session.run([self.name], feed)[0])
        if self.outputs is not None and found.shape[-1:] != (self.outputs,):
            raise ModelError(
                f"{self.path.name} must return what it says, {self.shape} for {self.name!r}, got "
                f"{list(found.shape)}; export it again"
            )
        return found

    def _cast(self, name: str, kind: str, given: Any) -> NDArray[Any]:
        """Return an input in the model's type; refuse what integers would cut off."""
        array = np.asarray(given)
        with np.errstate(invalid="ignore"):  # NaN is no integer
            found = array.astype(_DTYPES[kind])
        if array.dtype.kind == "f" and found.dtype.kind in "iu" and not (found == array).all():
            raise ModelError(
                f"the inputs of {self.path.name} must be integers, {kind} for {name!r}, got other "
                f"numbers from {array.min():g} to {array.max():g} (images are given in [0, 1]); "
                "export it with an input of floats, or load it in your own code: file.py:function"
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of the file and its weights, with the preprocessing."""
        given = "" if self.given is None else identity(self.given)
        return f"onnx {self.digest} {self.name} {self.prepare!r} {given}"

    def __reduce__(self) -> tuple[Any, ...]:
        return OnnxModel, (self.path, self.output, self.prepare), {"given": self.given}


def _weight_files(path: Path) -> list[Path]:
    """Return the files beside a model that hold its weights, as exporters write large ones."""
    import onnx  # noqa: PLC0415 - an extra

    def tensors(graph: Any) -> Iterator[Any]:
        yield from graph.initializer
        for attribute in (each for node in graph.node for each in node.attribute):
            yield attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors(inner)

    found = onnx.load(path, load_external_data=False)
    entries = (entry for each in tensors(found.graph) for entry in each.external_data)
    names = {entry.value for entry in entries if entry.key == "location"}
    return [path.parent / each for each in sorted(names)]


def _prepare(reference: Reference) -> Callable[[Any], Any] | None:
    """Return the preprocessing that the options describe."""
    images, folder = image_options(reference), reference.options.get("tokenizer")
    if folder is None:
        if "max_length" in reference.options:
            raise ArgumentError(
                f"`max_length` is of a tokenizer, got none in {reference.text!r}; add "
                "tokenizer=FOLDER, or leave it out"
            )
        return images
    if images is not None:
        raise ArgumentError(
            f"inputs must be texts or images, got options of both in {reference.text!r}; leave "
            f"out {', '.join(IMAGE_OPTIONS)}"
        )
    if not re.fullmatch(r"[^?&@]+", folder):
        raise ArgumentError(f"`tokenizer` must be a folder, got {folder!r}; correct it")
    tokens = Reference(reference.argument, reference.text, folder)
    files = HubFiles(tokens, reference.needs("transformers", "hf"), needs_config=False)
    return text_inputs(files, None, reference.number("max_length"))
