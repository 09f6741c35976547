"""A detector that learns by its own loss, in a run to be killed or in several processes.

Arguments: where to write the weights, the run's folder, and the step to die after (0: none).
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from killed_run import die_in_step

import tutelage as tl
from boxes import Boxes, Finder, overlap


def main(weights, out, step):
    die_in_step(step)
    several = "RANK" in os.environ
    run = tl.distill(
        Finder(6, seed=1),
        Finder(4, seed=2, dropout=0.0 if out is None else 0.3),
        train=Boxes(13),  # 13 = 3 · 4 + 1: the last batch has fewer examples than processes
        val=Boxes(5),
        objective=tl.OwnLoss(part="corner")
        + 2 * tl.OwnLoss(part="extent")
        + tl.FeatureMatch({"neck": "neck"}),
        epochs=3,
        batch_size=4,
        seed=3,
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        metrics={"overlap": overlap},
        monitor="loss",
        out=out,
        engine=tl.Engine(device="cpu", accumulation=2, checkpoint_seconds=0, progress=False),
    )
    if os.environ.get("RANK", "0") == "0":
        found = {"weights": run.student.state_dict(), "history": run.history}
        torch.save(found, weights)
    if several:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3]))
