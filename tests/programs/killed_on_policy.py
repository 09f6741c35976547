"""On-policy distillation, to be killed. Arguments: as in `killed_fine_tuning.py`."""

import sys

import torch
from killed_fine_tuning import die_before

import tutelage as tl
from language_models import make, texts


def main(out, number):
    die_before(number)
    student = make("Llama", attention_dropout=0.1)
    torch.seed()  # whatever the state of the process is
    tl.distill(
        make("Llama", 32, seed=1),
        student,
        train=tl.OnPolicy(
            texts(10), texts(6, seed=4), share=tl.schedules.Linear(0.4, 1), max_new_tokens=5
        ),
        objective=tl.HardLabels() + tl.ReverseKL(),
        epochs=2,
        batch_size=2,
        out=out,
        engine=tl.Engine(checkpoint_seconds=0, accumulation=2),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
