"""Programs of the tests in processes of their own, without the seconds that imports take.

A process of this interpreter's fork server has the libraries already and runs a program as
`python -W error` would. What needs hashes and imports of its own is run by `subprocess`.
"""

import atexit
import io
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import traceback
import warnings
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"

_SERVED = multiprocessing.get_context("forkserver")
_SERVED.set_forkserver_preload(
    [
        *("accelerate", "sklearn.metrics", "tutelage", "tutelage.studies", "tutelage.training"),
        "torch._inductor.compile_fx",  # every optimiser imports most of the compiler
    ]
)
_STARTED = []


@atexit.register
def _kill_what_still_runs():
    """Let no child of a failed test keep this process from its end, which waits for them."""
    for child in _STARTED:
        child.kill()


class Child:
    """A program that runs; as `subprocess.Popen`, with its errors in a file.

    Args:
        program: Its path.
        arguments: What it is called with.
        errors: Where its output and errors go.
        environment: What it has beside this process's environment.
    """

    def __init__(self, program, arguments, errors, **environment):
        self.errors = errors
        call = (str(program), [str(each) for each in arguments], str(errors), environment)
        self._process = _SERVED.Process(target=_run, args=call, daemon=False)
        self._process.start()
        _STARTED.append(self)

    @property
    def pid(self):
        """The id of the process."""
        return self._process.pid

    def poll(self):
        """Return its exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout=240):
        """Wait for its end and return its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise TimeoutError(f"{self._process.name} ran for more than {timeout} s")
        return self._process.exitcode

    def kill(self):
        """End it as `kill -9` does, and wait until it has ended."""
        self._process.kill()
        self._process.join()

    def finish(self):
        """Wait for its end, which must be a good one."""
        assert self.wait() == 0, self.errors.read_text()[-2000:]


def start_two(program, arguments, errors, **environment):
    """Start a program in two processes that know of each other, as `torchrun` does.

    The errors of the second go to a file beside that of the first.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    return [
        Child(program, arguments, each, RANK=rank, LOCAL_RANK=rank, **environment)
        for rank, each in (("0", errors), ("1", errors.with_suffix(".second")))
    ]


def _run(program, arguments, errors, environment):
    """Become the program: its arguments, streams, warnings and modules beside it."""
    with Path(errors).open("w", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), line_buffering=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), line_buffering=True)
    os.environ.update(environment)
    # A shell's job in the background ignores Ctrl-C, and so would its children.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.fsync = lambda _: None  # see conftest.py
    # Workers of loaders would come from a fork server of this process, which outlives its death.
    multiprocessing.set_start_method("fork", force=True)
    sys.argv = [program, *arguments]
    sys.path.insert(0, str(Path(program).parent))
    warnings.resetwarnings()
    warnings.simplefilter("error")
    try:
        runpy.run_path(program, run_name="__main__")
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        raise
