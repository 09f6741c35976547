"""A language model teaches one of half its depth: the text alone, the teacher, and half of each.

    TUTELAGE_DATA=... python benchmarks/language_model.py [--own-text] [--only WORD]

SmolLM2-135M-Instruct (see kept_layers.py), and students that begin as its 15 most influential
layers, in one pass over 32,768 tokens of presidential speeches, old fiction and Shakespeare. It is
tested on the last tenths of these and on WikiText-2 (test). A second teacher was corrected first,
trained on the same tokens for one pass. With --own-text the text is written by the teacher itself,
as answers to short requests, and tested on answers to requests about other subjects.

Perplexities are over 8,192 tokens of 32 texts; intervals, of the ratio of two perplexities, are
over seeds (the order of the texts) and texts. One learning rate for all, nothing tuned. Results are
kept in the folder that TUTELAGE_RUNS names (by default "runs"), where an interrupted benchmark
resumes.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import logging
import math
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

import tutelage as tl
from kept_layers import GGUF, folder, texts
from mnist import RUNS, warm_cosine
from remembered import timed
from tutelage.evaluation import acceptance_rate, paired_interval, perplexity
from vocabulary import data

FILES = ("presidential_speeches", "fiction_19c", "shakespeare")
TOKENS, TRAIN, TEST, SEEDS, HALF = 256, 128, 32, 3, 15
RATE, CORRECTION_RATE, DRAFTED = 5e-4, 1e-4, 8
TEXT, TEACHER = tl.HardLabels(), tl.SoftTargets(1)
BOTH = 0.5 * TEXT + 0.5 * TEACHER
REQUESTS = (
    "Explain {} to a child.",
    "Write a short story about {}.",
    "What should a traveller know about {}?",
    "Give three facts about {}.",
    "Write a polite letter about {}.",
)
SUBJECTS = (
    "rain", "bread", "the moon", "bicycles", "honey", "rivers", "winter", "a lost dog", "volcanoes",
    "school", "tea", "the sea", "a broken clock", "trains", "gardens", "music", "bridges", "a fox",
    "money", "libraries", "sleep", "maps", "the wind", "a long journey", "glass", "friendship",
    "wolves", "clouds", "an old house", "markets", "stars", "mountains", "salt", "a lighthouse",
)  # fmt: skip
HELD_OUT = 7  # of the subjects
Text = dict[str, Tensor]


@cache
def teacher() -> Any:
    """Return the teacher as it is."""
    model = AutoModelForCausalLM.from_pretrained(folder(), dtype=torch.float32, **GGUF).eval()
    vars(model)["hf_quantizer"] = None  # the weights of a GGUF file are plain numbers now
    return model


def windows(ids: Sequence[int], count: int) -> list[Text]:
    """Return texts of 256 tokens, spread evenly over a longer one."""
    places = torch.linspace(0, len(ids) - TOKENS, count).long().tolist()
    return [{"input_ids": torch.tensor(ids[place : place + TOKENS])} for place in places]


@cache
def given_texts() -> dict[str, list[Text]]:
    """Return texts to train on, and by name those to test on."""
    tokenizer = AutoTokenizer.from_pretrained(folder(), **GGUF)
    train, test = [], []
    for number, name in enumerate(FILES):
        content = gzip.decompress((data() / "lm" / f"{name}.txt.gz").read_bytes()).decode()
        ids = tokenizer(content)["input_ids"]
        last = len(ids) * 9 // 10
        train += windows(ids[:last], (TRAIN + number) // len(FILES))
        test += windows(ids[last:], (TEST + number) // len(FILES))
    wiki = [{"input_ids": each} for each in texts("test", TEST, TOKENS)]
    return {"train": train, "the same books": test, "WikiText-2": wiki}


@cache
def own_texts() -> dict[str, list[Text]]:
    """Return answers that the teacher wrote, sampled at temperature 1; requests have no labels."""
    path = RUNS / "language-model-own-text.safetensors"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(_written(), path)
    rows = [
        {"input_ids": ids[mask.bool()], "labels": labels[mask.bool()]}
        for ids, labels, mask in zip(*(load_file(path)[name] for name in ("ids", "labels", "mask")),
                                     strict=True)
    ]  # fmt: skip
    held_out = len(REQUESTS) * HELD_OUT
    return {"train": rows[:-held_out], "its own answers": rows[-held_out:]}


@torch.no_grad()
def _written() -> dict[str, Tensor]:
    tokenizer = AutoTokenizer.from_pretrained(folder(), padding_side="left", **GGUF)
    asked = [request.format(subject) for subject, request in product(SUBJECTS, REQUESTS)]
    chats = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": each}], tokenize=False, add_generation_prompt=True
        )
        for each in asked
    ]
    inputs = tokenizer(chats, return_tensors="pt", padding=True, add_special_tokens=False)
    torch.manual_seed(0)
    longest, end = TOKENS - inputs["input_ids"].shape[1], tokenizer.eos_token_id
    answers = [
        teacher().generate(
            **dict(zip(inputs, parts, strict=True)),
            max_new_tokens=longest, do_sample=True,
            top_k=0, top_p=1.0, temperature=1.0, eos_token_id=end, pad_token_id=end,
        )
        for parts in zip(*(each.split(34) for each in inputs.values()), strict=True)
    ]  # fmt: skip
    width = inputs["input_ids"].shape[1]
    ids = nn.utils.rnn.pad_sequence([row for part in answers for row in part], True, end)
    written = ids[:, width:]
    ended = ((written == end).cumsum(dim=1) - (written == end).int()) > 0  # after the first end
    mask = torch.cat([inputs["attention_mask"], (~ended).long()], dim=1)
    labels = ids.clone()
    labels[:, :width] = -100
    return {"ids": ids, "labels": labels, "mask": mask}


def losses(model: Any, held_out: list[Text]) -> list[float]:
    """Return the mean loss of a token of each text."""
    return [math.log(perplexity(model, [each])) for each in held_out]


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

    def trained(
        self, out: str, who: Any, start: nn.Module, objective: tl.Objective,
        rate: float = RATE, seed: int = 0,
    ) -> Any:  # fmt: skip
        """Return a model after one pass over the texts."""
        return tl.distill(
            who,
            copy.deepcopy(start),
            train=self.train,
            objective=tl.RowMean(objective),
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
            return self.trained("corrected", None, teacher(), TEXT, rate=CORRECTION_RATE).eval()

    @cache  # noqa: B019 - there is one benchmark
    def store(self, name: str, **keep: Any) -> Any:
        """Return stored answers of the teacher as it is or corrected."""
        who = self.corrected() if name.startswith("corrected") else teacher()
        with timed(f"targets, {name} {keep}"):
            out = self.out / f"targets-{name}-{'-'.join(keep)}"
            return tl.label(who, self.train, out=out, batch_size=4, **keep)

    def arms(self) -> dict[str, Callable[[], tuple[Any, tl.Objective]]]:
        """Return who teaches and the objective, for each row of the table."""
        top = partial(self.store, top_k=64)
        drawn = partial(self.store, sampled_classes=12)
        found: dict[str, Callable[[], tuple[Any, tl.Objective]]] = {
            "text alone": lambda: (None, TEXT),
            "teacher, 64 of the classes": lambda: (top("as-it-is"), TEACHER),
            "half of each": lambda: (top("as-it-is"), BOTH),
            "teacher, 12 classes drawn": lambda: (drawn("as-it-is"), TEACHER),
            "teacher, all classes, live": lambda: (teacher(), TEACHER),
        }
        if "its own answers" in self.tests:
            return found
        del found["teacher, 12 classes drawn"], found["teacher, all classes, live"]
        return found | {
            "corrected teacher, 64 of the classes": lambda: (top("corrected"), TEACHER),
            "corrected teacher, half of each": lambda: (top("corrected"), BOTH),
            "corrected teacher, 12 classes drawn, half of each": lambda: (
                drawn("corrected"), BOTH,
            ),
            "corrected teacher, all classes, live, half of each": lambda: (self.corrected(), BOTH),
        }  # fmt: skip

    def run(self, only: str) -> None:
        """Train and print the table."""
        start: Any = tl.students.most_influential(teacher(), self.train[:8], keep=HALF).student
        self.show("teacher", [teacher()], None)
        self.show("student before training", [start], None)
        first: dict[str, np.ndarray] | None = None
        for name, arm in self.arms().items():
            if only not in name and name != "text alone":
                continue
            who, objective = arm()
            students = []
            for seed in range(SEEDS):
                with timed(f"{name}, seed {seed}"):
                    out = f"{name.replace(' ', '-')}/{seed}"
                    students.append(self.trained(out, who, start, objective, seed=seed).eval())
            found = self.show(name, students, first)
            first = found if first is None else first

    def show(
        self, name: str, models: list[Any], first: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Print perplexities, their ratios to those of the first arm, and the acceptance rate."""
        found, shown = {}, []
        for test, held_out in self.tests.items():
            found[test] = np.array([losses(each, held_out) for each in models])
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
        shown.append(f"accepted {acceptance_rate(models[0], teacher(), drafts):.3f}")
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
        return found


def main() -> None:
    """Train and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--own-text", action="store_true")
    parser.add_argument("--only", default="", help="part of the names of arms beside text alone")
    given = parser.parse_args()
    logging.getLogger("tutelage").setLevel(logging.ERROR)
    found = own_texts() if given.own_text else given_texts()
    for name, several in found.items():
        tokens = sum(len(each["input_ids"]) for each in several)
        print(f"{name}: {len(several)} texts, {tokens} tokens", flush=True)
    Benchmark("own-text" if given.own_text else "books", found).run(given.only)


if __name__ == "__main__":
    main()
