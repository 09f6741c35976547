"""The preprocessing of images that the options of a reference describe."""

from __future__ import annotations

from tutelage.errors import ArgumentError
from tutelage.layers import ImageInputs
from tutelage.references.reference import Reference

IMAGE_OPTIONS = ("mean", "size", "std")


def image_options(reference: Reference) -> ImageInputs | None:
    """Return the preprocessing of `?mean=0.5,0.5,0.5&std=0.5,0.5,0.5&size=224`; None without.

    Raises:
        ArgumentError: An option is no list of numbers.
    """
    if not set(IMAGE_OPTIONS) & reference.options.keys():
        return None
    size = reference.number("size")
    return ImageInputs(
        size, size, _numbers(reference, "mean", 0.0), _numbers(reference, "std", 1.0)
    )


def _numbers(reference: Reference, option: str, default: float) -> list[float] | float:
    value = reference.options.get(option)
    if value is None:
        return default
    try:
        return [float(each) for each in value.split(",")]
    except ValueError as error:
        raise ArgumentError(
            f"`{option}` must be numbers, one for each channel, got {value!r} in "
            f"{reference.text!r}; write {option}=0.5,0.5,0.5"
        ) from error
