"""A run to be killed that learns layers: `killed_layers.py OUT KIND STEP`.

KIND is `features` for one training, or `stages`; it dies in that step (0: none). The student has
dropout and batch norm; a projector is learnt beside it, and in stages goes from the first to the
second.
"""

import sys
from functools import partial
from pathlib import Path

import torch
from killed_run import die_in_step, training_data
from torch import nn

import tutelage as tl


def asked(kind):
    hint, soft = tl.FeatureMatch({"0": "0"}), tl.SoftTargets(2)
    if kind == "features":
        return {"objective": hint + 0.1 * soft, "epochs": 4}
    return {
        "stages": [
            tl.Stage(hint, epochs=2, trainable=["0", "1"], name="hint"),
            tl.Stage(soft + hint, epochs=3, name="answer"),
        ]
    }


def main(out, kind, step):
    die_in_step(step)
    torch.manual_seed(7)
    teacher = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 5))
    student = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Linear(144, 5)
    )
    tl.distill(
        teacher,
        student,
        train=training_data("set"),
        **asked(kind),
        batch_size=16,
        seed=3,
        optimizer=partial(torch.optim.AdamW, lr=0.01),
        scheduler=torch.optim.lr_scheduler.CosineAnnealingLR,
        out=out,
        engine=tl.Engine(checkpoint_seconds=0, clip_norm=1.0, progress=False),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
