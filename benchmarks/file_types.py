"""Agreement with magika by type, and time, of the student of examples/file_types.yaml.

    FILES=/usr/share python benchmarks/file_types.py

Run it from the folder in which `tutelage distill examples/file_types.yaml` ran, with the same
FILES. Types are the teacher's answers on the test files. Times are those of one thread, of the
teacher in ONNX Runtime and of the student in PyTorch.
"""

from __future__ import annotations

import runpy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import process_time
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import tutelage as tl
from tutelage.references import load_model
from tutelage.signals import Batch
from tutelage.wants import OUTPUT

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "file_types.py"))


def seconds(function: Callable[[Tensor], Any], inputs: Tensor) -> float:
    """Return the least processor time of ten calls, after one that is not counted."""
    function(inputs)
    found = []
    for _ in range(10):
        start = process_time()
        function(inputs)
        found.append(process_time() - start)
    return min(found)


def main(out: Path = Path("runs/file_types")) -> None:
    """Print both tables."""
    torch.set_num_threads(1)
    teacher: Any = load_model("teacher", "model.onnx?probabilities")
    student = EXAMPLE["Network"]().eval()
    student.load_state_dict(load_file(out / "student.safetensors"))
    train = tl.store.TargetStore.open(out / "targets" / "train")
    stored: Any = train.read("output", range(len(train)))
    known = Counter(answers(stored))
    rows = EXAMPLE["files"]()["test"].tensors[0]

    def ask(inputs: Tensor) -> Tensor:
        return teacher.signals(Batch(inputs), OUTPUT).output

    with torch.inference_mode():
        right = answers(torch.cat([ask(each) for each in rows.split(32)]))
        found = answers(torch.cat([student(each) for each in rows.split(32)]))
        agree = [one == other for one, other in zip(right, found, strict=True)]
        for least in (0, 1, 10, 30):
            chosen = [yes for yes, each in zip(agree, right, strict=True) if known[each] >= least]
            share = sum(chosen) / len(chosen)
            print(f"types with {least}+ training files: {share:.3f} of {len(chosen):,} files")
        for each, count in Counter(right).most_common(12):
            hits = sum(yes for yes, other in zip(agree, right, strict=True) if other == each)
            print(f"type {each}: {hits} of {count}, {known[each]} training files")
        for size in (1, 32):
            slow, fast = seconds(ask, rows[:size]), seconds(student, rows[:size])
            print(f"batch {size}: {1e3 * slow:.2f} ms and {1e3 * fast:.2f} ms, {slow / fast:.1f}x")


def answers(logits: Tensor) -> list[int]:
    """Return the most likely class of each row."""
    return logits.argmax(1).tolist()


if __name__ == "__main__":
    main()
