"""Two steps of on-policy distillation in several processes.

Argument: where to write. Each process writes the batches that it learned from, the main one the
student before each step and at the end, and the log.
"""

import os
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_model

import tutelage as tl
from language_models import make, texts


def main(folder):
    student, batches = make("Llama"), []
    rank = os.environ.get("RANK", "0")
    with torch.no_grad():
        student.get_output_embeddings().weight[2] += 0.3

    def kept():
        if rank == "0":
            save_model(student, str(folder / f"{len(batches)}.safetensors"))

    def recorded(batch):
        kept()
        batches.append(batch)
        return batch

    prompts = [{"input_ids": each["input_ids"][:2]} for each in texts(9)]
    run = tl.distill(
        make("Llama", 32, seed=1),
        student,
        train=tl.OnPolicy(prompts, share=1, max_new_tokens=6),
        objective=tl.RowMean(tl.ReverseKL()),
        epochs=1,
        batch_size=8,
        optimizer=partial(torch.optim.SGD, lr=1.0),
        transform=recorded,
        engine=tl.Engine(device="cpu"),
    )
    kept()
    torch.save(batches, folder / f"{rank}.pt")
    if rank == "0":
        torch.save(run.history, folder / "history.pt")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
