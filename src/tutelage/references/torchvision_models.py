"""Image classifiers of torchvision: `torchvision:NAME`, with weights by name or from a file."""

from __future__ import annotations

from typing import Any

from torch import nn

from tutelage.errors import ArgumentError, did_you_mean
from tutelage.layers import ImageInputs, Prepared
from tutelage.layers.image_inputs import Interpolation
from tutelage.references.reference import Reference
from tutelage.references.weights import head_of, load_weights, read_weights


def load_torchvision(reference: Reference, classes: int | None) -> nn.Module:
    """Return a classifier of torchvision with the preprocessing of its weights.

    `NAME` has random weights; `NAME@IMAGENET1K_V1` has published ones, `NAME@DEFAULT` those that
    torchvision prefers, and `NAME@FILE` those of a file. Without published ones, the preprocessing
    is that of `DEFAULT`.

    Raises:
        ArgumentError: There is no such model, or no such weights.
        ModelError: The weights cannot be had, or are those of another model.
    """
    reference.check(options=("size",), weights=True)
    models = reference.needs("torchvision.models", "vision")
    name, size = reference.name, reference.number("size")
    if name not in models.list_models(module=models):
        hint = did_you_mean(name, models.list_models(module=models))
        raise ArgumentError(
            f"`{reference.argument}` must name an image classifier of torchvision, got "
            f"{reference.text!r}; {hint or 'torchvision.models.list_models() has all'}"
        )
    known = models.get_model_weights(name)
    settings = {"image_size": size} if size is not None and name.startswith("vit_") else {}
    file, published = reference.weight_file, None
    if file is not None:
        weights = read_weights(file)
    elif reference.weights is None:
        way = f"write torchvision:{name}@DEFAULT for published weights, or torchvision:{name}@FILE"
        count = reference.needs_classes(classes, "an architecture with random weights", way)
        model = models.get_model(name, weights=None, num_classes=count, **settings)
        return Prepared(model, _inputs(known.DEFAULT, size), untrained="model")
    else:
        published = _named(reference, known)
        advice = f"connect to the network once, or name a file: torchvision:{name}@weights.pth"
        with reference.loading(advice):
            weights = published.get_state_dict(progress=False, check_hash=True, weights_only=True)
    model = models.get_model(name, weights=None, **settings)
    head = head_of(model)
    own = len(weights[f"{head}.weight"]) if f"{head}.weight" in weights else None
    count = classes or own
    if count is not None and count != len(model.get_submodule(head).weight):  # pyright: ignore[reportArgumentType]
        model = models.get_model(name, weights=None, num_classes=count, **settings)
    is_fresh = count != own
    fresh = (f"{head}.weight", f"{head}.bias") if is_fresh else ()
    load_weights(model, weights, file or reference.weights, fresh)
    names = None if published is None or is_fresh else tuple(published.meta["categories"])
    inputs = _inputs(known.DEFAULT if published is None else published, size)
    return Prepared(model, inputs, names, "head" if is_fresh else None)


def _named(reference: Reference, known: Any) -> Any:
    """Return the published weights that a reference names."""
    try:
        return known[reference.weights]
    except KeyError as error:
        names = [*known.__members__, "DEFAULT"]
        raise ArgumentError(
            f"`{reference.argument}` must name weights that torchvision has, got "
            f"{reference.text!r}; those of {reference.name} are {', '.join(dict.fromkeys(names))}"
        ) from error


def _inputs(weights: Any, size: int | None) -> ImageInputs:
    """Return the preprocessing that belongs to weights; with a size, without a margin."""
    preset = weights.transforms()
    interpolation: Interpolation = preset.interpolation.value
    resize, crop = preset.resize_size, preset.crop_size
    resize = resize[0] if len(resize) == 1 else tuple(resize)
    resize, crop = (resize, crop[0]) if size is None else (size, size)
    return ImageInputs(resize, crop, preset.mean, preset.std, interpolation)
