"""What of a student is trained, and whether every loss term trains it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.heads import HeadLogits
from tutelage.layers.paths import LayerPath, submodule
from tutelage.signals import Signals
from tutelage.wants import Fields


def is_frozen(module: nn.Module) -> bool:
    """Tell whether a module has parameters, none of which is trained."""
    parameters = list(module.parameters())
    return bool(parameters) and not any(each.requires_grad for each in parameters)


def eval_frozen_modules(module: nn.Module) -> None:
    """Put the largest parts of a module whose parameters are all frozen in eval mode."""
    if is_frozen(module):
        module.eval()
        return
    for part in module.children():
        eval_frozen_modules(part)


def check_gradients(student: nn.Module, signals: Signals, terms: Mapping[str, Fields]) -> None:
    """Refuse outputs and features of the student from which no gradient reaches its parameters.

    Otherwise a projector may be trained and the loss fall, while the student learns nothing.

    `signals` are the student's for one batch, in training mode and with gradients; `terms` are the
    signals that each loss term requires, by the term's name.
    """
    for path, feature in signals.features.items():
        layer = LayerPath.parse(path)
        parameters = submodule(student, layer.path, "student").parameters()
        due = not layer.input and feature.is_floating_point()
        if due and not feature.requires_grad and any(each.requires_grad for each in parameters):
            raise ModelError(
                f"the student's layer {path!r} has trainable parameters, got a feature without a "
                "gradient; it was computed under torch.no_grad, as in "
                "torch.utils.checkpoint(use_reentrant=True): set use_reentrant=False (in "
                "transformers: model.gradient_checkpointing_enable("
                "gradient_checkpointing_kwargs={'use_reentrant': False})), or choose a layer "
                "outside of the checkpointed part"
            )
    for name, fields in terms.items():
        features = [signals.features[each] for each in sorted(fields.features)]
        used = [signals.output, *features] if fields.output else features
        tensors = [each for each in used if isinstance(each, (Tensor, HeadLogits))]
        if tensors and not any(each.requires_grad for each in tensors):
            read = ["the output"] if fields.output else []
            read += [repr(each) for each in sorted(fields.features)]
            raise ModelError(
                f"each loss term must train the student, got the term {name!r}, which reads "
                f"{', '.join(read)}, computed without any trainable parameter; unfreeze that layer "
                "or one before it (in a Stage: name it in `trainable`), choose a later layer, or "
                "leave the term out"
            )
