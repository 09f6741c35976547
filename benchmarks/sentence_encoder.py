"""A sentence encoder, all-MiniLM-L6-v2, taught to students of three, two and one of its six layers.

    TUTELAGE_DATA=... python benchmarks/sentence_encoder.py [PART ...]

Parts, all where none is named: `starts` compares where three layers begin (random; every second;
first; last) and how they are taught (output only; output and layers at once; layers first, output
after), for a quarter of a pass over the text. `lengths` trains three, two and one layer for long;
`longer` two for three and nine times as many steps, on running text too, without dropout;
`one-layer` one so, and on text of which some words are replaced. `speed` times them against the
teacher. Quality is Spearman's correlation of cosines with the scores of STS-B dev, which chooses
nothing: what is chosen is chosen on 1,000 pairs of STS-B train that no student is trained on
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
    buckets,
    in_order,
    interval_of_share,
    minilm,
    pairs,
    reworded,
    running_text,
    sentences,
    spearman,
)
from tutelage.signals import Batch

HELD_OUT, BATCH, EPOCH = 1000, 64, 33
"""Pairs held out; sentences in a batch; batches in an epoch, a sixteenth of the text."""
SHORT, LONG, LONGER, LONGEST, SEEDS = 4, 48, 144, 432, 3
TOKENS = (8, 12, 16, 24, 32)
RATE = 1e-3
ENGINE = tl.Engine(precision="bf16", progress=False, checkpoint_seconds=120, clip_norm=1.0)
EVERY_SECOND, FIRST, LAST = (1, 3, 5), (0, 1, 2), (3, 4, 5)
FEATURES = 1.0
DROPOUT = 0.1
"""The teacher's own, which layers that are kept bring along."""
REPLACED = 0.3
"""The share of tokens that are replaced where it is said."""


@dataclass(frozen=True)
class Text:
    """Sentences.

    Args:
        train: To train on.
        running: Of running text, to train on where it is said.
        val: Held-out pairs of STS-B train, which choose.
        test: The pairs of STS-B dev.
    """

    train: Sentences
    running: Sentences
    val: Sentences
    test: Sentences


@cache
def text() -> Text:
    """Return all sentences; none that is held out is trained on."""
    texts, scores = pairs("train")
    order = np.random.default_rng(0).permutation(len(texts) // 2)
    held = [2 * pair + side for pair in sorted(order[:HELD_OUT]) for side in (0, 1)]
    unseen = {texts[place] for place in held}
    train = [each for each in dict.fromkeys(sentences() + texts) if each not in unseen]
    val = Sentences([texts[place] for place in held], [scores[place] for place in held])
    return Text(Sentences(train), Sentences(running_text()), val, Sentences(*pairs("dev")))


@cache
def teacher() -> Recalled:
    """Return the teacher, with its embeddings of all sentences."""
    with timed("the teacher's embeddings"):
        found = Recalled(minilm(), RUNS)
        for each in (text().train, text().val, text().test):
            found.remember(each)
        return found


@cache
def more_text() -> Sentences:
    """Return the training sentences and those of running text, which the teacher knows."""
    return teacher().remember(text().train, text().running)


@cache
def reworded_too() -> Sentences:
    """Return these, and beside them each with some tokens replaced by others of like meaning."""
    words = teacher().encoder.bert.embeddings.word_embeddings.weight.detach()
    new = reworded(more_text(), words, REPLACED, seed=1)
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
        layers: Which, from 0.
        random: Whether they begin anew.
        words: Whether the word embeddings, two thirds of all parameters, are trained too.
        dropout: In training, of states and attention.
        eager: Whether attention is not the fused one, whose way back is slow on a CPU.
    """
    student, _ = tl.students.keep_layers(minilm(dropout), list(layers))
    if random:
        for layer in student.bert.encoder.modules():
            student.bert._init_weights(layer)  # noqa: SLF001 - as a new BERT begins
    student.bert.embeddings.requires_grad_(words)
    if eager:
        student.bert.set_attn_implementation("eager")
    return student


LAYER = "bert.encoder.layer."
OUTPUT = tl.OutputRegression()
STARTS: dict[str, Callable[[], nn.Module]] = {
    "random layers": partial(kept, EVERY_SECOND, random=True),
    "every second layer": partial(kept, EVERY_SECOND),
    "first three": partial(kept, FIRST),
    "last three": partial(kept, LAST),
}


def map_to(teacher_layers: Sequence[int]) -> dict[str, str]:
    """Return which layer of the student learns from which of the teacher."""
    return {f"{LAYER}{ours}": f"{LAYER}{theirs}" for ours, theirs in enumerate(teacher_layers)}


def ways() -> dict[str, dict[str, Any]]:
    """Return the ways of teaching, each of four epochs in all, as arguments of an arm."""
    layers = tl.FeatureMatch(map_to(EVERY_SECOND))
    one_by_one = tl.blockwise(map_to(EVERY_SECOND))
    return {
        "output only": {"objective": OUTPUT},
        "output and layers at once": {"objective": OUTPUT + FEATURES * layers},
        "layers, then output": {"stages": [tl.Stage(layers, 2), tl.Stage(OUTPUT, 2)]},
        "layer by layer, then output": {"stages": [*one_by_one, tl.Stage(OUTPUT, 1)]},
    }


def study(
    name: str, arms: dict[str, tl.Arm], epochs: int, seeds: int, on_held_out: bool = False
) -> tl.Study:
    """Carry out the arms, none a control; the test is STS-B dev, or the pairs held out."""
    known = text()
    return tl.study(
        teacher(),
        STARTS["every second layer"],
        train=partial(buckets, known.train, BATCH, EPOCH),
        val=in_order(known.val),
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
    """Print what every start and way of teaching comes to."""
    *usual, layer_by_layer = ways().items()
    arms = {
        f"{start} | {way}": tl.Arm(student=make, **how)
        for start, make in STARTS.items()
        for way, how in usual
    }
    way, how = layer_by_layer
    arms[f"every second layer | {way}"] = tl.Arm(student=STARTS["every second layer"], **how)
    show(study("starts", arms, SHORT, SEEDS))


def lengths() -> None:
    """Print what three, two and one layer come to."""
    arms = {}
    for layers in (EVERY_SECOND, (2, 5), (5,)):
        name, make = f"{len(layers)} of 6 layers", partial(kept, layers)
        both = OUTPUT + FEATURES * tl.FeatureMatch(map_to(layers))
        arms[name] = tl.Arm(student=make, objective=OUTPUT)
        arms[f"{name}, taught layers too"] = tl.Arm(student=make, objective=both)
    for layers in ((5,), (0, 5)):
        make = partial(kept, layers, words=True)
        arms[f"layers {layers} of 6, words too"] = tl.Arm(student=make, objective=OUTPUT)
    show(study("lengths", arms, LONG, 1))


def longer() -> None:
    """Print what two layers come to from more steps and running text, without dropout.

    On the held-out pairs first, which choose among the recipes, then on STS-B dev.
    """
    usual = without_dropout((2, 5), more_text())
    words = without_dropout((2, 5), more_text(), words=True)
    arms = {"longer": usual, "longer, words too": words, "longest": replace(usual, epochs=LONGEST)}
    for on_held_out in (True, False):
        show(study("longer", arms, LONGER, 1, on_held_out), on_held_out)


def one_layer() -> None:
    """Print what one layer comes to from the same, from words that are trained, and reworded text.

    On the held-out pairs first, which choose among the recipes, then on STS-B dev.
    """
    arms = {
        f"{data_name}, {name}": without_dropout((5,), data, words)
        for data_name, data in (("text", more_text()), ("reworded text too", reworded_too()))
        for name, words in (("words as they are", False), ("words too", True))
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
    """Print the correlations: of the teacher, and of each arm's students."""
    data = text().val if on_held_out else text().test
    assert data.scores is not None
    outputs = tl.evaluation.predict(teacher().encoder, in_order(data))
    best = spearman(outputs, data.scores)
    print(f"\nteacher on {'held-out pairs' if on_held_out else 'STS-B dev'}: {best:.4f}\n")
    head = "Spearman, mean | % of the teacher's | 95 %, over pairs | with the teacher's cosines"
    print(f"| | {head} | each seed |\n|---|---:|---:|---:|---:|---|")
    for arm in found.results.arms:
        students = [found.student(arm.name, seed) for seed in found.results.seeds]
        theirs = [tl.evaluation.predict(student, in_order(data)) for student in students]
        values = [spearman(each, data.scores) for each in theirs]
        low, high = interval_of_share(outputs, theirs, data.scores)
        share = f"{100 * fmean(values) / best:.2f} | {low:.1f} to {high:.1f}"
        like = fmean(alike(each, outputs) for each in theirs)
        each = ", ".join(f"{value:.4f}" for value in values)
        print(f"| {arm.name} | {fmean(values):.4f} | {share} | {like:.4f} | {each} |")
    print(f"\n{found.report()}", flush=True)


def speed() -> None:
    """Print how much faster than the teacher the students are, at several lengths of text."""
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
        for place, size in enumerate((1, BATCH)):
            own = whole[place].median
            ratios = " | ".join(f"{own / part[place].median:.2f} ×" for part in parts)
            print(f"| {length} | {size} | {1000 * own:.1f} | {ratios} |", flush=True)


PARTS = {
    "starts": starts,
    "lengths": lengths,
    "longer": longer,
    "one-layer": one_layer,
    "speed": speed,
}


def main() -> None:
    """Run what is named."""
    transformers.logging.set_verbosity_error()
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    for name in parser.parse_args().parts or PARTS:
        with timed(name):
            PARTS[name]()


if __name__ == "__main__":
    main()
