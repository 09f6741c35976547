"""Other processes that do the same trials, so that a study uses several cores.

Each is a new Python that gets its work, a function with all that it refers to, through its standard
input. The end of that input tells it that this process has ended, killed or not; it then ends
at once, since a study's folder survives a kill at any moment. No pool of a library: there the death
of one process ends all (joblib, concurrent.futures), and the end of this one is not noticed during
a training.
"""

from __future__ import annotations

import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import torch

from tutelage.errors import ArgumentError, TutelageError

_START = (
    "import os, pickle, signal, sys\n"
    "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"  # only the parent handles Ctrl-C
    "sys.path[:], work = pickle.load(sys.stdin.buffer)\n"
    "pickle.loads(work)()"
)


@contextmanager
def shared(work: Callable[[], object], processes: int) -> Iterator[None]:
    """Let other processes do the same work while the body does it in this one.

    The threads of PyTorch are divided among the processes. What another process fails at, or leaves
    when it dies, is left to those that remain; at the end of the body the others are killed.

    Args:
        work: Takes whatever nobody else is at, until nothing is left.
        processes: How many, this one among them.

    Raises:
        ArgumentError: The work refers to something that cannot be pickled.
    """
    if processes == 1 or os.name != "posix":  # without file locks all would do the same trials
        yield
        return
    before = torch.get_num_threads()
    threads = max(1, before // processes)
    message, codes = _message(work, threads), []
    others: list[Any] = []  # whose input is a pipe
    options = [f"-W{each}" for each in sys.warnoptions]
    try:
        torch.set_num_threads(threads)
        for _ in range(processes - 1):
            other: Any = subprocess.Popen(  # noqa: S603 - this Python
                [sys.executable, *options, "-c", _START],
                stdin=subprocess.PIPE,
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            )
            others.append(other)
            with suppress(BrokenPipeError):  # it ended already
                other.stdin.write(message)
                other.stdin.flush()
        yield
        codes = [code for each in others if (code := each.poll())]
    finally:
        torch.set_num_threads(before)
        for each in others:
            each.kill()
            each.wait()
            with suppress(BrokenPipeError):
                each.stdin.close()
    if codes:
        logging.getLogger("tutelage").warning(
            "%d of %d processes ended before the study's trials were done (exit codes %s); the "
            "others did their trials",
            len(codes),
            processes,
            codes,
        )


def _message(work: Callable[[], object], threads: int) -> bytes:
    """Return what another process reads: where modules are found, then the work."""
    import cloudpickle  # noqa: PLC0415 - needed only here

    settings = (
        torch.get_default_dtype(),
        torch.get_float32_matmul_precision(),
        torch.are_deterministic_algorithms_enabled(),
    )
    try:
        # By value where it must be, so that functions and classes of a script or notebook pass.
        pickled = cloudpickle.dumps(partial(_work, work, threads, *settings))
    except Exception as error:  # other people's objects may raise anything
        raise ArgumentError(
            "teacher, student, data and arms must be picklable for `processes` > 1, got "
            f"{type(error).__name__}: {error}; start the same program several times with one `out` "
            "instead, or use one process"
        ) from error
    return pickle.dumps((sys.path, pickled))


def _work(
    work: Callable[[], object], threads: int, dtype: torch.dtype, precision: str, exact: bool
) -> None:
    """Do the work in another process, with the first one's settings of PyTorch; end with it."""

    def end_with_input() -> None:
        os.read(sys.stdin.fileno(), 1)  # nothing more is sent: it returns when the pipe is closed
        os._exit(1)

    threading.Thread(target=end_with_input, daemon=True).start()
    torch.set_num_threads(threads)
    torch.set_default_dtype(dtype)
    torch.set_float32_matmul_precision(precision)
    torch.use_deterministic_algorithms(exact)
    with suppress(TutelageError):  # the first process comes to it too, and raises it
        work()
