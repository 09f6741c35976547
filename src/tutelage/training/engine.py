"""How a run is carried out: device, precision, accumulation, clipping, records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

from tutelage._checks import not_negative, positive, whole_number
from tutelage.errors import ArgumentError

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How a run is carried out, apart from what is learnt.

    Args:
        precision: `"fp32"`, or `"bf16"` or `"fp16"` for mixed precision.
        device: None for the best that is there (under `torchrun`, this process's), or `"cpu"`.
        accumulation: Batches that make one optimiser step; their examples count alike.
        clip_norm: Largest norm of the gradient over all parameters; None for no limit.
        checkpoint_seconds: Time between checkpoints; stretched where writing would take more than
            a twentieth of it. 0 writes one after every step.
        trackers: Names of Accelerate's trackers, such as `("tensorboard",)`; they write to `out`.
        progress: Whether to show a progress bar (on a terminal only).

    Raises:
        ArgumentError: A value is outside its range.
    """

    precision: str = "fp32"
    device: str | None = None
    accumulation: int = 1
    clip_norm: float | None = None
    checkpoint_seconds: float = 30.0
    trackers: tuple[str, ...] = ()
    progress: bool = True

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise ArgumentError(
                f"`precision` must be one of {sorted(_PRECISIONS)}, got {self.precision!r}"
            )
        if self.device not in (None, "cpu"):
            raise ArgumentError(
                f"`device` must be None (the best there is) or 'cpu', got {self.device!r}; choose "
                "among several GPUs with CUDA_VISIBLE_DEVICES"
            )
        if isinstance(self.trackers, str):
            raise ArgumentError(
                f"`trackers` must be a tuple of names, got {self.trackers!r}; write "
                f"({self.trackers!r},)"
            )
        whole_number("accumulation", self.accumulation, 1, "1 steps after every batch")
        not_negative("checkpoint_seconds", self.checkpoint_seconds, "0 is after every step")
        if self.clip_norm is not None:
            positive("clip_norm", self.clip_norm, "None leaves gradients as they are")

    @contextmanager
    def accelerator(self, out: Path | None) -> Iterator[Accelerator]:
        """Make an Accelerator for one run, whatever others this process has or had.

        Accelerate keeps its settings in state that all Accelerators of a process share and that
        may not change; here it is set aside for the length of the run and put back after.
        """
        shared = [vars(state)["_shared_state"] for state in (AcceleratorState, GradientState)]
        if not torch.distributed.is_initialized():
            shared.append(vars(PartialState)["_shared_state"])
        kept = [dict(state) for state in shared]
        for state in shared:
            state.clear()
        try:
            yield self._make(out)
        finally:
            # Processes that have met stay together: their group cannot be made twice.
            for state, content in zip(shared[: _to_put_back()], kept, strict=False):
                state.clear()
                state.update(content)

    def _make(self, out: Path | None) -> Accelerator:
        try:
            return Accelerator(
                mixed_precision=_PRECISIONS[self.precision],
                cpu=self.device == "cpu",
                log_with=list(self.trackers) or None,
                project_dir=out,
            )
        except ValueError as error:
            raise ArgumentError(
                f"`engine` must suit this machine and its packages, got {self}, of which "
                f"Accelerate says: {error}; change `precision` or `trackers`, or give `out`"
            ) from error


def as_engine(engine: Engine | None) -> Engine:
    """Return the engine that a user gives, or the usual one.

    Raises:
        ArgumentError: It is something else.
    """
    if engine is None:
        return Engine()
    if not isinstance(engine, Engine):
        raise ArgumentError(
            f"`engine` must be a tl.Engine, got {engine!r}; for instance tl.Engine(device='cpu')"
        )
    return engine


def _to_put_back() -> int:
    """Return how many of the three states to put back: all, or all but the processes' own."""
    return 2 if torch.distributed.is_initialized() else 3
