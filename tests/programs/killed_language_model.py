"""Distillation of a language model, to be killed. Arguments: as in `killed_fine_tuning.py`."""

import sys

import torch
from killed_fine_tuning import die_before

import tutelage as tl
from language_models import make, texts


def main(out, number):
    die_before(number)
    tl.distill(
        make("Llama", 32, seed=1),
        make("Llama", attention_dropout=0.1),
        train=texts(8),
        objective=tl.HardLabels() + tl.SoftTargets(1),
        epochs=2,
        batch_size=4,
        out=out,
        engine=tl.Engine(checkpoint_seconds=0, chunk_logits_from=0),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], int(sys.argv[2]))
