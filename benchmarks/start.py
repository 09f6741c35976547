"""What the package costs at the start: `import tutelage` beyond `import torch`, `tutelage --help`.

    python benchmarks/start.py

Medians over fresh processes, which alternate so that noise affects all equally: of wall-clock time,
and of CPU time, which other work on the machine changes little. The targets are 0.3 s for the
import and 0.5 s for the help. As names are imported on first use, the cost of using
`tutelage.distill` is given too.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROUNDS = 9
PYTHON = [sys.executable, "-c"]
COMMANDS = {
    "import torch": [*PYTHON, "import torch"],
    "import torch, tutelage": [*PYTHON, "import torch, tutelage"],
    "... and use tutelage.distill": [*PYTHON, "import torch, tutelage; tutelage.distill"],
    "tutelage --help": [str(Path(sys.executable).with_name("tutelage")), "--help"],
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Return a command's wall-clock time and CPU time."""
    began, used = time.perf_counter(), cpu_time()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, cpu_time() - used


def cpu_time() -> float:
    """Return the CPU time of all commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the medians, and the imports' cost beyond torch."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for kind, column in (("wall-clock", 0), ("CPU", 1)):
        print(kind)
        torch_only = [each[column] for each in times["import torch"][1:]]
        for name, both in times.items():
            measured = [each[column] for each in both[1:]]
            beyond = median(b - a for a, b in zip(torch_only, measured, strict=True))
            import_ = "tutelage" in name and "help" not in name
            extra = f"   beyond torch {beyond:+.3f} s" if import_ else ""
            print(f"  {name:40} {median(measured):.3f} s{extra}")


if __name__ == "__main__":
    main()
