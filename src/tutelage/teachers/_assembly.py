"""Answers for parts of a batch, put together in the batch's order."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tutelage.coarse import CoarseLogits
from tutelage.errors import ModelError
from tutelage.signals import Signals


def assembled(answers: Sequence[Signals], rows: Tensor, names: Sequence[str]) -> Signals:
    """Return the answers of several teachers for a whole batch.

    Args:
        answers: Of each teacher, for its rows.
        rows: `[batch]`: of the answers, one after another, the places in the batch.
        names: Of the teachers' domains, for messages.

    Raises:
        ModelError: The answers are not of one shape, example by example.
    """
    order = torch.empty_like(rows).scatter_(0, rows, torch.arange(len(rows), device=rows.device))
    features = {
        place: _together("feature", [each.features[place] for each in answers], names)[order]
        for place in answers[0].features
    }
    outputs = [each.output for each in answers if each.output is not None]
    return Signals(_outputs(outputs, names)[order] if outputs else None, features)


def _outputs(
    outputs: Sequence[Tensor | CoarseLogits], names: Sequence[str]
) -> Tensor | CoarseLogits:
    """Join outputs; those of all classes are written as such where others know some."""
    dense = [each for each in outputs if isinstance(each, Tensor)]
    if len(dense) == len(outputs):
        return _together("output", dense, names)
    _check_widths(outputs, names)
    parts = [CoarseLogits.of(each) if isinstance(each, Tensor) else each for each in outputs]
    return CoarseLogits.joined(parts)


def _check_widths(outputs: Sequence[Tensor | CoarseLogits], names: Sequence[str]) -> None:
    """Refuse plain logits of fewer classes than others name: whose they are is not known."""
    widths = {
        name: each.shape[1]
        for name, each in zip(names, outputs, strict=True)
        if isinstance(each, Tensor)
    }
    # Looked at on the CPU only, where reading does not wait for a device.
    ids = [each.ids for each in outputs if isinstance(each, CoarseLogits)]
    named = max((int(each.amax()) + 1 for each in ids if each.device.type == "cpu"), default=0)
    if len(set(widths.values())) > 1 or min(widths.values(), default=named) < named:
        raise ModelError(
            f"a specialist of all classes must have one logit for each, got {widths} logits where "
            f"other specialists name class {named - 1}; name the classes of each one that knows "
            "some by Specialist(teacher, labels=[...])"
        )


def _together(what: str, parts: Sequence[Tensor], names: Sequence[str]) -> Tensor:
    if len({part.shape[1:] for part in parts}) > 1:
        shapes = {name: list(part.shape[1:]) for name, part in zip(names, parts, strict=True)}
        raise ModelError(
            f"specialists must have {what}s of one shape, got {shapes}; where they know different "
            "classes, name each one's by Specialist(teacher, labels=[...])"
        )
    return torch.cat(list(parts))
