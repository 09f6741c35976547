"""How often a study's 95 % interval contains the true difference, by simulation.

    python benchmarks/coverage.py [--studies N]

An arm classifies example i with seed s correctly if a + d_i + g_i + h_s + e_si > 0, where d_i, the
difficulty of the example, is the same for both arms, g_i is what this example is to this arm, h_s
what this seed is to it, and e_si the rest; all are normal. So the true difference of accuracy over
all seeds and examples is known. Each study draws its seeds and examples anew. The cases are the
accuracy (near 0, a half, near 1) and the standard deviation of h_s (none; small; as large as it is
in studies whose seeds differ by several points); with groups, five examples on average share a part
of d_i and of g_i.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from tutelage.evaluation import Interval, mean_interval, paired_interval

ACCURACIES, SEED_EFFECTS = (0.02, 0.5, 0.98), (0.0, 0.1, 0.4)
SEEDS, EXAMPLES = (1, 2, 3, 5, 10), (20, 100, 1000, 10_000)
DIFFICULTY, ARM_BY_EXAMPLE, GAIN, GROUP = 2.0, 0.5, 0.1, 5
Generator = np.random.Generator


def study(
    generator: Generator,
    seeds: int,
    accuracy: float,
    seed_effect: float,
    groups: NDArray[np.int64],
    shared: float,
) -> tuple[NDArray[np.float64], float]:
    """Return the differences of one study, `[seeds, examples]`, and the true mean difference.

    `shared` is the part of the variance of d_i and g_i that examples of a group share.
    """
    examples = len(groups)

    def of_examples(deviation: float) -> NDArray[np.float64]:
        own = generator.normal(size=examples) * math.sqrt(1 - shared)
        common = generator.normal(size=int(groups.max()) + 1)[groups] * math.sqrt(shared)
        return deviation * (own + common)

    whole = math.sqrt(DIFFICULTY**2 + ARM_BY_EXAMPLE**2 + seed_effect**2 + 1)
    mean, difficulty = norm.ppf(accuracy) * whole, of_examples(DIFFICULTY)
    first, second = (
        mean
        + gain
        + difficulty
        + of_examples(ARM_BY_EXAMPLE)
        + generator.normal(0, seed_effect, (seeds, 1))
        + generator.normal(size=(seeds, examples))
        > 0
        for gain in (0.0, GAIN)
    )
    truth = norm.cdf((mean + GAIN) / whole) - norm.cdf(mean / whole)
    return second.astype(float) - first, float(truth)


def t_over_seeds(table: NDArray[np.float64], _: Sequence[int] | None) -> Interval | None:
    """Return Student's t interval of the seeds' differences, for comparison."""
    return mean_interval(table.mean(axis=1).tolist()) if len(table) > 1 else None


def over_both(table: NDArray[np.float64], groups: Sequence[int] | None) -> Interval | None:
    """Return the interval of studies."""
    try:
        return paired_interval(table, groups=groups, resolution=1)
    except ValueError:
        return None


def coverage(
    method: str, studies: int, seeds: int, examples: int, *case: float, grouped: bool
) -> float:
    """Return in how many per cent of the studies the interval contains the true difference."""
    generator, inside, known = np.random.default_rng(0), 0, 0
    for _ in range(studies):
        sizes = generator.integers(1, 2 * GROUP, 2 * examples) if grouped else np.ones(examples)
        groups = np.repeat(np.arange(len(sizes)), sizes.astype(int))[:examples]
        table, truth = study(generator, seeds, case[0], case[1], groups, 0.5 if grouped else 0.0)
        find = t_over_seeds if method == "t" else over_both
        interval = find(table, groups.tolist() if grouped else None)
        if interval is not None:
            known += 1
            inside += interval.low - 1e-12 <= truth <= interval.high + 1e-12
    return 100 * inside / known if known else math.nan


def show(title: str, method: str, studies: int, *, grouped: bool) -> None:
    """Print a table: for each number of seeds and examples the range over all cases."""
    print(f"\n{title}\n\n| seeds | {' | '.join(f'{each:,} examples' for each in EXAMPLES)} |")
    print("|---:|" + "---:|" * len(EXAMPLES))
    for seeds in SEEDS[1 if method == "t" else 0 :]:
        cells = []
        for examples in EXAMPLES:
            few = max(200, min(studies, 4_000_000 // (seeds * examples)))
            effects = SEED_EFFECTS if seeds > 1 else SEED_EFFECTS[:1]
            found = [
                coverage(method, few, seeds, examples, *case, grouped=grouped)
                for case in product(ACCURACIES, effects)
            ]
            cells.append(f"{min(found):.1f} to {max(found):.1f}")
        print(f"| {seeds} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--studies", type=int, default=1000, help="simulated, of each case")
    studies, began = parser.parse_args().studies, time.monotonic()
    show("Over seeds and examples", "both", studies, grouped=False)
    show("The same, groups of five examples", "both", studies, grouped=True)
    show("Student's t over seeds", "t", studies, grouped=False)
    print(f"\n{(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
