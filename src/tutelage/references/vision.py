"""Image models of timm and torchvision, with weights by name or from a file."""

from __future__ import annotations

from typing import Any

from torch import nn

from tutelage.errors import ArgumentError, ModelError, did_you_mean
from tutelage.layers import ImageInputs, Prepared
from tutelage.references.reference import Reference
from tutelage.references.weights import load_weights, read_weights

_DEFAULT = "default"


def load_timm(reference: Reference, classes: int | None) -> nn.Module:
    """Return a model of timm with the preprocessing of its config.

    `NAME` has random weights; `NAME@TAG`, or timm's own `NAME.TAG`, has published ones,
    `NAME@default` those that timm prefers, and `NAME@FILE` those of a file.

    Raises:
        ArgumentError: There is no such model, or no such tag.
        ModelError: The weights cannot be downloaded or read, or do not fit the model.
    """
    reference = reference.with_options(size=int)
    timm = reference.needs("timm", "vision")
    name, config = _timm_config(timm, reference)
    size, file = reference.options.get("size"), reference.weight_file
    settings: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if size is not None and config.fixed_input_size:
        settings["img_size"] = size
    if file is not None:
        weights = read_weights(file)
        heads = config.classifier or ()
        heads = [heads] if isinstance(heads, str) else heads
        fresh = [f"{head}.{part}" for head in heads for part in ("weight", "bias")]
        in_file = next((len(weights[each]) for each in fresh if each in weights), None)
        if classes or in_file:
            settings["num_classes"] = classes or in_file
        model = timm.create_model(name, **settings)
        load_weights(model, weights, file, fresh if classes not in (None, in_file) else ())
    elif reference.weights is None and "." not in name:
        way = f"write timm:{name}@{_DEFAULT} for published weights, or timm:{name}@FILE"
        reference.needs_classes(classes, "an architecture with random weights", way)
        model = timm.create_model(name, **settings)
    else:
        advice = f"connect to the network once, or name a file: timm:{name}@weights.safetensors"
        with reference.loading(advice):
            model = timm.create_model(name, pretrained=True, **settings)
    return Prepared(model, _timm_inputs(timm, model, size))


def _timm_config(timm: Any, reference: Reference) -> tuple[str, Any]:
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


def _timm_inputs(timm: Any, model: nn.Module, size: int | None) -> ImageInputs:
    """Return the preprocessing of a model's config; with a size, without a margin."""
    config = timm.data.resolve_model_data_config(model)
    channels, height, width = config["input_size"]
    if channels != 3 or config["crop_mode"] == "border":  # noqa: PLR2004
        raise ModelError(
            f"a model of timm must take whole images of 3 channels, got {type(model).__name__} "
            f"with {channels} and crop mode {config['crop_mode']!r}; write a function that "
            "prepares them: file.py:function"
        )
    crop, fraction = (height, width), config["crop_pct"]
    resize: int | tuple[int, int] = int(min(height, width) / fraction)
    if config["crop_mode"] == "squash":
        resize = (int(height / fraction), int(width / fraction))
    if size is not None:
        crop, resize = (size, size), (size, size) if config["crop_mode"] == "squash" else size
    return ImageInputs(resize, crop, config["mean"], config["std"], config["interpolation"])


def load_torchvision(reference: Reference, classes: int | None) -> nn.Module:
    """Return a classifier of torchvision with the preprocessing of its weights.

    `NAME` has random weights; `NAME@IMAGENET1K_V1` has published ones, `NAME@DEFAULT` those that
    torchvision prefers, and `NAME@FILE` those of a file. Without published ones, the preprocessing
    is that of `DEFAULT`.

    Raises:
        ArgumentError: There is no such model, or no such weights.
        ModelError: The weights cannot be downloaded or read, or do not fit the model.
    """
    reference = reference.with_options(size=int)
    models = reference.needs("torchvision.models", "vision")
    name, size = reference.name, reference.options.get("size")
    if name not in models.list_models(module=models):
        hint = did_you_mean(name, models.list_models(module=models))
        raise ArgumentError(
            f"`{reference.argument}` must name an image classifier of torchvision, got "
            f"{reference.text!r}; {hint or 'torchvision.models.list_models() has all'}"
        )
    known = models.get_model_weights(name)
    settings = {"image_size": size} if size is not None and name.startswith("vit_") else {}
    file = reference.weight_file
    if reference.weights is None:
        way = f"write torchvision:{name}@DEFAULT for published weights, or torchvision:{name}@FILE"
        count = reference.needs_classes(classes, "an architecture with random weights", way)
        model = models.get_model(name, weights=None, num_classes=count, **settings)
        return Prepared(model, _torchvision_inputs(known.DEFAULT, size))
    if file is not None:
        weights = read_weights(file)
        model = models.get_model(name, weights=None, **settings)
        head = _head_of(model)
        in_file = len(weights[f"{head}.weight"]) if f"{head}.weight" in weights else None
        count = classes or in_file
        if count not in (None, len(_layer(model, head).weight)):
            model = models.get_model(name, weights=None, num_classes=count, **settings)
        fresh = (f"{head}.weight", f"{head}.bias") if count != in_file else ()
        load_weights(model, weights, file, fresh)
        return Prepared(model, _torchvision_inputs(known.DEFAULT, size))
    if reference.weights not in known.__members__:
        raise ArgumentError(
            f"`{reference.argument}` must name weights that torchvision has, got "
            f"{reference.text!r}; those of {name} are {', '.join(known.__members__)}"
        )
    published = known[reference.weights]
    advice = f"connect to the network once, or name a file: torchvision:{name}@weights.pth"
    with reference.loading(advice):
        # Read once as tensors alone: the builder, which knows what these weights need, does not
        # refuse a pickle.
        published.get_state_dict(progress=False, check_hash=True, weights_only=True)
        model = models.get_model(name, weights=published, progress=False, **settings)
    head, names = _head_of(model), tuple(published.meta["categories"])
    if classes not in (None, len(_layer(model, head).weight)):
        other = models.get_model(name, weights=None, num_classes=classes, **settings)
        model.set_submodule(head, _layer(other, head))
        names = None
    return Prepared(model, _torchvision_inputs(published, size), names)


def _head_of(model: nn.Module) -> str:
    """Return the path of the layer that gives a classifier's output, its last one."""
    return [*model.state_dict()][-1].rpartition(".")[0]


def _layer(model: nn.Module, path: str) -> Any:
    return model.get_submodule(path)


def _torchvision_inputs(weights: Any, size: int | None) -> ImageInputs:
    """Return the preprocessing that belongs to weights; with a size, without a margin."""
    preset = weights.transforms()
    resize, crop = preset.resize_size, preset.crop_size[0]
    resize = resize[0] if len(resize) == 1 else tuple(resize)
    resize, crop = (resize, crop) if size is None else (size, size)
    return ImageInputs(resize, crop, preset.mean, preset.std, preset.interpolation.value)
