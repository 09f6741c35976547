"""Students with fewer channels: structured pruning of convolutions and linear layers."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from tutelage._checks import inner_fraction, installed
from tutelage.errors import ArgumentError, ModelError
from tutelage.layers import evaluating
from tutelage.layers.observe import call, output_of
from tutelage.nested import describe, leaves
from tutelage.students.keep_layers import Model


def prune_channels(model: Model, inputs: Any, keep: float) -> Model:
    """Return a model in which each layer has only a share of its channels.

    Structured pruning: of the output channels of each convolution and linear layer those are left
    whose weights have the largest L2 norm (Li et al. 2017, "Pruning filters for efficient
    ConvNets", arXiv:1608.08710). Layers whose channels depend on each other, by addition,
    concatenation, normalisation or depthwise convolution, lose the same ones, ranked by the mean
    of their norms; torch-pruning finds them (Fang et al. 2023, "DepGraph", arXiv:2301.12900). The
    layers that give the outputs keep theirs. With a share s a convolution has about s² of its
    weights. The outputs are others than the model's: train the student.

    The layers are found in eval mode: those that run in training alone, such as auxiliary
    classifiers, are left as they are. Two layers that share a parameter have one each afterwards.

    Args:
        model: A network in PyTorch; it is not changed. Parameters that are frozen stay so.
        inputs: A batch as the model takes it, on the model's device.
        keep: The share of the channels that is left, between 0 and 1. Layers with so few that none
            would be left keep all; those whose output is split into parts may keep fewer.

    Returns:
        The smaller model, of the same class and mode, with outputs of the same shapes.

    Raises:
        ArgumentError: `keep` is not between 0 and 1, or `tutelage[prune]` is not installed.
        ModelError: The model refuses the inputs, or its channels cannot be pruned.

    >>> model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3))
    >>> prune_channels(model, torch.zeros(2, 1, 4, 4), keep=0.25)
    Sequential(
      (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(1, 1))
      (1): ReLU()
      (2): Flatten(start_dim=1, end_dim=-1)
      (3): Linear(in_features=8, out_features=3, bias=True)
    )
    """
    inner_fraction("keep", keep, "it is the share of the channels that is left")
    package = installed("prune_channels", "torch_pruning", "prune", ArgumentError)
    student = copy.deepcopy(model)
    with evaluating(student), torch.no_grad():
        expected = describe(_outputs(student, inputs))
        try:
            _prune(package, student, inputs, keep)
            found = describe(_outputs(student, inputs))
        except Exception as error:
            raise _not_possible(model, f"{type(error).__name__}: {error}") from error
    if found != expected or any(each.numel() == 0 for each in student.parameters()):
        raise _not_possible(model, f"the outputs are {found} in place of {expected}")
    return student


def _not_possible(model: nn.Module, why: str) -> ModelError:
    return ModelError(
        f"the channels of the model ({type(model).__name__}) must be such that torch-pruning can "
        f"remove some, and the rest still runs, got {why}; build a narrower model of your own"
    )


def _prune(tp: Any, model: nn.Module, inputs: Any, keep: float) -> None:
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    trainable(model)  # the layers are found in the graph of the gradients
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")  # it tells of parameters outside of layers
        graph = tp.DependencyGraph().build_dependency(model, inputs, _outputs, verbose=False)
        pruner = tp.pruner.BasePruner(
            model,
            inputs,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=1 - keep,
            ignored_layers=[*_of_outputs(graph)],
            forward_fn=_outputs,
        )
        pruner.step()
    for name, each in model.named_parameters():
        if name in frozen:
            each.requires_grad_(False)


def trainable(model: Model) -> Model:
    """Return a model of which all parameters are trained that can be, those of real numbers."""
    for each in model.parameters():
        each.requires_grad_(each.is_floating_point())
    return model


def _outputs(model: nn.Module, inputs: Any) -> list[Tensor]:
    """Return all outputs of a model, of which training may use but one."""
    result = call(model, inputs, "model")
    found = [each for each in leaves(result) if isinstance(each, Tensor)]
    return [each for each in found if each.is_floating_point()] or [output_of(result, "model")]


def _of_outputs(graph: Any) -> Iterator[nn.Module]:
    """Yield the layers whose channels are those of the model's outputs."""
    for group in graph.get_all_groups(root_module_types=[_ConvNd, nn.Linear]):
        last = (
            not each.target.outputs and graph.is_out_channel_pruning_fn(each.handler)
            for each, _ in group
        )
        if any(last):
            yield group[0].dep.target.module
