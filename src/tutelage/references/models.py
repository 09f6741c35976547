"""Load models by reference, each with the preprocessing of its inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import nn

from tutelage.errors import ArgumentError, ModelError, did_you_mean
from tutelage.layers import TextInputs
from tutelage.nested import describe
from tutelage.objectives._objective import OutputKind
from tutelage.references import python_object
from tutelage.references.boosting import load_catboost, load_lightgbm, load_xgboost
from tutelage.references.estimators import load_estimator
from tutelage.references.exported import load_exported
from tutelage.references.hugging_face import load_hugging_face, load_text_inputs
from tutelage.references.onnx_model import load_onnx
from tutelage.references.reference import WEIGHT_FILES, Reference
from tutelage.references.sentence_encoders import load_sentence_encoder
from tutelage.references.timm_models import load_timm
from tutelage.references.torchvision_models import load_torchvision
from tutelage.references.weights import load_weights, read_weights
from tutelage.teachers import Predictor, Teacher

Loader = Callable[[Reference, int | None], nn.Module | Teacher]

_KINDS: dict[str, Loader] = {
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
    ".json": load_xgboost,
    ".txt": load_lightgbm,
    ".cbm": load_catboost,
}
_PROBLEMS: dict[str, OutputKind] = {
    "single_label_classification": "classes",
    "multi_label_classification": "binary",
    "regression": "values",
}
_PICKLES = (".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".bin", ".ckpt")


def load_model(argument: str, reference: str, *, classes: int | None = None) -> nn.Module | Teacher:
    """Return the model of a reference, which takes batches of raw inputs.

    A causal language model of `hf:` takes tokens; see `text_inputs_of`.

    docs/models.md lists the forms: `timm:resnet18@default`, `torchvision:resnet18@DEFAULT`,
    `hf:FOLDER`, `model.onnx`, `package.module:function` and others. No file can run code, except
    for `file.py:function` and for a repository whose reference ends in `?trust_remote_code`.

    Args:
        argument: Its name, for messages.
        reference: The reference.
        classes: The number of classes. A model without an output layer, or with one of another
            size, gets a new one with random weights (see `untrained`).

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
    kind, colon, rest = reference.partition(":")
    if colon and kind in _KINDS:
        return _KINDS[kind](Reference.parse(argument, reference, rest), classes)
    parsed = Reference.parse(argument, reference, reference)
    if ":" in parsed.name:
        return _of_python(parsed, kind)
    suffix = Path(parsed.name).suffix.lower()
    if suffix in _FILES:
        return _FILES[suffix](parsed, classes)
    raise _unknown(parsed, suffix)


def text_inputs_of(argument: str, reference: str) -> TextInputs | None:
    """Return how texts become tokens of a causal language model of `hf:`; None for other models.

    Args:
        argument: Its name, for messages.
        reference: The reference of the model.

    Raises:
        ArgumentError: There is no such folder.
        ModelError: It cannot be loaded.
    """
    kind, _, rest = reference.partition(":")
    if kind != "hf":
        return None
    return load_text_inputs(Reference.parse(argument, reference, rest))


def class_names(model: nn.Module | Teacher) -> tuple[str, ...] | None:
    """Return the names of a model's classes, in the order of its outputs; None if not known."""
    source = model.predict if isinstance(model, Predictor) else model
    names = getattr(source, "class_names", None)
    return None if names is None else tuple(map(str, names))


def untrained(model: nn.Module | Teacher) -> str | None:
    """Return which part of a loaded model has random weights: "model", "head", or None."""
    return getattr(model, "untrained", None)


def output_kind(model: nn.Module | Teacher) -> OutputKind | None:
    """Return what a model's outputs are: "classes", "binary" or "values"; None if not known.

    Models of transformers say it by `problem_type` in their config, or by having one output, which
    is a value.
    """
    if isinstance(model, Predictor):
        return ("binary" if model.binary else "classes") if model.probabilities else None
    config = getattr(model, "config", None)
    problem = getattr(config, "problem_type", None)
    if problem is None and getattr(config, "num_labels", None) == 1:
        problem = "regression"
    return None if problem is None else _PROBLEMS.get(str(problem))


def _of_python(reference: Reference, kind: str) -> nn.Module | Teacher:
    """Return the model of `package.module:name` or `file.py:name`, with weights if there are."""
    known = did_you_mean(kind, _KINDS)
    reference.check(weights=True)
    try:
        found = python_object.load(reference.argument, reference.name)
    except ArgumentError as error:
        if known and not kind.endswith(".py"):
            raise ArgumentError(f"{error} ({known})") from error
        raise
    if not isinstance(found, (nn.Module, Teacher)):
        raise ModelError(
            f"`{reference.argument}` must name a torch.nn.Module or a Teacher, or a function that "
            f"returns one, got {describe(found)} for {reference.text!r}; wrap another model in "
            "tl.teachers.Predictor"
        )
    if reference.weights is None:
        return found
    if not isinstance(found, nn.Module):
        raise ModelError(
            f"`{reference.argument}` has weights behind the @ for a {type(found).__name__}, which "
            "is no torch.nn.Module; leave them out"
        )
    path = Path(reference.weights).expanduser()
    load_weights(found, read_weights(path), path)
    return found


def _unknown(reference: Reference, suffix: str) -> ArgumentError | ModelError:
    """Return the error for what is no reference to a model, or to one that is refused."""
    argument, text = reference.argument, reference.text
    if suffix in _PICKLES:
        way = (
            "write the weights alone, safetensors.torch.save_file(model.state_dict(), "
            '"weights.safetensors"), and name the architecture: '
            "timm:resnet18@weights.safetensors or model.py:network@weights.safetensors (or, of a "
            "state dict, network@weights.pt)"
            if suffix in WEIGHT_FILES
            else 'write an estimator of scikit-learn by skops.io.dump(model, "model.skops"), and '
            "models of other libraries by their own save_model; or load it in your own code: "
            "model.py:function"
        )
        return ModelError(
            f"`{argument}` must be a file that cannot run code, got {text!r}, a kind of file that "
            f"is read by pickle; {way}"
        )
    if suffix == ".safetensors":
        return ArgumentError(
            f"`{argument}` must name the architecture of the weights, got {text!r}; write "
            "timm:resnet18@weights.safetensors, or model.py:network@weights.safetensors"
        )
    return ArgumentError(
        f"`{argument}` must be a reference to a model, got {text!r}; write "
        f"{', '.join(f'{kind}:NAME' for kind in _KINDS)}, package.module:function, "
        f"file.py:function, or the file of a model ({', '.join(_FILES)})"
    )
