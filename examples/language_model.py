"""A language model teaches one of half its layers, with only the tokens of a text.

    python examples/language_model.py MODEL TEXT [--gguf FILE] [--out FOLDER]

MODEL is a name or folder of transformers (of SmolLM2-135M, say), TEXT a text file.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import tutelage as tl
from tutelage.evaluation import acceptance_rate, perplexity


def main(
    model: str, text: str, gguf: str | None, out: str, tokens: int = 128, most: int = 400
) -> dict[str, float]:  # fmt: skip
    """Return the perplexities of teacher and student, and how many drafts the teacher accepts."""
    tokenizer = AutoTokenizer.from_pretrained(model, gguf_file=gguf)
    whole = AutoModelForCausalLM.from_pretrained(model, gguf_file=gguf, dtype=torch.float32).eval()
    vars(whole)["hf_quantizer"] = None  # the weights of a GGUF file are plain numbers now
    content = Path(text).read_text(encoding="utf-8")

    # The tokens that the text does not need are left out, of model and tokenizer.
    teacher, tokenizer, _ = tl.students.prune_vocabulary(whole, tokenizer, content.splitlines())
    ids = torch.tensor(tokenizer(content)["input_ids"])
    texts = [{"input_ids": each} for each in ids.split(tokens)[:-1][:most]]
    train, held_out = texts[: len(texts) * 9 // 10], texts[len(texts) * 9 // 10 :]

    # The student begins as the half of the layers without which the teacher loses least.
    half = teacher.config.num_hidden_layers // 2
    student: Any = tl.students.least_loss(teacher, train[:2], keep=half).student
    found = {"teacher": perplexity(teacher, held_out), "before": perplexity(student, held_out)}
    print(f"{whole.num_parameters():,} to {student.num_parameters():,} parameters", found)

    # The teacher is asked once: its most probable tokens, and the mass of the others.
    store = tl.label(teacher, train, out=f"{out}/targets", top_k=64, batch_size=4)
    student = tl.distill(
        store, student, train=train, epochs=1, batch_size=4, out=f"{out}/run",
        objective=tl.RowMean(0.5 * tl.HardLabels() + 0.5 * tl.SoftTargets(1)),
        optimizer=partial(torch.optim.AdamW, lr=5e-4),
    ).student  # fmt: skip
    found["student"] = perplexity(student, held_out)
    found["accepted"] = acceptance_rate(student, teacher, held_out)
    student.save_pretrained(f"{out}/student")
    tokenizer.save_pretrained(f"{out}/student")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("model", "text", "--gguf"):
        parser.add_argument(name)
    parser.add_argument("--out", default="runs/language-model")
    print(main(**vars(parser.parse_args())))
