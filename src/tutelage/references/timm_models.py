"""Models of the library timm: `timm:NAME`, with weights by tag or from a file."""

from __future__ import annotations

from typing import Any

from torch import nn

from tutelage.errors import ArgumentError, ModelError, did_you_mean
from tutelage.layers import ImageInputs, Prepared
from tutelage.layers.image_inputs import Interpolation
from tutelage.references.reference import Reference
from tutelage.references.weights import load_weights, read_weights

_DEFAULT = "default"


def load_timm(reference: Reference, classes: int | None) -> nn.Module:
    """Return a model of timm with the preprocessing of its config.

    `NAME` has random weights; `NAME@TAG`, or timm's own `NAME.TAG`, has published ones,
    `NAME@default` those that timm prefers, and `NAME@FILE` those of a file.

    Raises:
        ArgumentError: There is no such model, or no such tag.
        ModelError: The weights cannot be had, or are those of another model.
    """
    reference.check(options=("size",), weights=True)
    timm = reference.needs("timm", "vision")
    name, config = _config(timm, reference)
    size, file = reference.number("size"), reference.weight_file
    settings: dict[str, Any] = {}
    if size is not None and config.fixed_input_size:
        settings["img_size"] = size
    if file is not None:
        weights = read_weights(file)
        heads = config.classifier or ()
        heads = [heads] if isinstance(heads, str) else heads
        fresh = [f"{head}.{part}" for head in heads for part in ("weight", "bias")]
        own = next((len(weights[each]) for each in fresh if each in weights), None)
        untrained = "head" if classes not in (None, own) else None
        model = timm.create_model(name, **settings, **_classes(classes or own))
        load_weights(model, weights, file, fresh if untrained else ())
    elif reference.weights is None and "." not in name:
        way = f"write timm:{name}@{_DEFAULT} for published weights, or timm:{name}@FILE"
        count = reference.needs_classes(classes, "an architecture with random weights", way)
        model, untrained = timm.create_model(name, num_classes=count, **settings), "model"
    else:
        advice = f"connect to the network once, or name a file: timm:{name}@weights.safetensors"
        with reference.loading(advice):
            model = timm.create_model(name, pretrained=True, **settings, **_classes(classes))
        untrained = "head" if classes not in (None, config.num_classes) else None
    names = config.label_names if untrained is None and config.label_names else None
    names = tuple(names) if names and len(names) == model.num_classes else None
    return Prepared(model, _inputs(timm, model, size), names, untrained)


def _config(timm: Any, reference: Reference) -> tuple[str, Any]:
    """Return the name of a model with its tag, if there is one, and its config."""
    name, tag = reference.name, reference.weights
    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        hint = did_you_mean(architecture, timm.list_models()) or "timm.list_models() has all"
        raise ArgumentError(
            f"`{reference.argument}` must name a model of timm, got {reference.text!r}; {hint}"
        )
    if tag not in (None, _DEFAULT) and reference.weight_file is None:
        name = f"{architecture}.{tag}"
    try:
        config = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{architecture}.*")]
        raise ArgumentError(
            f"`{reference.argument}` must name weights that timm has, got {reference.text!r}; "
            f"those of {architecture} are {', '.join(tags) or 'none'}"
        ) from error
    return name, config or timm.models.PretrainedCfg()  # of a model without published weights


def _classes(classes: int | None) -> dict[str, Any]:
    return {} if classes is None else {"num_classes": classes}


def _inputs(timm: Any, model: nn.Module, size: int | None) -> ImageInputs:
    """Return the preprocessing of a model's config; with a size, without a margin."""
    config = timm.data.resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3 or config["crop_mode"] == "border":  # noqa: PLR2004
        raise ModelError(
            f"a model of timm must take whole images of 3 channels, got {type(model).__name__} "
            f"with {channels} and crop mode {config['crop_mode']!r}; write a function that "
            "prepares them: file.py:function"
        )
    crop = (height, width) if size is None else (size, size)
    resize: int | tuple[int, int] = size or int(min(height, width) / config["crop_pct"])
    if config["crop_mode"] == "squash":
        resize = (
            crop if size else (int(height / config["crop_pct"]), int(width / config["crop_pct"]))
        )
    interpolation: Interpolation = config["interpolation"]
    return ImageInputs(resize, crop, config["mean"], config["std"], interpolation)
