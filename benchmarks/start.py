"""What the package costs at the start: `import tutelage` beyond `import torch`, `tutelage --help`.

    python benchmarks/start.py

Each figure is the median over fresh processes, which alternate so that noise hits all alike. The
bars are 0.3 s for the import and 0.5 s for the help. As names are loaded when they are first used,
the cost of reaching for `tutelage.distill` is given too.
"""

from __future__ import annotations

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


def seconds(command: list[str]) -> float:
    """Return how long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    """Print the medians, and the imports' cost beyond torch."""
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(ROUNDS + 1):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    torch_alone = times["import torch"][1:]
    for name, measured in times.items():
        beyond = median(b - a for a, b in zip(torch_alone, measured[1:], strict=True))
        extra = f"   beyond torch {beyond:+.3f} s" if "tutelage." in name or ", " in name else ""
        print(f"{name:40} {median(measured[1:]):.3f} s{extra}")


if __name__ == "__main__":
    main()
