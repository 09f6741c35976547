"""Load models by reference, each with the preprocessing of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from torch import nn

from tutelage.errors import ArgumentError, ModelError, NotFoundError
from tutelage.nested import describe
from tutelage.references import python_object
from tutelage.references.hugging_face import load_hugging_face, load_sentence_encoder
from tutelage.references.programs import load_exported, load_onnx
from tutelage.references.reference import KINDS, WEIGHT_FILES, Reference
from tutelage.references.tables import (
    load_boosted_json,
    load_catboost,
    load_estimator,
    load_lightgbm,
    load_xgboost,
)
from tutelage.references.vision import load_timm, load_torchvision
from tutelage.references.weights import load_weights, read_weights
from tutelage.teachers import Predictor, Teacher

Loader = Callable[[Reference, int | None], nn.Module | Teacher]

_LOADERS: dict[str, Loader] = {
    "timm": load_timm,
    "torchvision": load_torchvision,
    "hf": load_hugging_face,
    "sentence-transformers": load_sentence_encoder,
}
_FILES: dict[str, Loader] = {
    ".pt2": load_exported,
    ".onnx": load_onnx,
    ".skops": load_estimator,
    ".ubj": load_xgboost,
    ".json": load_boosted_json,
    ".txt": load_lightgbm,
    ".cbm": load_catboost,
}
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle")


def load_model(
    argument: str,
    reference: str,
    *,
    classes: int | None = None,
    trust: bool | Collection[str] = False,
) -> nn.Module | Teacher:
    """Return the model of a reference, which takes batches of raw inputs.

    A causal language model of `hf:` takes tokens; see `text_inputs_of`.

    docs/models.md lists the forms: `timm:resnet18@default`, `torchvision:resnet18@DEFAULT`,
    `hf:FOLDER`, `model.onnx`, `package.module:function` and others. No file can run code, except
    for `file.py:function`, which the reference names, unless `trust` says so.

    Args:
        argument: Its name, for messages.
        reference: The reference.
        classes: The number of classes. A model without an output layer, or with one of another
            size, gets a new one with random weights.
        trust: Whether code that comes with the model may run: that of a repository of `hf:`, a
            program of torch.export, types of a skops file that skops does not know as safe. A list
            of names trusts these types alone.

    Raises:
        ArgumentError: It has no known form, or names nothing that exists.
        ModelError: The model cannot be loaded: it is damaged, could run code, a package is
            missing, or it has another number of classes.
    """
    if not isinstance(reference, str) or not reference:
        raise ArgumentError(
            f"`{argument}` must be a reference to a model, got {describe(reference)}; for instance "
            "'timm:resnet18@default' or 'model.py:network'"
        )
    parsed = Reference.parse(argument, reference, trust)
    if parsed.kind == "python":
        return _of_python(parsed)
    suffix = Path(parsed.name).suffix.lower()
    if parsed.kind == "file" and suffix not in _FILES:
        raise _unknown(parsed, suffix)
    return (_FILES[suffix] if parsed.kind == "file" else _LOADERS[parsed.kind])(parsed, classes)


def class_names(model: nn.Module | Teacher) -> tuple[str, ...] | None:
    """Return the names of a model's classes, in the order of its outputs; None if not known."""
    source = model.predict if isinstance(model, Predictor) else model
    names = getattr(source, "class_names", None)
    return None if names is None else tuple(map(str, names))


def _of_python(reference: Reference) -> nn.Module | Teacher:
    """Return the model of `package.module:name` or `file.py:name`, with weights if there are."""
    reference.with_options()
    found = python_object.load(reference.argument, reference.name)
    if not isinstance(found, (nn.Module, Teacher)) or (
        reference.weights is not None and not isinstance(found, nn.Module)
    ):
        raise ModelError(
            f"`{reference.argument}` must name a torch.nn.Module or a Teacher (with weights behind "
            f"an @, a module), or a function that returns one, got {describe(found)} for "
            f"{reference.text!r}; wrap another model in tl.teachers.Predictor"
        )
    if reference.weights is not None and isinstance(found, nn.Module):
        path = Path(reference.weights).expanduser()
        load_weights(found, read_weights(path), path)
    return found


def _unknown(reference: Reference, suffix: str) -> ArgumentError | ModelError:
    """Return the error for a text that does not refer to a model, or to one that is refused."""
    argument, text = reference.argument, reference.text
    if suffix in WEIGHT_FILES:
        return ModelError(
            f"`{argument}` must name the architecture of the weights, got {text!r}, which is not "
            "read as a whole model by pickle; write timm:resnet18@weights.safetensors or "
            "model.py:network@weights.pt, with a state dict in the file"
        )
    if suffix in _PICKLES:
        return ModelError(
            f"`{argument}` must be a file that cannot run code, got {text!r}, which is read by "
            'pickle; write an estimator of scikit-learn by skops.io.dump(model, "model.skops"), '
            "others by their own save_model, or load it in your own code: model.py:function"
        )
    return NotFoundError(
        f"`{argument}` must be a reference to a model, got {text!r}; write "
        f"{', '.join(f'{kind}:NAME' for kind in KINDS)}, package.module:function, "
        f"file.py:function, or the file of a model ({', '.join(_FILES)})"
    )
