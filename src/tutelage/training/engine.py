"""How a run is carried out: device, precision, accumulation, clipping, logs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedType, parse_flag_from_env, patch_environment

from tutelage._checks import integer, not_negative, positive
from tutelage.errors import ArgumentError
from tutelage.objectives._by_chunk import CHUNK_LOGITS_FROM

_PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_FORCED = "ACCELERATE_TORCH_DEVICE"
"""The variable from which Accelerate reads the device of a single process."""
PLAIN = (DistributedType.NO, DistributedType.MULTI_CPU, DistributedType.MULTI_GPU)
"""Where each process has the whole model."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Device, precision, checkpoints and other settings that do not concern the method.

    Args:
        precision: `"fp32"`, or `"bf16"` or `"fp16"` for mixed precision.
        device: PyTorch's name of a device, such as `"cpu"`, `"cuda"`, `"cuda:1"`, `"mps"` or
            `"xpu"`; None for the machine's accelerator, or the CPU where there is none. Under
            `torchrun` each process has the accelerator of its own local rank.
        accumulation: Batches that make one optimizer step; all their examples have equal weight.
        clip_norm: Largest norm of the gradient over all parameters; None for no limit.
        checkpoint_seconds: Time between checkpoints; longer where writing would take more than a
            twentieth of it. 0 writes one after every step.
        trackers: Names of Accelerate's trackers, such as `("tensorboard",)`; they write to `out`.
            Their packages must be installed.
        progress: Whether to show a progress bar (on a terminal only).
        chunk_logits_from: Number of classes from which the logits of a language model of
            transformers are computed for some tokens at a time, forward and backward, where that is
            exact: they then take little memory. None computes them whole.
        group_by_length: Whether the examples of a training batch are of similar length, which saves
            much padding where lengths differ, as those of texts do. Of every 50 batches, in a drawn
            order, or of a quarter of them if that is less, the examples are sorted by the length of
            their longest input (of a str, its characters), and the order of these batches is drawn
            afterwards. All examples are loaded once before the first epoch. None groups up to a
            million examples of strings, without `data.Views`.

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
    chunk_logits_from: int | None = CHUNK_LOGITS_FROM
    group_by_length: bool | None = None

    def __post_init__(self) -> None:
        if self.precision not in _PRECISIONS:
            raise ArgumentError(
                f"`precision` must be one of {sorted(_PRECISIONS)}, got {self.precision!r}"
            )
        if self.device is not None:
            _parsed(self.device)
        integer("accumulation", self.accumulation, 1, "1 steps after every batch")
        not_negative("checkpoint_seconds", self.checkpoint_seconds, "0 is after every step")
        if self.chunk_logits_from is not None:
            integer("chunk_logits_from", self.chunk_logits_from, 0, "None is for never")
        if self.clip_norm is not None:
            positive("clip_norm", self.clip_norm, "None leaves gradients as they are")

    def torch_device(self) -> torch.device:
        """Return the device that models of this process run on."""
        kind, number = "cpu", 0
        if torch.accelerator.is_available():
            found = torch.accelerator.current_accelerator()
            kind, number = (found or torch.device("cpu")).type, torch.accelerator.device_count()
        rank = _local_rank()
        own = torch.device(f"{kind}:{rank % number}" if rank is not None and number else kind)
        if self.device is None:
            if _FORCED in os.environ:
                return torch.device(os.environ[_FORCED])
            return torch.device("cpu") if parse_flag_from_env("ACCELERATE_USE_CPU") else own
        wanted = _parsed(self.device)
        if wanted.type == "cpu":
            return torch.device("cpu")
        if wanted.type != kind or (wanted.index or 0) >= number:
            present = ", ".join(("cpu", *(f"{kind}:{index}" for index in range(number))))
            raise ArgumentError(
                f"`device` must be a device of this machine ({present}), got {self.device!r}; "
                "leave it out to take the best one, or install the PyTorch build for that device"
            )
        if rank is not None and wanted.index not in {None, own.index}:
            raise ArgumentError(
                f"`device` must be this process's own, {own}, under torchrun, got "
                f"{self.device!r}; write device={kind!r}, and each process takes its own"
            )
        return wanted if wanted.index is not None else own

    @contextmanager
    def accelerator(self, out: Path | None) -> Iterator[Accelerator]:
        """Make an Accelerator for one run, whatever other Accelerators this process has or had.

        Accelerate keeps its settings in state that is common to all Accelerators of a process
        and must not change; it is set aside for the length of the run and restored afterwards.
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
            # A process group cannot be made twice, so the state that holds it stays.
            last = 2 if torch.distributed.is_initialized() else 3
            for state, content in zip(shared[:last], kept, strict=False):
                state.clear()
                state.update(content)

    def _make(self, out: Path | None) -> Accelerator:
        device = self.torch_device()
        self._check_trackers()
        several = _local_rank() is not None
        try:
            # Under torchrun Accelerate takes the process's own, and tells the backend so.
            alone = self.device is not None and not several
            with patch_environment(**{_FORCED: device}) if alone else nullcontext():
                accelerator = Accelerator(
                    mixed_precision=_PRECISIONS[self.precision],
                    # Without it, processes on a machine without accelerators would train apart.
                    cpu=device.type == "cpu" and (several or self.device is not None),
                    log_with=list(self.trackers) or None,
                    project_dir=out,
                )
        except ValueError as error:
            raise ArgumentError(
                f"`engine` must suit this machine and its packages, got {self}, for which "
                f"Accelerate reports: {error}; change `precision` or `trackers`, or give `out`"
            ) from error
        if self.device is not None and accelerator.device.type != device.type:
            raise ArgumentError(
                f"`device` must be the one that Accelerate was set up with, "
                f"{accelerator.device}, got {self.device!r}; restart the program without "
                "ACCELERATE_USE_CPU or `accelerate launch --cpu`, or leave `device` out"
            )
        return accelerator

    def _check_trackers(self) -> None:
        """Refuse what Accelerate would leave out with no more than a warning."""
        known = {str(name) for name in LOGGER_TYPE_TO_CLASS}
        installed = {str(name) for name in get_available_trackers()}
        for tracker in set(map(str, self.trackers)) - installed - {"all"}:
            raise ArgumentError(
                f"`trackers` must name trackers of Accelerate ({', '.join(sorted(known))}) whose "
                f"packages are installed, got {tracker!r}; install it, or leave it out"
            )


def as_engine(engine: Engine | None) -> Engine:
    """Return the engine that a user gives, or the usual one."""
    engine = Engine() if engine is None else engine
    if not isinstance(engine, Engine):
        raise ArgumentError(
            f"`engine` must be a tl.Engine, got {engine!r}; for instance tl.Engine(device='cpu')"
        )
    return engine


def _parsed(name: str) -> torch.device:
    """Return the device of that name, on whatever machine."""
    with suppress(RuntimeError, TypeError):
        device = torch.device(name)
        if isinstance(name, str) and device.type != "meta":
            return device
    raise ArgumentError(
        "`device` must be None or PyTorch's name of a device, such as 'cpu', 'cuda', 'cuda:1', "
        f"'mps' or 'xpu', got {name!r}"
    )


def _local_rank() -> int | None:
    """Return this process's number on its machine under torchrun; None for a single process."""
    rank = int(os.environ.get("LOCAL_RANK", "-1"))
    return rank if rank >= 0 else None
