"""A sentence encoder, all-MiniLM-L6-v2, distilled into students of three, two and one layers.

    TUTELAGE_DATA=... python benchmarks/sentence_encoder.py [PART ...]

Parts, by default all: `starts` compares initializations of three layers (random; every second;
the first; the last) and methods (output only; output and layers together; layers first, then
output), for a quarter of a pass over the text. `lengths` trains three, two and one layers for three
passes; `longer` two for as long as nine and 27, with running text in addition, without dropout;
`one-layer` one in the same way, and on augmented text. `speed` times them against the teacher.
Quality is Spearman's correlation of cosine similarities with the scores of STS-B dev, which are not
used for selection: settings were chosen on 1,000 held-out pairs of STS-B train
(sentence_tuning.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from statistics import fmean
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

import tutelage as tl
from mnist import RUNS, warm_cosine
from remembered import timed
from sentences import (
    Encoder,
    Recalled,
    Sentences,
    alike,
    augmented,
    buckets,
    in_order,
    interval_of_fraction,
    minilm,
    pairs,
    running_text,
    sentences,
    spearman,
)
from tutelage.signals import Batch

HELD_OUT, BATCH, EPOCH = 1000, 64, 33
"""Held-out pairs; sentences in a batch; batches in an epoch, a sixteenth of the text."""
SHORT, LONG, LONGER, LONGEST, SEEDS = 4, 48, 144, 432, 3
TOKENS = (8, 12, 16, 24, 32)
RATE = 1e-3
ENGINE = tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120, clip_norm=1.0)
EVERY_SECOND, FIRST, LAST = (1, 3, 5), (0, 1, 2), (3, 4, 5)
FEATURES = 1.0
DROPOUT = 0.1
"""The teacher's, which copied layers keep."""
REPLACED = 0.3
"""The fraction of tokens that are replaced in augmented text."""


@dataclass(frozen=True)
class Text:
    """Sentences.

    Args:
        train: For training.
        running: Running text, for training in addition.
        val: Held-out pairs of STS-B train.
        test: The pairs of STS-B dev.
    """

    train: Sentences
    running: Sentences
    val: Sentences
    test: Sentences


@cache
def text() -> Text:
    """Return all sentences; held-out ones are not in the training text."""
    texts, scores = pairs("train")
    order = np.random.default_rng(0).permutation(len(texts) // 2)
    held_out = [2 * pair + side for pair in sorted(order[:HELD_OUT]) for side in (0, 1)]
    unseen = {texts[row] for row in held_out}
    train = [each for each in dict.fromkeys(sentences() + texts) if each not in unseen]
    val = Sentences([texts[row] for row in held_out], [scores[row] for row in held_out])
    return Text(Sentences(train), Sentences(running_text()), val, Sentences(*pairs("dev")))


@cache
def teacher() -> Recalled:
    """Return the teacher, with cached embeddings of all sentences."""
    with timed("the teacher's embeddings"):
        found = Recalled(minilm(), RUNS)
        for each in (text().train, text().val, text().test):
            found.remember(each)
        return found


@cache
def more_text() -> Sentences:
    """Return the training sentences and running text, with cached embeddings."""
    return teacher().remember(text().train, text().running)


@cache
def augmented_too() -> Sentences:
    """Return the same, and a second copy of each sentence with some tokens replaced."""
    words = teacher().encoder.bert.embeddings.word_embeddings.weight.detach()
    new = augmented(more_text(), words, REPLACED, seed=1)
    return teacher().remember(text().train, text().running, new)


def kept(
    layers: Sequence[int],
    random: bool = False,
    words: bool = False,
    dropout: float = DROPOUT,
    eager: bool = False,
) -> Encoder:
    """Return a student of some of the teacher's layers.

    Args:
        layers: Their numbers, from 0.
        random: Whether they are initialized at random.
        words: Whether the word embeddings, two thirds of all parameters, are trained too.
        dropout: In training, of states and attention.
        eager: Whether attention is not fused; the fused backward pass is slow on a CPU.
    """
    student, _ = tl.students.keep_layers(minilm(dropout), list(layers))
    if random:
        for layer in student.bert.encoder.modules():
            student.bert._init_weights(layer)  # noqa: SLF001 - a new BERT's initialization
    student.bert.embeddings.requires_grad_(words)
    if eager:
        student.bert.set_attn_implementation("eager")
    return student


LAYER = "bert.encoder.layer."
OUTPUT = tl.OutputRegression()
STARTS: dict[str, Callable[[], nn.Module]] = {
    "random": partial(kept, EVERY_SECOND, random=True),
    "every second layer": partial(kept, EVERY_SECOND),
    "the first three": partial(kept, FIRST),
    "the last three": partial(kept, LAST),
}


def map_to(teacher_layers: Sequence[int]) -> dict[str, str]:
    """Return the layer map, from student to teacher."""
    return {f"{LAYER}{ours}": f"{LAYER}{theirs}" for ours, theirs in enumerate(teacher_layers)}


def methods() -> dict[str, dict[str, Any]]:
    """Return the methods, each of four epochs in all, as arguments of an arm."""
    layers = tl.FeatureMatch(map_to(EVERY_SECOND))
    one_by_one = tl.blockwise(map_to(EVERY_SECOND))
    return {
        "output only": {"objective": OUTPUT},
        "output and layers together": {"objective": OUTPUT + FEATURES * layers},
        "layers for half of the steps, then output": {
            "stages": [tl.Stage(layers, 2), tl.Stage(OUTPUT, 2)]
        },
        "block by block, then output": {"stages": [*one_by_one, tl.Stage(OUTPUT, 1)]},
    }


def study(
    name: str, arms: dict[str, tl.Arm], epochs: int, seeds: int, on_held_out: bool = False
) -> tl.Study:
    """Run the arms, without controls; the test set is STS-B dev, or the held-out pairs."""
    known = text()
    return tl.study(
        teacher(),
        STARTS["every second layer"],
        train=partial(buckets, known.train, BATCH, EPOCH),
        val=None if on_held_out else in_order(known.val),
        test=in_order(known.val if on_held_out else known.test),
        arms=arms,
        controls={},
        seeds=seeds,
        epochs=epochs,
        training=tl.Training(
            optimizer=partial(torch.optim.AdamW, lr=RATE, fused=True),
            scheduler=warm_cosine,
            engine=ENGINE,
            keep_best=False,
        ),
        metrics={"spearman": spearman},
        monitor=tl.Monitor("spearman", higher_is_better=True),
        report=tl.ReportOptions(title=f"all-MiniLM-L6-v2: {name}"),
        out=RUNS / f"sentence-encoder-{name}",
    )


def starts() -> None:
    """Print the result of every initialization and method."""
    *usual, (blockwise, stages) = methods().items()
    arms = {
        f"{start}: {method}": tl.Arm(student=make, **settings)
        for start, make in STARTS.items()
        for method, settings in usual
    }
    start = "every second layer"
    arms[f"{start}: {blockwise}"] = tl.Arm(student=STARTS[start], **stages)
    show(study("starts", arms, SHORT, SEEDS))


def lengths() -> None:
    """Print the results of three, two and one layers."""
    arms = {}
    for layers in (EVERY_SECOND, (2, 5), (5,)):
        make = partial(kept, layers)
        both = OUTPUT + FEATURES * tl.FeatureMatch(map_to(layers))
        arms[f"{named(layers)}: output only"] = tl.Arm(student=make, objective=OUTPUT)
        arms[f"{named(layers)}: output and layers together"] = tl.Arm(student=make, objective=both)
    for layers in ((0, 5), (5,)):
        name = f"{named(layers)}: output only, word embeddings trained"
        arms[name] = tl.Arm(student=partial(kept, layers, words=True), objective=OUTPUT)
    show(study("lengths", arms, LONG, 1))


def named(layers: Sequence[int]) -> str:
    """Return the number of layers, and which they are, counted from 1."""
    numbers = ", ".join(str(each + 1) for each in layers)
    return f"{('one layer', 'two layers', 'three layers')[len(layers) - 1]} ({numbers})"


def longer() -> None:
    """Print the results of two layers from more steps and running text, without dropout.

    First on the held-out pairs, which select the recipe, then on STS-B dev.
    """
    usual = without_dropout((2, 5), more_text())
    arms = {
        "two layers (3, 6), as long as 9 passes": usual,
        "the same, word embeddings trained": without_dropout((2, 5), more_text(), words=True),
        "two layers, as long as 27 passes": replace(usual, epochs=LONGEST),
    }
    for on_held_out in (True, False):
        show(study("longer", arms, LONGER, 1, on_held_out), on_held_out)


def one_layer() -> None:
    """Print the results of one layer in the same way, with trained words and augmented text.

    First on the held-out pairs, which select the recipe, then on STS-B dev.
    """
    arms = {
        "text": without_dropout((5,), more_text()),
        "text, word embeddings trained": without_dropout((5,), more_text(), words=True),
        "augmented text too": without_dropout((5,), augmented_too()),
        "augmented text, word embeddings trained": without_dropout((5,), augmented_too(), True),
    }
    for on_held_out in (True, False):
        show(study("one-layer", arms, LONGER, SEEDS, on_held_out), on_held_out)


def without_dropout(layers: tuple[int, ...], data: Sentences, words: bool = False) -> tl.Arm:
    """Return the arm of a student without dropout."""
    return tl.Arm(
        student=partial(kept, layers, words=words, dropout=0.0, eager=True),
        objective=OUTPUT,
        train=partial(buckets, data, BATCH, EPOCH),
        learning_rate=2 * RATE,
        epochs=LONGER,
    )


def show(found: tl.Study, on_held_out: bool = False) -> None:
    """Print the correlations of the teacher and of each arm's students."""
    data = text().val if on_held_out else text().test
    assert data.scores is not None
    outputs = tl.evaluation.predict(teacher().encoder, in_order(data))
    best = spearman(outputs, data.scores)
    print(f"\nteacher on {'held-out pairs' if on_held_out else 'STS-B dev'}: {best:.4f}\n")
    head = "Spearman, mean | % of the teacher's | 95 %, over pairs | fidelity"
    print(f"| | {head} | each seed |\n|---|---:|---:|---:|---:|---|")
    for arm in found.results.arms:
        students = [found.student(arm.name, seed) for seed in found.results.seeds]
        theirs = [tl.evaluation.predict(student, in_order(data)) for student in students]
        values = [spearman(each, data.scores) for each in theirs]
        low, high = interval_of_fraction(outputs, theirs, data.scores)
        relative = f"{100 * fmean(values) / best:.2f} | {low:.1f} to {high:.1f}"
        like = fmean(alike(each, outputs) for each in theirs)
        each = ", ".join(f"{value:.4f}" for value in values)
        print(f"| {arm.name} | {fmean(values):.4f} | {relative} | {like:.4f} | {each} |")
    print(f"\n{found.report()}", flush=True)


def speed() -> None:
    """Print the students' speed relative to the teacher's, for several lengths of text."""
    test = text().test
    models = {"teacher": minilm()} | {
        f"{len(layers)} layers": kept(layers).eval() for layers in (EVERY_SECOND, (2, 5), (5,))
    }
    print("\n| tokens | batch | teacher, ms | " + " | ".join(list(models)[1:]) + " |")
    print("|---:|---:|---:|" + "---:|" * (len(models) - 1))
    for length in TOKENS:
        rows = (test.lengths == length).nonzero().flatten().tolist()
        rows = (rows * -(-BATCH // len(rows)))[:BATCH]
        batch = Batch.of(test.__getitems__(rows))
        times = tl.evaluation.latencies(models, batch.inputs, (1, BATCH), seconds=1, rounds=20)
        whole, *parts = times.values()
        for number, size in enumerate((1, BATCH)):
            own = whole[number].median
            ratios = " | ".join(f"{own / part[number].median:.2f} ×" for part in parts)
            print(f"| {length} | {size} | {1000 * own:.1f} | {ratios} |", flush=True)


PARTS = {
    "starts": starts,
    "lengths": lengths,
    "longer": longer,
    "one-layer": one_layer,
    "speed": speed,
}


def main() -> None:
    """Run the named parts, or all."""
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    for name in parser.parse_args().parts or PARTS:
        with timed(name):
            PARTS[name]()


if __name__ == "__main__":
    main()
