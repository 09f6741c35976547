"""The base of modules that stand for another one and share its layers under the same names."""

from __future__ import annotations

from typing import Any

from torch import nn


class Wrapper(nn.Module):
    """A module around a model that shares the model's layers, parameters and buffers.

    They keep their names, so layer paths and the keys of `state_dict` do not change. Other
    attributes, such as `config` and `save_pretrained`, are the model's, and so is its mode.

    Args:
        model: Any module.
    """

    def __init__(self, model: nn.Module) -> None:
        training = model.training
        # In a tuple, since an attribute that is a module would be part of every path.
        self.__dict__["_wrapped"] = (model,)
        super().__init__()
        for shared in ("_modules", "_parameters", "_buffers", "_non_persistent_buffers_set"):
            self.__dict__[shared] = model.__dict__[shared]
        model.training = training  # `nn.Module` sets True

    @property
    def wrapped(self) -> nn.Module:
        """The model itself."""
        return self.__dict__["_wrapped"][0]

    @property
    def training(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the model is in training mode."""
        return self.wrapped.training

    @training.setter
    def training(self, mode: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.wrapped.training = mode

    def train(self, mode: bool = True) -> Wrapper:
        """Set the model's mode, by its own `train`, which may keep parts in eval mode."""
        self.wrapped.train(mode)
        return self

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model."""
        if name.startswith("__") or "_wrapped" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.wrapped, name)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside of all wrappers."""
    while isinstance(model, Wrapper):
        model = model.wrapped
    return model
