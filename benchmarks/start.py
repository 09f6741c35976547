"""What the package costs at the start: `import tutelage` beyond `import torch`, `tutelage --help`.

    python benchmarks/start.py

Each figure is the median over fresh processes, which alternate so that noise hits all alike: on the
clock, and of processor time, which other work on the machine changes little. The bars are 0.3 s for
the import and 0.5 s for the help. As names are loaded when they are first used, the cost of
reaching for `tutelage.distill` is given too.
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
    "... and reach for tutelage.distill": [*PYTHON, "import torch, tutelage; tutelage.distill"],
    "tutelage --help": [str(Path(sys.executable).with_name("tutelage")), "--help"],
}


def seconds(command: list[str]) -> tuple[float, float]:
    """Return how long a command takes: on the clock, and of processor time."""
    began, used = time.perf_counter(), processor()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, processor() - used


def processor() -> float:
    """Return the processor time that all commands so far have taken."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the medians, and the imports' cost beyond torch."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for kind, place in (("on the clock", 0), ("of processor time", 1)):
        print(kind)
        torch_alone = [each[place] for each in times["import torch"][1:]]
        for name, both in times.items():
            measured = [each[place] for each in both[1:]]
            beyond = median(b - a for a, b in zip(torch_alone, measured, strict=True))
            import_ = "tutelage" in name and "help" not in name
            extra = f"   beyond torch {beyond:+.3f} s" if import_ else ""
            print(f"  {name:40} {median(measured):.3f} s{extra}")


if __name__ == "__main__":
    main()
